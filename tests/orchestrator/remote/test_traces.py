"""Traces of jobs, as a collector gets them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator.traces import Collector
from tests.clients.scripted_service import LOST, Answer, scripted
from tests.orchestrator.service.support import Running, spec
from tests.orchestrator.support import wait_for


@pytest.mark.slow
def test_a_job_that_ends_is_a_trace_with_a_span_per_state(tmp_path: Path, evaluator_environments: Path) -> None:
    (tmp_path / "environments").symlink_to(evaluator_environments)
    with scripted([LOST, Answer(200)]) as collector:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20b"}
        running = Running(tmp_path, **variables)
        running.start()
        try:
            job = running.wait_end(running.submit(spec("--exit-on-load", "7")))
            wait_for(lambda: len(collector.requests) >= 2, "the trace", timeout=30)
        finally:
            running.stop()
            running.client.close()
    assert collector.requests[1][:2] == ("POST", "/v1/traces")
    assert collector.headers("x-key") == ["a b", "a b"]
    (resource,) = json.loads(collector.bodies[1])["resourceSpans"]
    root, *states = resource["scopeSpans"][0]["spans"]
    assert _facts(root) >= {("job.id", job["id"]), ("job.state", "failed"), ("error.type", "engine_exited")}
    assert root["status"]["code"] == 2
    assert [span["name"] for span in states] == ["queued", "allocating", "starting", "stopping"]
    assert {span["parentSpanId"] for span in states} == {root["spanId"]}
    assert {span["traceId"] for span in (root, *states)} == {root["traceId"]}
    assert (len(root["traceId"]), len(root["spanId"])) == (32, 16)
    for one, following in pairwise(states):
        assert one["endTimeUnixNano"] == following["startTimeUnixNano"]
    assert any(step["name"] == "starting/engine-0" for step in states[2]["events"])


def test_the_standard_variables_say_where_traces_go() -> None:
    assert Collector.named({}) is None
    named = Collector.named({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/x", "OTEL_SERVICE_NAME": "mine"})
    assert named == Collector("http://c/x", {}, "mine")


def _facts(span: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["key"], next(iter(one["value"].values()))) for one in span["attributes"]}
