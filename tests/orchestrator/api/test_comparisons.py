"""`/comparisons`: jobs of several variants, and the table of what they found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator.api.support import Running, job_spec, problem, running, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


def comparison(**changes: Any) -> dict[str, Any]:
    good, bad = job_spec(limit=20), job_spec("--wrong-rate", "0.5", limit=20)
    serve = {"good": good["serve"], "bad": bad["serve"]}
    return {"name": "two", "serve": serve, "evaluate": good["evaluate"], "probe": good["probe"], **changes}


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
