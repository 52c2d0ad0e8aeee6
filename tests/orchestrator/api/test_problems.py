"""Errors of every kind are problem details, those of the framework and of HTTP too."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest
import structlog

from tests.orchestrator.api.support import Running, job_spec, problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_unknown_route_is_not_found(service: Running) -> None:
    problem(await service.client.get("/job"), 404, "not_found")
    problem(await service.client.get("/jobs/"), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/jobs", "GET, POST"),
        ("PATCH", "/jobs/x", "DELETE, GET"),
        ("DELETE", "/jobs/x/artifacts/a/b.txt", "GET"),
        ("GET", "/jobs/x/cancel", "POST"),
    ],
)
async def test_a_wrong_method_is_told_all_the_right_ones(
    service: Running, method: str, path: str, allowed: str
) -> None:
    answer = await service.client.request(method, path)
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("media_type", ["text/plain", "multipart/form-data; boundary=x", "application/xml"])
async def test_a_body_of_another_type_is_refused(service: Running, media_type: str) -> None:
    answer = await service.client.post("/jobs", content=b"x", headers={"Content-Type": media_type})
    problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("media_type", "status", "code"),
    [
        ("text/x-python", 415, "unsupported_media_type"),
        ("application/json", 400, "bad_request"),
        ("application/yaml", 400, "bad_request"),
    ],
)
async def test_an_opencompass_config_in_a_body_is_told_how_to_become_jobs(
    service: Running, media_type: str, status: int, code: str
) -> None:
    config = (
        b"from mmengine.config import read_base\nwith read_base():\n    from .x import datasets\nmodels = [dict()]\n"
    )
    answer = await service.client.post("/jobs", content=config, headers={"Content-Type": media_type})
    problem(answer, status, code)
    assert "orchestrator submit FILE.py -a ENGINE" in answer.json()["hint"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"name": "a", "name": "b"}',
        b'{"priority": NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"priority": ' + b"9" * 5000 + b"}",
    ],
)
async def test_what_is_not_json_is_refused(service: Running, body: bytes) -> None:
    answer = await service.client.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    problem(answer, 400, "bad_request")


@pytest.mark.parametrize(
    "body",
    [
        "a: &a [x]\nb: *a",
        "a: b: c",
        "{",
        "a: 1\na: 2",
        "? [a]\n: 1",
        "!!python/object:os.system x",
        "--- a\n--- b",
    ],
)
async def test_what_is_not_plain_yaml_is_refused(service: Running, body: str) -> None:
    answer = await service.client.post("/jobs", content=body, headers={"Content-Type": "application/yaml"})
    problem(answer, 400, "bad_request")


def nested(depth: int) -> Any:
    document: Any = "x"
    for _ in range(depth):
        document = [document]
    return document


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("a\0b", "name"),
        (2**63, "name"),
        (1e999, "name"),
        ("\ud800", "name"),
        (nested(60), "name" + ".0" * 32),
    ],
)
async def test_values_that_nothing_could_hold_are_refused(service: Running, value: Any, path: str) -> None:
    body = json.dumps({"name": value}).replace("Infinity", "1e999")
    answer = await service.client.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    assert [error["path"] for error in problem(answer, 422, "bad_request")["errors"]] == [path]


async def test_dates_of_yaml_are_no_texts(service: Running) -> None:
    headers = {"Content-Type": "application/yaml"}
    answer = await service.client.post("/jobs", content="name: 2026-01-01", headers=headers)
    told = problem(answer, 422, "bad_request")
    assert told["errors"] == [{"path": "name", "message": "is of a type that JSON has not: date"}]


async def test_a_body_that_is_no_mapping_is_a_bad_spec(service: Running) -> None:
    problem(await service.client.post("/jobs", json=[]), 422, "bad_spec")
    problem(await service.client.post("/deployments", json="x"), 422, "bad_spec")
    problem(await service.client.post("/comparisons", json=3), 422, "bad_spec")


async def test_a_body_beyond_the_limit_is_refused_before_it_is_read(service: Running) -> None:
    answer = await service.client.post("/jobs", content=b"x" * (service.settings.service.max_body + 1))
    problem(answer, 413, "payload_too_large")


async def test_a_body_that_grows_beyond_the_limit_is_refused_on_the_way(service: Running) -> None:
    async def endless() -> Any:
        for _ in range(40):
            yield b"x" * 65536

    headers = {"Content-Type": "application/json"}
    problem(await service.client.post("/jobs", content=endless(), headers=headers), 413, "payload_too_large")


async def test_a_route_without_parameters_takes_none(service: Running) -> None:
    for path in ("/healthz", "/engines", "/metrics"):
        told = problem(await service.client.get(f"{path}?x=1"), 422, "bad_request")
        assert told["errors"][0]["message"] == "unknown parameter; valid here: none"


async def test_a_key_that_cannot_be_kept_is_refused(service: Running) -> None:
    for key in ("", "x" * 201, "a b", "k\xe4se"):
        answer = await service.client.post(
            "/jobs", json=job_spec(), headers={b"Idempotency-Key": key.encode("latin-1")}
        )  # type: ignore[arg-type]
        problem(answer, 422, "bad_request")


async def test_a_service_that_is_not_ready_says_so(service: Running) -> None:
    service.service.not_ready = "the test wants it so"
    try:
        told = problem(await service.client.get("/readyz"), 503, "not_ready")
        assert told["detail"] == "the test wants it so"
        problem(await service.client.post("/jobs", json=job_spec()), 503, "not_ready")
        assert (await service.client.get("/healthz")).json() == {"status": "ok"}
    finally:
        service.service.not_ready = ""
    assert (await service.client.get("/readyz")).json() == {"status": "ready"}


async def test_a_bug_is_a_problem_too_and_tells_nothing_of_the_inside(service: Running) -> None:
    job = (await service.submit(job_spec()))["id"]
    await service.over(job)
    with sqlite3.connect(service.settings.root / "service.db") as database:
        database.execute("UPDATE records SET record = ? WHERE job_id = ?", ("not JSON", job))
    database.close()
    with structlog.testing.capture_logs() as lines:
        answer = await service.client.get(f"/jobs/{job}")
    assert [line["path"] for line in lines if line["event"] == "request failed"] == [f"/jobs/{job}"]
    told = problem(answer, 500, "internal_error")
    assert told["detail"] == "JSONDecodeError while answering"
    assert answer.headers["x-content-type-options"] == "nosniff"
