"""The service's client where the network or the service fails: what is asked again, and what is not."""

from __future__ import annotations

import socket
import time

import pytest

from clients.service import (
    BadRequest,
    Conflict,
    Forbidden,
    IdempotencyConflict,
    NotFound,
    PolicyRefused,
    PreconditionFailed,
    QueueFull,
    RateLimited,
    ServiceClient,
    ServiceError,
    ServiceFailed,
    ServiceNotReady,
    ServiceUnreachable,
    SpecRefused,
    Unauthorized,
)
from tests.clients.scripted_service import LOST, Answer, document, problem, scripted

JOB = {
    "id": "j",
    "name": "n",
    "state": "queued",
    "spec": {},
    "created_at": "",
    "folder": "",
    "version": 1,
    "engine": "custom",
    "priority": 0,
}
ALIVE = document({"status": "ok"})


def event(seq: int, state: str = "evaluating") -> bytes:
    told = (
        f'{{"seq": {seq}, "time": "", "attempt": 1, "type": "state", "state": "{state}", "phase": "", "message": ""}}'
    )
    return f"id: {seq}\nevent: state\ndata: {told}\n\n".encode()


def test_a_submission_whose_answer_was_lost_is_sent_again_with_the_same_key() -> None:
    with scripted([ALIVE, LOST, LOST, document(JOB, 202)]) as service, ServiceClient(service.url) as client:
        client.check_alive()
        assert client.submit({"serve": {}}).id == "j"
        keys = service.headers("idempotency-key")[1:]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert keys[0]


@pytest.mark.parametrize(
    "change", [lambda c: c.cancel("j"), lambda c: c.delete("j"), lambda c: c.deploy({"serve": {}})]
)
def test_a_change_without_a_key_is_not_sent_again_once_its_answer_was_lost(change: object) -> None:
    with scripted([ALIVE, LOST, document(JOB, 202)]) as service, ServiceClient(service.url) as client:
        client.check_alive()
        with pytest.raises(ServiceUnreachable, match="broke") as broken:
            change(client)  # type: ignore[operator]
        assert len(service.requests) == 2
    assert "not known" in broken.value.hint


def test_a_service_that_starts_is_waited_for() -> None:
    not_ready = problem(503, "not_ready")
    with scripted([not_ready, not_ready, document(JOB, 202)]) as service, ServiceClient(service.url) as client:
        assert client.cancel("j").id == "j"
        assert len(service.requests) == 3


def test_a_rate_limit_is_waited_for_as_long_as_it_says() -> None:
    limited = problem(429, "rate_limited", **{"Retry-After": "1"})
    with scripted([limited, document(JOB)]) as service, ServiceClient(service.url) as client:
        began = time.monotonic()
        client.job("j")
        assert time.monotonic() - began >= 1.0


def test_patience_ends() -> None:
    with scripted([problem(503, "not_ready", "it starts")]) as service:
        with ServiceClient(service.url, patience=0.3) as client, pytest.raises(ServiceNotReady, match="it starts"):
            client.job("j")
        assert len(service.requests) >= 2


def test_a_service_that_never_answered_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    began = time.monotonic()
    with ServiceClient(f"http://127.0.0.1:{port}") as client, pytest.raises(ServiceUnreachable) as nobody:
        client.job("j")
    assert time.monotonic() - began < 5
    assert "orchestrator serve" in nobody.value.hint


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad_request", BadRequest),
        (401, "unauthorized", Unauthorized),
        (403, "forbidden", Forbidden),
        (403, "policy", PolicyRefused),
        (404, "not_found", NotFound),
        (409, "conflict", Conflict),
        (409, "idempotency_conflict", IdempotencyConflict),
        (409, "gpu_unavailable", Conflict),
        (412, "precondition_failed", PreconditionFailed),
        (422, "bad_spec", SpecRefused),
        (422, "dataset_missing", BadRequest),
        (429, "queue_full", QueueFull),
        (500, "internal_error", ServiceFailed),
    ],
)
def test_a_problem_is_the_error_of_its_code(status: int, code: str, kind: type[ServiceError]) -> None:
    with (
        scripted([problem(status, code, "why")]) as service,
        ServiceClient(service.url) as client,
        pytest.raises(ServiceError) as raised,
    ):
        client.job("j")
    error = raised.value
    assert type(error) is kind
    assert (error.status, error.code, error.message, error.hint) == (status, code, "why", "try")
    assert [(one.path, one.message) for one in error.errors] == [("serve.engine", "wrong")]


def test_a_rate_limit_beyond_patience_is_raised_with_its_seconds() -> None:
    limited = problem(429, "rate_limited", **{"Retry-After": "30"})
    with scripted([limited]) as service, ServiceClient(service.url, patience=1) as client:
        with pytest.raises(RateLimited) as raised:
            client.job("j")
        assert raised.value.retry_after == 30
        assert len(service.requests) == 1


@pytest.mark.parametrize("answer", [Answer(404, b"<html>not here</html>"), Answer(200, b"<html>hello</html>")])
def test_something_else_at_the_url_is_no_service(answer: Answer) -> None:
    with scripted([answer]) as service, ServiceClient(service.url) as client:
        with pytest.raises(ServiceFailed) as raised:
            client.job("j")
        assert "URL of the service" in raised.value.hint


@pytest.mark.parametrize("url", ["127.0.0.1:8420", "http://", "http://host:port", "ftp://host", "http://[::1"])
def test_what_is_no_url_is_said(url: str) -> None:
    with pytest.raises(BadRequest) as raised:
        ServiceClient(url)
    assert "http://127.0.0.1:8420" in raised.value.hint


def test_events_go_on_where_the_connection_was_cut() -> None:
    answers = [
        Answer(200, event(1) + event(2) + b"id: 3\ndata: {half", {"Content-Type": "text/event-stream"}, cut=True),
        LOST,
        Answer(200, b": still here\n\n" + event(3) + event(4, "succeeded"), {"Content-Type": "text/event-stream"}),
    ]
    with scripted(answers) as service, ServiceClient(service.url) as client:
        assert [one.seq for one in client.events("j")] == [1, 2, 3, 4]
        assert service.headers("last-event-id") == ["0", "2", "2"]


def test_events_end_quietly_after_their_time() -> None:
    silent = Answer(200, b"retry: 1000\n\n", {"Content-Type": "text/event-stream"}, cut=True)
    with scripted([silent]) as service, ServiceClient(service.url) as client:
        began = time.monotonic()
        assert list(client.events("j", timeout=0.5)) == []
        assert 0.4 < time.monotonic() - began < 3


def test_a_slow_service_is_not_a_silent_one() -> None:
    slow = Answer(200, event(1) + event(2, "failed"), {"Content-Type": "text/event-stream"}, delay=0.6)
    with scripted([slow]) as service, ServiceClient(service.url) as client:
        assert [one.seq for one in client.events("j", timeout=0.3)] == [1, 2]
        assert len(service.requests) == 1


def test_a_log_goes_on_where_the_connection_was_cut() -> None:
    answers = [
        Answer(200, b"first\nsec", cut=True),
        Answer(200, b"first\nsecond\n"),  # the service stops
        document(JOB),
        Answer(200, b"first\nsecond\nthird\n"),
        document({**JOB, "state": "failed"}),
    ]
    with scripted(answers) as service, ServiceClient(service.url) as client:
        assert b"".join(client.log("j", "engine-0", follow=True)) == b"first\nsecond\nthird\n"
        asked = [path for _, path, _ in service.requests]
    assert asked.count("/jobs/j/logs/engine-0?follow=true") == 3


def test_a_list_is_read_page_by_page_and_only_as_far_as_it_is_wanted() -> None:
    def page(number: int, more: str | None) -> Answer:
        sample = {"dataset": "d", "index": number, "prompt": "", "output": None, "gold": None, "prediction": None}
        return document({"items": [{**sample, "correct": None, "new_field": 1}], "next_cursor": more})

    with scripted([page(0, "a"), page(1, "b"), page(2, None)]) as service, ServiceClient(service.url) as client:
        found = client.samples("j", page=1)
        assert next(found).index == 0
        assert len(service.requests) == 1
        rest = list(found)
        assert [one.index for one in rest] == [1, 2]
        assert rest[0].model_dump()["new_field"] == 1, "what a newer service adds is passed on"
        assert [path for _, path, _ in service.requests][1:] == [f"/jobs/j/samples?limit=1&cursor={c}" for c in "ab"]


def test_names_cannot_lead_to_another_route() -> None:
    with scripted([document(JOB)]) as service, ServiceClient(service.url, "secret") as client:
        client.job("../resources?x=1")
        assert service.requests[0][1] == "/jobs/..%2Fresources%3Fx%3D1"
        assert service.headers("authorization") == ["Bearer secret"]
