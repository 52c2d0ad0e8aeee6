"""Deployments, comparisons, tokens, the audit log, webhook deliveries."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import create_engine, text

from orchestrator.errors import Conflict, LeaseTaken, NotFound, PreconditionFailed
from orchestrator.record import State
from orchestrator.store import Store
from orchestrator.store.rows import AuditEntry, ComparisonRow, DeploymentRow, DeploymentState, Role
from orchestrator.store.tokens import hash_of, matches, new_secret
from tests.orchestrator.store.support import add, finish


def deployment(deployment_id: str, name: str = "warm", **changes: object) -> DeploymentRow:
    row = DeploymentRow(
        id=deployment_id,
        name=name,
        state=DeploymentState.STARTING,
        serve={"model": "m"},
        probe={},
        compress=None,
        serve_key="k",
        keep_alive=None,
        folder="f",
        created_at=1.0,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def test_a_deployment_holds_its_gpus_until_it_is_over(store: Store) -> None:
    row = deployment("d1", gpus=(0, 1))
    store.deployments.add(row)
    assert store.deployments.get("d1") == store.deployments.find("warm") == row
    ready = store.deployments.save(replace(row, state=DeploymentState.READY, url="http://127.0.0.1:1"))
    assert store.leases() == {("gpu", 0): "d1", ("gpu", 1): "d1"}
    store.deployments.save(replace(ready, state=DeploymentState.STOPPED))
    assert store.leases() == {}
    assert store.deployments.find("warm") is None


def test_one_living_deployment_has_a_name(store: Store) -> None:
    store.deployments.add(deployment("d1"))
    with pytest.raises(Conflict, match="'warm' lives"):
        store.deployments.add(deployment("d2"))
    store.deployments.save(deployment("d1", state=DeploymentState.FAILED))
    store.deployments.add(deployment("d2"))
    with pytest.raises(Conflict, match="lives"):
        store.deployments.save(deployment("d1", version=2))


def test_a_deployment_whose_gpus_are_leased_is_not_made(store: Store) -> None:
    store.deployments.add(deployment("d1", gpus=(0,)))
    with pytest.raises(LeaseTaken, match="d1"):
        store.deployments.add(deployment("d2", "other", gpus=(0, 1)))
    assert store.deployments.get("d2") is None


def test_of_two_that_save_the_same_deployment_one_wins(store: Store) -> None:
    store.deployments.add(deployment("d1"))
    store.deployments.save(deployment("d1", idle_since=1.0))
    with pytest.raises(PreconditionFailed, match="version 2, not 1"):
        store.deployments.save(deployment("d1", idle_since=2.0))
    with pytest.raises(NotFound):
        store.deployments.save(deployment("none"))


def test_deployments_are_listed_newest_first_and_forgotten_when_over(store: Store) -> None:
    for number in range(3):
        store.deployments.add(deployment(f"d{number}", f"n{number}", created_at=float(number)))
    store.deployments.save(deployment("d1", "n1", state=DeploymentState.STOPPED, created_at=1.0))
    assert [row.id for row in store.deployments.all()] == ["d2", "d1", "d0"]
    assert [row.id for row in store.deployments.all(living=True)] == ["d2", "d0"]
    store.deployments.delete("d1")
    with pytest.raises(Conflict, match="starting"):
        store.deployments.delete("d0")
    with pytest.raises(NotFound):
        store.deployments.delete("d1")


def test_comparisons_are_kept_paged_saved_and_deleted(store: Store) -> None:
    rows = [
        store.comparisons.add(ComparisonRow(f"c{number}", "name", {"a": [1]}, {"vllm": "j1"}, "running", 1.0))
        for number in range(3)
    ]
    assert store.comparisons.get("c1") == rows[1]
    assert [row.id for row in store.comparisons.page(limit=2)] == ["c2", "c1"]
    assert [row.id for row in store.comparisons.page(before=rows[1].number)] == ["c0"]
    saved = store.comparisons.save(replace(rows[1], state="done", result={"table": []}))
    assert store.comparisons.get("c1") == saved
    with pytest.raises(PreconditionFailed):
        store.comparisons.save(replace(rows[1], state="failed"))
    store.comparisons.delete("c1")
    for call in (lambda: store.comparisons.delete("c1"), lambda: store.comparisons.save(saved)):
        with pytest.raises(NotFound):
            call()


def test_a_token_opens_until_it_is_revoked(store: Store) -> None:
    assert not store.tokens.any()
    row, secret = store.tokens.add("ci", Role.SUBMIT, rate_per_minute=60, max_queued=5)
    assert store.tokens.find(secret) == row
    assert store.tokens.any()
    assert store.tokens.find(secret + "x") is None
    revoked = store.tokens.revoke("ci", at=5.0)
    assert store.tokens.revoke("ci", at=6.0) == revoked
    assert (revoked.revoked_at, store.tokens.find(secret), store.tokens.any()) == (5.0, None, False)
    with pytest.raises(NotFound):
        store.tokens.revoke("none")


def test_a_name_is_never_given_to_another_token(store: Store) -> None:
    store.tokens.add("ci", Role.READ)
    store.tokens.revoke("ci")
    with pytest.raises(Conflict, match="'ci'"):
        store.tokens.add("ci", Role.ADMIN)
    assert [row.name for row in store.tokens.all()] == ["ci"]


def test_a_secret_is_nowhere_in_the_store(store: Store, url: str) -> None:
    _, secret = store.tokens.add("ci", Role.ADMIN)
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        values = [str(value) for row in connection.execute(text("SELECT * FROM tokens")) for value in row]
    engine.dispose()
    assert hash_of(secret) in values
    assert not [value for value in values if secret.removeprefix("ost_") in value]


def test_secrets_are_256_bits_and_match_their_own_hash_only() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(secret) == len("ost_") + 43 for secret in secrets)
    one, other = sorted(secrets)[:2]
    assert matches(one, hash_of(one))
    assert not matches(other, hash_of(one))
    assert not matches("\ud800", hash_of(one))


def test_the_last_use_of_a_token_is_known_to_the_minute(store: Store) -> None:
    store.tokens.add("ci", Role.READ)
    used = []
    for at in (1000.0, 1030.0, 1061.0):
        store.tokens.touch("ci", at)
        used.append(store.tokens.all()[0].last_used_at)
    assert used == [1000.0, 1000.0, 1061.0]


def test_the_audit_log_is_read_newest_first_in_pages(store: Store) -> None:
    for number in range(5):
        store.audit.add("ci" if number else None, "jobs.create", f"job-{number}", "allowed", {"ip": "::1"})
    first = store.audit.page(limit=3)
    rest = store.audit.page(before=first[-1].id)
    assert [row.target for row in [*first, *rest]] == [f"job-{number}" for number in range(4, -1, -1)]
    assert (rest[-1].token, rest[0].token, rest[0].detail) == (None, "ci", {"ip": "::1"})


def test_audit_lines_that_come_together_keep_their_own_times(store: Store) -> None:
    store.audit.extend(
        [AuditEntry(time=at, token="ci", action="jobs.cancel", target="a", outcome="allowed") for at in (5.0, 6.0)]
    )
    store.audit.extend([])
    assert [row.time for row in store.audit.page()] == [6.0, 5.0]


def test_a_delivery_is_due_until_it_arrived_or_was_given_up(store: Store) -> None:
    for job_id in ("a", "b"):
        add(store, job_id)
        assert store.deliveries.add(job_id, "http://hook", "{}")
    assert not store.deliveries.add("a", "http://hook", "other")
    one, two = store.deliveries.due(2e9)
    assert (one.job_id, two.job_id) == ("a", "b")
    store.deliveries.failed(one.id, "status 500", 3e9)
    store.deliveries.delivered(two.id, 2e9)
    assert store.deliveries.due(2.5e9) == []
    [again] = store.deliveries.due(3.5e9)
    assert (again.id, again.attempts, again.last_error) == (one.id, 1, "status 500")
    store.deliveries.failed(one.id, "status 500", None)
    assert store.deliveries.due(9e9) == []
    assert store.deliveries.of_job("b")[0].delivered_at == 2e9
    with pytest.raises(NotFound):
        store.deliveries.add("none", "http://hook", "{}")


def test_jobs_that_ended_while_nobody_told_are_found_at_the_next_start(store: Store) -> None:
    for number, job_id in enumerate(("old", "told", "untold", "running")):
        add(store, job_id)
        if job_id != "running":
            finish(store, job_id, State.FAILED, at=1_000_000.0 + 100 * number)
    store.deliveries.add("told", "http://hook", "{}")
    assert [job.id for job in store.deliveries.unsent("http://hook", since=1_000_050.0)] == ["untold"]
    assert [job.id for job in store.deliveries.unsent("http://other", since=0.0)] == ["old", "told", "untold"]
