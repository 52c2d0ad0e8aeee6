"""Comparisons of the service, from Python and from a terminal."""

from __future__ import annotations

import pytest

from clients.service import Conflict, NotFound, PreconditionFailed, ServiceClient
from clients.service.models import Comparison
from tests.orchestrator.service.support import spec
from tests.orchestrator.support import Cli, wait_for


def test_a_comparison_is_cancelled_by_its_id_and_deleted_when_it_is_over(remote: Cli, client: ServiceClient) -> None:
    endless = spec("--load-time", "3600")
    parts = {name: endless[name] for name in ("evaluate", "probe")}
    made = client.compare({"name": "two", "serve": {"a": endless["serve"], "b": endless["serve"]}, **parts})
    wait_for(lambda: client.comparison(made.id).jobs, "first job of the comparison")
    assert "would be cancelled" in remote.here("cancel", made.id, "--dry-run").stdout
    with pytest.raises(PreconditionFailed):
        client.cancel_comparison(made.id, if_state="succeeded")
    with pytest.raises(Conflict):
        client.delete_comparison(made.id)
    assert "no other begins" in remote.here("cancel", made.id).stdout
    over = wait_for(lambda: _over(client, made.id), "end of the comparison")
    assert (over.state, over.cancel_requested) == ("cancelled", True)
    with pytest.raises(PreconditionFailed):
        client.delete_comparison(made.id, version=over.version - 1)
    client.delete_comparison(made.id, version=over.version)
    with pytest.raises(NotFound):
        client.comparison(made.id)
    assert [client.job(job).state for job in over.jobs.values()] == ["cancelled"]


def test_what_is_neither_a_job_nor_a_comparison_cannot_be_cancelled(remote: Cli) -> None:
    refused = remote.here("cancel", "20260101-000000-000000")
    assert refused.returncode == 1
    assert "no job and no comparison" in refused.stderr


def _over(client: ServiceClient, comparison: str) -> Comparison | None:
    found = client.comparison(comparison)
    return found if found.state != "running" else None
