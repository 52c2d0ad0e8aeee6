"""Who gets in: hosts, origins, tokens, roles, limits; every route held against every role."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from orchestrator.errors import Unprotected
from orchestrator.policy import Policy
from orchestrator.settings import ServiceSettings
from orchestrator.store.rows import Role
from tests.orchestrator.api.support import Running, exposed_to_the_network, job_spec, problem, running, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPEN = {"/healthz", "/readyz"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exposed(new_home: Callable[[], Path]) -> AsyncIterator[Running]:
    """A service that the network reaches, whose operator allows what the tests' jobs need."""
    allowed = Policy(custom_commands=True, files=["*"])
    async with exposed_to_the_network(new_home(), policy=allowed) as service:
        yield service


async def routes(service: Running) -> list[tuple[str, str]]:
    """Every route there is, with nothing at the places of ids."""
    reader = service.token(f"reader-{time.monotonic()}", "read")
    paths = (await service.client.get("/openapi.json", headers=reader)).json()["paths"]
    return [(method.upper(), re.sub(r"{\w+}", "none", path)) for path, found in paths.items() for method in found]


async def test_without_a_token_only_the_probes_answer(exposed: Running) -> None:
    for method, path in [*await routes(exposed), ("GET", "/openapi.json"), ("GET", "/nothing"), ("PUT", "/jobs")]:
        answer = await exposed.client.request(method, path)
        if path in OPEN:
            assert answer.status_code == 200
        else:
            problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_every_route_asks_for_its_role(exposed: Running) -> None:
    tokens = {role: exposed.token(f"a-{role}", role) for role in Role}
    for method, path in await routes(exposed):
        needed = Role.ADMIN if path == "/audit" else Role.READ if method == "GET" else Role.SUBMIT
        for role, token in tokens.items():
            answer = await exposed.client.request(method, path, headers=token)
            if list(Role).index(role) < list(Role).index(needed):
                problem(answer, 403, "forbidden")
            else:
                assert answer.status_code not in (401, 403), (method, path, role)


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer x", "Basic eDp4", "Bearer \xff", "bearer none none"])
async def test_what_is_no_token_does_not_get_in(exposed: Running, given: str) -> None:
    headers = {b"Authorization": given.encode("latin-1")}
    problem(await exposed.client.get("/jobs", headers=headers), 401, "unauthorized")  # type: ignore[arg-type]


async def test_a_revoked_token_does_not_get_in_any_more(exposed: Running) -> None:
    token = exposed.token("guest", "read")
    assert (await exposed.client.get("/jobs", headers=token)).status_code == 200
    exposed.service.store.tokens.revoke("guest")
    problem(await exposed.client.get("/jobs", headers=token), 401, "unauthorized")


async def test_a_job_is_its_submitters_and_the_admins(exposed: Running) -> None:
    owner, other = exposed.token("owner", "submit"), exposed.token("other", "submit")
    admin = exposed.token("admin", "admin")
    jobs = [(await exposed.submit(job_spec("--load-time", "60"), **owner))["id"] for _ in range(2)]
    for job in jobs:
        problem(await exposed.client.post(f"/jobs/{job}/cancel", headers=other), 403, "forbidden")
    assert (await exposed.client.post(f"/jobs/{jobs[0]}/cancel", headers=owner)).status_code == 202
    assert (await exposed.client.post(f"/jobs/{jobs[1]}/cancel", headers=admin)).status_code == 202
    for job in jobs:
        await exposed.over(job)
        problem(await exposed.client.delete(f"/jobs/{job}", headers=other), 403, "forbidden")
        assert (await exposed.client.delete(f"/jobs/{job}", headers=owner)).status_code == 204


@pytest.mark.slow
async def test_keys_of_two_tokens_never_meet(exposed: Running) -> None:
    one, two = exposed.token("c-1", "submit"), exposed.token("c-2", "submit")
    key = {"Idempotency-Key": "same"}
    first = await exposed.submit(job_spec(), **key, **one)
    second = await exposed.submit(job_spec(), **key, **two)
    assert first["id"] != second["id"]
    assert (await exposed.submit(job_spec(), **key, **one))["id"] == first["id"]
    for job in (first, second):
        await exposed.over(job["id"])


async def test_a_token_gets_so_many_requests_a_minute(exposed: Running) -> None:
    token = exposed.token("eager", "read", rate_per_minute=3)
    for _ in range(3):
        assert (await exposed.client.get("/jobs", headers=token)).status_code == 200
    answer = await exposed.client.get("/jobs", headers=token)
    problem(answer, 429, "rate_limited")
    assert 0 < int(answer.headers["retry-after"]) <= 20
    assert (await exposed.client.get("/jobs", headers=exposed.token("calm", "read"))).status_code == 200


async def test_it_does_not_start_open_to_the_network_without_a_token(tmp_path: Path) -> None:
    for settings in ({"host": "0.0.0.0"}, {"allowed_hosts": ["x.example"]}, {"require_token": True}):
        with pytest.raises(Unprotected, match="there is no token"):
            async with running(tmp_path, **settings):
                pass


async def test_a_name_of_the_service_is_known_in_any_case(new_home: Callable[[], Path]) -> None:
    async with exposed_to_the_network(new_home(), allowed_hosts=["Eval.Example"]) as service:
        assert (await service.client.get("/healthz", headers={"Host": "eval.example"})).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST.", "127.0.0.2", "localhost:1"])
async def test_names_of_this_machine_are_good_hosts(service: Running, host: str) -> None:
    assert (await service.client.get("/healthz", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "localhost.evil.example:80"]
)
async def test_other_hosts_are_refused_by_rebinding_or_not(service: Running, host: str) -> None:
    for path in ("/healthz", "/jobs", "/nothing"):
        problem(await service.client.get(path, headers={"Host": host}), 403, "forbidden")


async def test_on_the_network_an_address_is_a_good_host_and_a_foreign_name_is_not(exposed: Running) -> None:
    for host in ("10.1.2.3", "[fe80::1]:80", "localhost"):
        assert (await exposed.client.get("/healthz", headers={"Host": host})).status_code == 200
    problem(await exposed.client.get("/healthz", headers={"Host": "evil.example"}), 403, "forbidden")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "file://"])
async def test_pages_of_other_sites_are_refused(service: Running, origin: str) -> None:
    for method, path in (("POST", "/jobs"), ("GET", "/jobs"), ("OPTIONS", "/jobs")):
        answer = await service.client.request(method, path, headers={"Origin": origin})
        problem(answer, 403, "forbidden")
        assert "access-control-allow-origin" not in answer.headers


async def test_its_own_pages_may_ask(service: Running) -> None:
    assert (await service.client.get("/jobs", headers={"Origin": service.url})).status_code == 200


async def test_pages_that_the_operator_named_may_ask(tmp_path: Path) -> None:
    page = "https://page.example"
    async with running(tmp_path, allowed_origins=[page]) as service:
        asked = {"Origin": page, "Access-Control-Request-Method": "POST"}
        answer = await service.client.options("/jobs", headers=asked)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, page)
        answer = await service.client.get("/jobs", headers={"Origin": page})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, page)
        problem(await service.client.get("/jobs", headers={"Origin": "https://other.example"}), 403, "forbidden")


ASK = """
import http.client, sys
asked = http.client.HTTPConnection(sys.argv[1])
asked.request("GET", sys.argv[2])
print(asked.getresponse().status)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can ask as another user")
@pytest.mark.parametrize(
    ("user", "path", "status"), [(65534, "/jobs", 401), (65534, "/healthz", 200), (0, "/jobs", 200)]
)
async def test_another_user_of_the_machine_is_not_the_local_user(
    service: Running, user: int, path: str, status: int
) -> None:
    command = ["python3", "-I", "-c", ASK, urlsplit(service.url).netloc, path]
    asked = await asyncio.create_subprocess_exec(*command, user=user, cwd="/", stdout=asyncio.subprocess.PIPE)
    told, _ = await asyncio.wait_for(asked.communicate(), 30)
    assert told.decode().strip() == str(status)


async def test_on_the_loopback_a_token_that_is_given_must_hold(service: Running) -> None:
    problem(await service.client.get("/jobs", headers={"Authorization": "Bearer x"}), 401, "unauthorized")
    reader = service.token("loopback-reader", "read")
    problem(await service.client.post("/jobs", json=job_spec(), headers=reader), 403, "forbidden")


async def test_who_did_what_is_written_down_and_so_is_who_was_refused(service: Running) -> None:
    reader, admin = service.token("curious", "read"), service.token("boss", "admin")
    await service.client.post("/jobs", json=job_spec(), headers=reader)
    made = await service.submit(job_spec(), **admin)
    await service.over(made["id"])

    async def both() -> list[dict[str, Any]] | None:
        found = (await service.client.get("/audit?limit=50", headers=admin)).json()["items"]
        ours = [line for line in found if line["token"] in ("curious", "boss")]
        return ours if len(ours) == 2 else None

    done, refused = await wait_for(both, "audit lines")
    assert (done["action"], done["target"], done["outcome"]) == ("POST /jobs", f"/jobs/{made['id']}", "done")
    assert (refused["action"], refused["target"], refused["outcome"]) == ("POST /jobs", "/jobs", "forbidden")


@pytest.mark.parametrize(
    ("settings", "exposed"),
    [({}, False), ({"host": "::1"}, False), ({"host": "0.0.0.0"}, True), ({"host": "gpu-1"}, True)],
)
async def test_whether_others_reach_it_follows_from_its_address(settings: dict[str, str], exposed: bool) -> None:
    assert ServiceSettings(**settings).exposed is exposed
