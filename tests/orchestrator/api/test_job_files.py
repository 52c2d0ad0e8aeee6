"""What a job leaves, over HTTP: its events, logs, scores, samples and files, and nothing beside them."""

# ruff: noqa: ASYNC240 - a few small files, and nobody else waits
from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.orchestrator.api.support import Running, job_spec, problem, raw, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def job(service: Running) -> AsyncIterator[dict[str, Any]]:
    """A job that succeeded."""
    done = await service.over((await service.submit(job_spec()))["id"])
    assert done["state"] == "succeeded", done["failure"]
    yield done


async def events_of(service: Running, job: str, last: int | None = None) -> list[dict[str, Any]]:
    """Every event of a stream, up to its end."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    found = []
    async with service.client.stream("GET", f"/jobs/{job}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
    return found


async def test_events_come_as_they_happen_and_end_with_the_job(service: Running) -> None:
    job = (await service.submit(job_spec()))["id"]
    events = await asyncio.wait_for(events_of(service, job), 60)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    states = [event["state"] for event in events if event["type"] == "state"]
    assert states == ["queued", "allocating", "starting", "probing", "evaluating", "stopping", "succeeded"]
    assert set(events[0]) == {"seq", "time", "attempt", "type", "state", "phase", "message", "code", "data"}


async def test_events_go_on_where_a_client_left_off(service: Running, job: dict[str, Any]) -> None:
    whole = await events_of(service, job["id"])
    assert await events_of(service, job["id"], 3) == whole[3:]
    assert await events_of(service, job["id"], 0) == whole


async def test_a_client_that_has_all_events_is_told_not_to_come_back(service: Running, job: dict[str, Any]) -> None:
    last = str((await events_of(service, job["id"]))[-1]["seq"])
    for given in (last, str(2**53)):
        answer = await service.client.get(f"/jobs/{job['id']}/events", headers={"Last-Event-ID": given})
        assert answer.status_code == 204


@pytest.mark.parametrize("given", ["x", "-1", "1.5", str(2**60)])
async def test_a_last_event_that_is_no_number_is_refused(service: Running, job: dict[str, Any], given: str) -> None:
    answer = await service.client.get(f"/jobs/{job['id']}/events", headers={"Last-Event-ID": given})
    problem(answer, 422, "bad_request")


async def test_logs_are_named_and_read_whole_or_from_the_end(service: Running, job: dict[str, Any]) -> None:
    names = [one["name"] for one in (await service.client.get(f"/jobs/{job['id']}/logs")).json()["items"]]
    assert {"engine-0", "straight-0"} <= set(names)
    log = f"/jobs/{job['id']}/logs/engine-0"
    whole = Path(job["folder"], "logs", "engine-0.log").read_text()
    assert (await service.client.get(log)).text == whole
    assert (await service.client.get(f"{log}?tail=1")).text == whole.splitlines(keepends=True)[-1]
    assert (await service.client.get(f"{log}?tail=0")).text == ""
    assert (await service.client.get(f"{log}?tail=1000")).text == whole
    assert (await service.client.get(f"{log}?follow=true&tail=1")).text == whole.splitlines(keepends=True)[-1]


async def test_a_long_log_is_cut_at_the_right_line(service: Running, job: dict[str, Any]) -> None:
    lines = [f"{number} {'x' * 150}\n" for number in range(3000)]
    Path(job["folder"], "logs", "long.log").write_text("".join(lines) + "no newline")
    for tail in (1, 2, 500, 2999, 3001, 5000):
        text = (await service.client.get(f"/jobs/{job['id']}/logs/long?tail={tail}")).text
        assert text == "".join([*lines, "no newline"][-tail:])


@pytest.mark.slow
async def test_a_log_is_followed_until_the_job_is_over(service: Running) -> None:
    job = (await service.submit(job_spec("--load-time", "1")))["id"]

    async def there() -> bool:
        return (await service.client.get(f"/jobs/{job}/logs/engine-0")).status_code == 200

    await wait_for(there, "log of the engine")
    answer = await service.client.get(f"/jobs/{job}/logs/engine-0?follow=true")
    assert "ready on http" in answer.text
    row = service.service.store.job(job)
    assert row
    assert row.state.terminal


@pytest.mark.parametrize("name", ["nope", "..%2Fspec", "%2e%2e", "engine-0.log", ".hidden", "a%00b", "x" * 200])
async def test_only_logs_are_read_as_logs(service: Running, job: dict[str, Any], name: str) -> None:
    problem(await service.client.get(f"/jobs/{job['id']}/logs/{name}"), 404, "not_found")


async def test_scores_stand_beside_what_they_are_of(service: Running, job: dict[str, Any]) -> None:
    [result] = (await service.client.get(f"/jobs/{job['id']}/results")).json()["items"]
    assert result == job["results"][0]
    assert (result["asked"], result["answered"], result["failed"], result["coverage"]) == (5, 5, 0, 1.0)


async def test_samples_come_in_pages(service: Running, job: dict[str, Any]) -> None:
    samples = f"/jobs/{job['id']}/samples"
    whole = (await service.client.get(samples)).json()
    assert [one["index"] for one in whole["items"]] == [0, 1, 2, 3, 4]
    assert whole["next_cursor"] is None
    first = (await service.client.get(f"{samples}?limit=3")).json()
    second = (await service.client.get(f"{samples}?limit=3&cursor={first['next_cursor']}")).json()
    assert first["items"] + second["items"] == whole["items"]
    assert second["next_cursor"] is None


async def test_a_cursor_into_the_middle_of_a_sample_is_refused(service: Running, job: dict[str, Any]) -> None:
    forged = "c2FtcGxlczo1"  # samples:5
    problem(await service.client.get(f"/jobs/{job['id']}/samples?cursor={forged}"), 422, "bad_request")


async def test_a_job_that_is_not_over_has_no_samples_yet(service: Running) -> None:
    job = (await service.submit(job_spec("--load-time", "30")))["id"]
    assert (await service.client.get(f"/jobs/{job}/samples")).json() == {"items": [], "next_cursor": None}
    await service.client.post(f"/jobs/{job}/cancel")
    await service.over(job)


async def test_files_are_listed_and_read(service: Running, job: dict[str, Any]) -> None:
    found = (await service.client.get(f"/jobs/{job['id']}/artifacts")).json()["items"]
    paths = [one["path"] for one in found]
    assert {"report.md", "samples.jsonl", "spec.json", "logs/engine-0.log"} <= set(paths)
    assert not {"assignment.json", "owner.lock"} & set(paths)
    for one in found:
        answer = await service.client.get(f"/jobs/{job['id']}/artifacts/{one['path']}")
        assert answer.content == Path(job["folder"], one["path"]).read_bytes()
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_list_of_files_comes_in_pages(service: Running, job: dict[str, Any]) -> None:
    listing = f"/jobs/{job['id']}/artifacts"
    whole = [one["path"] for one in (await service.client.get(listing)).json()["items"]]
    first = (await service.client.get(f"{listing}?limit=4")).json()
    second = (await service.client.get(f"{listing}?limit=200&cursor={first['next_cursor']}")).json()
    assert [one["path"] for one in first["items"] + second["items"]] == whole


@pytest.mark.parametrize(
    ("header", "status", "part"),
    [
        ("bytes=0-3", 206, slice(0, 4)),
        ("bytes=4-", 206, slice(4, None)),
        ("bytes=-5", 206, slice(-5, None)),
        ("bytes=-100000", 206, slice(None)),
        ("bytes=0-100000", 206, slice(None)),
        ("bytes=0-1,4-5", 200, slice(None)),
        ("bytes=-", 200, slice(None)),
        ("lines=0-3", 200, slice(None)),
        (f"bytes=0-{'9' * 5000}", 200, slice(None)),
    ],
)
async def test_a_part_of_a_file(service: Running, job: dict[str, Any], header: str, status: int, part: slice) -> None:
    whole = Path(job["folder"], "report.md").read_bytes()
    answer = await service.client.get(f"/jobs/{job['id']}/artifacts/report.md", headers={"Range": header})
    assert (answer.status_code, answer.content) == (status, whole[part])
    if status == 206:
        start, end, _ = part.indices(len(whole))
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(whole)}"


@pytest.mark.parametrize("header", ["bytes=100000-", "bytes=5-4", "bytes=-0"])
async def test_a_part_outside_the_file_is_refused(service: Running, job: dict[str, Any], header: str) -> None:
    answer = await service.client.get(f"/jobs/{job['id']}/artifacts/report.md", headers={"Range": header})
    problem(answer, 416, "range_not_satisfiable")
    size = Path(job["folder"], "report.md").stat().st_size
    assert answer.headers["content-range"] == f"bytes */{size}"


async def test_a_download_is_resumed_only_while_the_file_is_the_same(service: Running, job: dict[str, Any]) -> None:
    path = Path(job["folder"], "notes.txt")
    path.write_text("one two three")
    url = f"/jobs/{job['id']}/artifacts/notes.txt"
    tag = (await service.client.get(url)).headers["etag"]
    assert (await service.client.get(url, headers={"If-None-Match": tag})).status_code == 304
    resumed = {"Range": "bytes=4-", "If-Range": tag}
    assert (await service.client.get(url, headers=resumed)).content == b"two three"
    path.write_text("four five six")
    os.utime(path, (1, 1))
    changed = await service.client.get(url, headers=resumed)
    assert (changed.status_code, changed.content) == (200, b"four five six")


async def test_pages_that_a_job_wrote_are_saved_not_shown(service: Running, job: dict[str, Any]) -> None:
    for name in ("evil.html", "evil.svg", "evil"):
        Path(job["folder"], name).write_text("<script>alert(1)</script>")
        headers = (await service.client.get(f"/jobs/{job['id']}/artifacts/{name}")).headers
        assert headers["content-type"] == "application/octet-stream"
        assert headers["content-disposition"].startswith("attachment")
        assert "sandbox" in headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "..%2fsecret",
        "%2e%2e/secret",
        "logs/../../secret",
        "logs/..%2f..%2fsecret",
        "%2fetc/passwd",
        "/etc/passwd",
        "./report.md",
        "logs//engine-0.log",
        "report.md/",
        "report.md%00",
        "report.md/x",
        "logs",
        ".hidden",
        "assignment.json",
        "owner.lock",
        "x" * 5000,
        "a/" * 2000 + "a",
    ],
)
async def test_no_path_leads_out_of_the_job(service: Running, job: dict[str, Any], path: str) -> None:
    Path(job["folder"]).with_name("secret").write_text("secret")
    Path(job["folder"], ".hidden").write_text("hidden")
    # Clients normalise `..` away: what is sent is what stands here.
    request = f"GET /jobs/{job['id']}/artifacts/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    status, told = await raw(service, request.encode())
    assert (status, told["code"]) in [(404, "not_found"), (422, "bad_request")]


async def test_a_file_whose_name_is_not_utf8_is_left_out_of_the_list(service: Running, job: dict[str, Any]) -> None:
    listing = f"/jobs/{job['id']}/artifacts"
    before = (await service.client.get(listing)).json()
    Path(job["folder"], os.fsdecode(b"\xff.txt")).write_text("odd")
    assert (await service.client.get(listing)).json() == before


async def test_logs_that_are_a_link_to_elsewhere_are_not_listed(service: Running) -> None:
    job = await service.over((await service.submit(job_spec()))["id"])
    folder = Path(job["folder"])
    elsewhere = folder.with_name("elsewhere")
    (folder / "logs").rename(elsewhere)
    (folder / "logs").symlink_to(elsewhere)
    assert (await service.client.get(f"/jobs/{job['id']}/logs")).json() == {"items": []}


@pytest.mark.parametrize("place", ["link", "folder-link/secret", "pipe", "device", "loop"])
async def test_only_plain_files_are_read_and_no_link_is_followed(
    service: Running, job: dict[str, Any], place: str
) -> None:
    folder = Path(job["folder"])
    folder.with_name("secret").write_text("secret")
    plant = {
        "link": lambda path: path.symlink_to(folder.with_name("secret")),
        "folder-link": lambda path: path.symlink_to(folder.parent),
        "pipe": os.mkfifo,
        "device": lambda path: path.symlink_to("/dev/zero"),
        "loop": lambda path: path.symlink_to(path),
    }
    for name, make in plant.items():
        if not os.path.lexists(folder / name):
            make(folder / name)
    problem(await service.client.get(f"/jobs/{job['id']}/artifacts/{place}"), 404, "not_found")
    listed = (await service.client.get(f"/jobs/{job['id']}/artifacts")).json()["items"]
    assert not [one for one in listed if one["path"].startswith(place.split("/")[0])]


async def test_a_retry_asks_nothing_again(service: Running, job: dict[str, Any]) -> None:
    answer = await service.client.post(f"/jobs/{job['id']}/retry")
    assert answer.status_code == 202, answer.text
    again = await service.over(answer.json()["id"])
    assert (again["state"], again["resumed_from"]) == ("succeeded", job["id"])
    assert (again["gateway"]["replayed"], again["results"]) == (5, job["results"])
