"""`/comparisons`: jobs of several variants, and the table of what they found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.comparing.folder import ComparisonFolder
from tests.orchestrator.api.support import Running, job_spec, problem, running, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


def comparison(**changes: Any) -> dict[str, Any]:
    good, bad = job_spec(limit=20), job_spec("--wrong-rate", "0.5", limit=20)
    serve = {"good": good["serve"], "bad": bad["serve"]}
    return {"name": "two", "serve": serve, "evaluate": good["evaluate"], "probe": good["probe"], **changes}


async def begun(service: Running, headers: dict[str, str] | None = None) -> str:
    """Path of a comparison whose first job has been submitted and never ends by itself."""
    endless = job_spec("--load-time", "3600")["serve"]
    document = comparison(serve={"good": endless, "bad": endless})
    answer = await service.client.post("/comparisons", json=document, headers=headers or {})
    place = str(answer.headers["location"])

    async def submitted() -> bool:
        return bool((await service.client.get(place)).json()["jobs"])

    await wait_for(submitted, "first job of the comparison")
    return place


async def over(service: Running, place: str) -> dict[str, Any]:
    """The comparison once all of it is over."""

    async def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = (await service.client.get(place)).json()
        return found if found["state"] != "running" else None

    return await wait_for(ended, "end of the comparison", 120)


async def test_two_variants_are_two_jobs_and_one_table(service: Running) -> None:
    answer = await service.client.post("/comparisons", json=comparison())
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "running"
    done = await over(service, answer.headers["location"])
    assert done["state"] == "succeeded"
    good, bad = done["variants"]
    assert (good["name"], bad["name"], done["baseline"]) == ("good", "bad", "good")
    assert good["results"][0]["score"] == 100.0
    assert bad["results"][0]["score"] < 90
    [difference] = bad["differences"]
    assert difference["dataset"] == "rows"
    for variant in (good, bad):
        job = (await service.client.get(f"/jobs/{done['jobs'][variant['name']]}")).json()
        assert (job["id"], job["results"]) == (variant["job"], variant["results"])
    listed = (await service.client.get("/comparisons")).json()["items"]
    assert [one["id"] for one in listed] == [done["id"]]
    files = f"{answer.headers['location']}/artifacts"
    page = await service.client.get(f"{files}/comparison.html")
    assert page.status_code == 200
    assert "<h1>" in page.text
    part = await service.client.get(f"{files}/flips.jsonl", headers={"Range": "bytes=0-0"})
    assert (part.status_code, part.content) == (206, b"{")
    problem(await service.client.get(f"{files}/%2e%2e/{done['id']}/plan.json"), 404, "not_found")


@pytest.mark.slow
async def test_a_comparison_goes_on_after_the_service_was_away(new_home: Callable[[], Path]) -> None:
    home = new_home()
    async with running(home) as first:
        place = (await first.client.post("/comparisons", json=comparison())).headers["location"]

        async def begun() -> bool:
            return bool((await first.client.get(place)).json()["jobs"])

        await wait_for(begun, "first job")
        jobs = (await first.client.get(place)).json()["jobs"]
    async with running(home) as second:
        done = await over(second, place)
        for job in done["jobs"].values():
            await second.over(job)
        assert len(second.service.store.counts()) == 1
        assert sum(second.service.store.counts().values()) == 2
    assert done["state"] == "succeeded"
    assert done["jobs"].items() >= jobs.items()


async def test_every_error_of_a_comparison_comes_back_at_once(service: Running) -> None:
    wrong = comparison(baseline="none", evaluat=[])
    wrong["serve"]["bad"]["engin"] = "x"
    told = problem(await service.client.post("/comparisons", json=wrong), 422, "bad_spec")
    assert {error["path"] for error in told["errors"]} == {"baseline", "evaluat", "serve.bad.engin"}


async def test_a_comparison_that_never_was_is_not_found(service: Running) -> None:
    problem(await service.client.get("/comparisons/none"), 404, "not_found")


async def test_a_cancelled_comparison_ends_its_job_begins_no_other_and_is_cancelled(service: Running) -> None:
    place = await begun(service)
    cancelled = await service.client.post(f"{place}/cancel", params={"if_state": "running"})
    assert cancelled.status_code == 202, cancelled.text
    assert cancelled.json()["cancel_requested"]
    done = await over(service, place)
    first, second = done["variants"]
    assert (done["state"], first["state"], second["state"]) == ("cancelled", "cancelled", "queued")
    assert done["jobs"].keys() == {"good"}
    again = await service.client.post(f"{place}/cancel")
    assert "is cancelled" in problem(again, 409, "conflict")["detail"]


async def test_the_next_service_cancels_what_was_to_be_cancelled_whatever_became_of_another(
    new_home: Callable[[], Path],
) -> None:
    home = new_home()
    async with running(home) as first:
        broken, place = await begun(first), await begun(first)
        # As a service leaves it that ends between the note and the end of the jobs.
        ComparisonFolder(home / place.removeprefix("/")).ask_to_cancel()
        (home / broken.removeprefix("/") / "plan.json").unlink()
    async with running(home) as second:
        done = await over(second, place)
        assert (done["state"], done["cancel_requested"]) == ("cancelled", True)
        assert (await second.over(done["jobs"]["good"]))["state"] == "cancelled"
        left = await over(second, broken)
        assert left["state"] == "incomplete"
        await second.service.cancel(left["jobs"]["good"])
        await second.over(left["jobs"]["good"])


async def test_only_a_comparison_that_is_over_is_deleted_and_its_jobs_stay(service: Running) -> None:
    place = await begun(service)
    assert "is running" in problem(await service.client.delete(place), 409, "conflict")["detail"]
    await service.client.post(f"{place}/cancel")
    done = await over(service, place)
    stale = {"If-Match": f'"{done["version"] - 1}"'}
    problem(await service.client.delete(place, headers=stale), 412, "precondition_failed")
    problem(await service.client.delete(place, params={"if_state": "succeeded"}), 412, "precondition_failed")
    shown = await service.client.get(place)
    folder = service.settings.root / place.removeprefix("/")
    assert (folder / "comparison.html").is_file()
    gone = await service.client.delete(place, headers={"If-Match": shown.headers["etag"]})
    assert gone.status_code == 204
    problem(await service.client.get(place), 404, "not_found")
    assert not folder.exists()
    assert (await service.client.get(f"/jobs/{done['jobs']['good']}")).status_code == 200


async def test_only_its_owner_or_an_admin_cancels_or_deletes_a_comparison(service: Running) -> None:
    owner, other, admin = (
        service.token(name, role) for name, role in (("o", "submit"), ("p", "submit"), ("q", "admin"))
    )
    place = await begun(service, owner)
    for request in (service.client.post(f"{place}/cancel", headers=other), service.client.delete(place, headers=other)):
        assert "is of token `o`" in problem(await request, 403, "forbidden")["detail"]
    assert (await service.client.post(f"{place}/cancel", headers=owner)).status_code == 202
    await over(service, place)
    assert (await service.client.delete(place, headers=admin)).status_code == 204


@pytest.mark.parametrize(("method", "path"), [("POST", "/comparisons/none/cancel"), ("DELETE", "/comparisons/none")])
async def test_what_never_was_is_neither_cancelled_nor_deleted(service: Running, method: str, path: str) -> None:
    problem(await service.client.request(method, path), 404, "not_found")
