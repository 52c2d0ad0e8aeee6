"""`/jobs` against a service whose queue stands still."""

from __future__ import annotations

import asyncio

import pytest
import yaml

from orchestrator.store.rows import NewJob
from tests.orchestrator.api.support import MISSING, Running, job_spec, problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_submitted_job_is_accepted_with_its_place(queue: Running) -> None:
    answer = await queue.client.post("/jobs", json=job_spec(name="first", labels={"team": "a"}, priority=3))
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    shown = await queue.client.get(answer.headers["location"])
    assert shown.json() == {**job, "waiting": shown.json()["waiting"]}
    assert (job["state"], job["name"], job["priority"], job["attempt"]) == ("queued", "first", 3, 0)
    assert job["spec"]["labels"] == {"team": "a"}
    assert shown.headers["etag"] == answer.headers["etag"]


async def test_a_job_may_be_given_as_yaml(queue: Running) -> None:
    headers = {"Content-Type": "application/yaml"}
    answer = await queue.client.post("/jobs", content=yaml.safe_dump(job_spec(name="from YAML")), headers=headers)
    assert (answer.status_code, answer.json()["name"]) == (202, "from YAML")


async def test_every_error_of_a_spec_comes_back_at_once(queue: Running) -> None:
    spec = job_spec(nam="x", priority="high")
    spec["serve"] |= {"engine": "vllm", "model": "/no/such/model", "tensor_paralel": 2}
    told = problem(await queue.client.post("/jobs", json=spec), 422, "bad_spec")
    errors = {one["path"]: one["message"] for one in told["errors"]}
    assert {"nam", "priority", "serve.tensor_paralel", "serve.model"} <= set(errors)
    assert errors["nam"] == "unknown key; did you mean `name`?"
    assert errors["serve.tensor_paralel"] == "unknown key; did you mean `tensor_parallel`?"


async def test_a_dry_run_gives_the_plan_and_queues_nothing(queue: Running) -> None:
    before = (await queue.client.get("/jobs")).json()["items"]
    spec = job_spec()
    spec["serve"] |= {"gpus": []}
    answer = await queue.client.post("/jobs?dry_run=true", json=spec)
    assert answer.status_code == 200, answer.text
    plan = answer.json()
    assert "orchestrator.fake_engine" in plan["replicas"][0]["argv"]
    assert plan["evaluators"][0]["argv"]
    assert (await queue.client.get("/jobs")).json()["items"] == before


async def test_the_same_key_and_body_give_the_same_job(queue: Running) -> None:
    spec, key = job_spec(name="once"), {"Idempotency-Key": "key-1"}
    first, second = await asyncio.gather(queue.submit(spec, **key), queue.submit(spec, **key))
    assert first["id"] == second["id"]
    other = await queue.client.post("/jobs", json=job_spec(name="twice"), headers=key)
    problem(other, 409, "idempotency_conflict")
    assert (await queue.submit(spec))["id"] != first["id"]


async def test_a_list_is_cut_into_pages_newest_first(queue: Running) -> None:
    made = [(await queue.submit(job_spec(labels={"page": "me"})))["id"] for _ in range(5)]
    found: list[str] = []
    cursor: str | None = None
    pages = 0
    while pages == 0 or cursor:
        query = {"label": "page:me", "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await queue.client.get("/jobs", params=query)).json()
        found += [item["id"] for item in page["items"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert (found, pages) == (made[::-1], 3)


async def test_lists_are_filtered_by_state_engine_and_every_label(queue: Running) -> None:
    both = await queue.submit(job_spec(labels={"a": "1", "b": "x:y"}))
    await queue.submit(job_spec(labels={"a": "1"}))

    async def ids(**query: object) -> list[str]:
        answer = await queue.client.get("/jobs", params=query)  # type: ignore[arg-type]
        return [item["id"] for item in answer.json()["items"]]

    assert await ids(label=["a:1", "b:x:y"], state="queued", engine="custom") == [both["id"]]
    assert await ids(label="a:1", engine="vllm") == []
    assert await ids(label="a:1", state="failed") == []


async def test_a_queued_job_is_shown_by_a_service_that_is_not_ready(queue: Running) -> None:
    job = (await queue.submit(job_spec()))["id"]
    queue.service.not_ready = "the test wants it so"
    try:
        assert (await queue.client.get(f"/jobs/{job}")).json()["state"] == "queued"
    finally:
        queue.service.not_ready = ""


async def test_a_label_that_is_asked_for_with_two_values_is_refused(queue: Running) -> None:
    answer = await queue.client.get("/jobs", params={"label": ["a:1", "a:2"]})
    assert problem(answer, 422, "bad_request")["errors"][0]["path"] == "query.label"


async def test_a_job_of_an_earlier_version_whose_spec_has_another_form_now_is_not_tried_again(queue: Running) -> None:
    store = queue.service.store
    row = store.job((await queue.submit(job_spec()))["id"])
    assert row
    spec = {**row.spec, "gone": True}
    old = NewJob(id="old", name="old", engine="custom", spec=spec, record={}, folder=row.folder, created_at=0.0)
    store.add_job(old, None, store.events(row.id)[0])
    told = problem(await queue.client.post("/jobs/old/retry"), 422, "bad_spec")
    assert told["errors"][0]["path"] == "gone"


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "query.limit"),
        ("limit=201", "query.limit"),
        ("limit=x", "query.limit"),
        ("cursor=x", "query.cursor"),
        ("cursor=YXVkaXQ6MQ", "query.cursor"),  # a cursor of the audit log
        ("state=lost", "query.state"),
        ("label=plain", "query.label"),
        ("stat=queued", "query.stat"),
        ("limit=1&limit=2", "query.limit"),
    ],
)
async def test_wrong_parameters_of_a_list_are_refused_by_name(queue: Running, query: str, path: str) -> None:
    told = problem(await queue.client.get(f"/jobs?{query}"), 422, "bad_request")
    assert [error["path"] for error in told["errors"]] == [path]


async def test_a_queued_job_is_cancelled_at_once_and_only_once(queue: Running) -> None:
    job = (await queue.submit(job_spec()))["id"]
    answer = await queue.client.post(f"/jobs/{job}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    problem(await queue.client.post(f"/jobs/{job}/cancel"), 409, "conflict")


async def test_of_two_clients_the_second_one_acts_on_what_it_saw_or_not_at_all(queue: Running) -> None:
    job = await queue.submit(job_spec())
    seen = (await queue.client.get(f"/jobs/{job['id']}")).headers["etag"]
    await queue.client.post(f"/jobs/{job['id']}/cancel", headers={"If-Match": seen})
    late = await queue.client.delete(f"/jobs/{job['id']}", headers={"If-Match": seen})
    problem(late, 412, "precondition_failed")
    current = (await queue.client.get(f"/jobs/{job['id']}")).headers["etag"]
    assert (await queue.client.delete(f"/jobs/{job['id']}", headers={"If-Match": current})).status_code == 204


async def test_a_precondition_may_name_the_state(queue: Running) -> None:
    job = (await queue.submit(job_spec()))["id"]
    problem(await queue.client.post(f"/jobs/{job}/cancel?if_state=evaluating"), 412, "precondition_failed")
    assert (await queue.client.post(f"/jobs/{job}/cancel?if_state=queued")).status_code == 202


@pytest.mark.parametrize(("tag", "status"), [('W/"1"', 412), ("1", 422), ('"x"', 422), ("*", 202)])
async def test_only_an_etag_of_ours_is_a_precondition(queue: Running, tag: str, status: int) -> None:
    job = (await queue.submit(job_spec()))["id"]
    answer = await queue.client.post(f"/jobs/{job}/cancel", headers={"If-Match": tag})
    assert answer.status_code == status, answer.text


async def test_a_client_that_has_the_version_gets_no_second_copy(queue: Running) -> None:
    job = (await queue.submit(job_spec()))["id"]
    tag = (await queue.client.get(f"/jobs/{job}")).headers["etag"]
    same = await queue.client.get(f"/jobs/{job}", headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)


async def test_a_token_has_so_many_jobs_in_the_queue(queue: Running) -> None:
    small = queue.token("small", "submit", max_queued=1)
    await queue.submit(job_spec(), **small)
    problem(await queue.client.post("/jobs", json=job_spec(), headers=small), 429, "queue_full")
    await queue.submit(job_spec())


async def test_a_job_that_is_not_over_is_neither_deleted_nor_tried_again(queue: Running) -> None:
    job = (await queue.submit(job_spec()))["id"]
    problem(await queue.client.delete(f"/jobs/{job}"), 409, "conflict")
    problem(await queue.client.post(f"/jobs/{job}/retry"), 409, "conflict")


async def test_a_deleted_job_is_gone_with_its_files(queue: Running) -> None:
    job = await queue.submit(job_spec())
    await queue.client.post(f"/jobs/{job['id']}/cancel")
    assert (await queue.client.delete(f"/jobs/{job['id']}")).status_code == 204
    problem(await queue.client.get(f"/jobs/{job['id']}"), 404, "not_found")
    assert not (queue.settings.jobs / job["id"]).exists()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("GET", "/events"),
        ("GET", "/logs"),
        ("GET", "/logs/engine-0"),
        ("GET", "/results"),
        ("GET", "/samples"),
        ("GET", "/artifacts"),
        ("GET", "/artifacts/report.md"),
    ],
)
async def test_a_job_that_never_was_is_not_found(queue: Running, method: str, path: str) -> None:
    problem(await queue.client.request(method, f"/jobs/{MISSING}{path}"), 404, "not_found")
