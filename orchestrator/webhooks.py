"""Webhooks: every job that ends is told to the operator's URLs, until each has taken it.

Calls are written down in the store before they are made, so that a restart forgets none. What is sent is the job as
`GET /jobs` lists it; the signature is that of `clients.service.signature`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version

import httpx

from clients.service.signature import HEADER, sign
from orchestrator.api.views import summary
from orchestrator.errors import NotFound
from orchestrator.job_folder import replace_text
from orchestrator.record import Event
from orchestrator.service.core import Service
from orchestrator.settings import Settings, Webhook
from orchestrator.store.rows import DeliveryRow, JobHead

TIMEOUT = 10.0
"""Seconds that a receiver has to answer."""
ATTEMPTS = 12
"""Calls after which a delivery is given up: half a day with the default first pause."""
LONGEST = 3600.0
LOOK = 2.0
"""Seconds between two looks for calls to repeat."""
GRACE = 2.0
"""Seconds that calls under way have when the service stops: one cut short is made again by the next service."""
METADATA = frozenset({"100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"})
"""Where clouds serve the machine's credentials, beside the link-local address."""

log = logging.getLogger(__name__)


class Refused(Exception):
    """An address that is never called."""


class Webhooks:
    """Makes the calls while `running`."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._hooks = {hook.url: hook for hook in settings.service.webhooks}
        self._seen = settings.root / "webhooks.json"
        self._ended: list[str] = []
        self._wake = asyncio.Event()
        self._stopping = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Nothing at all where no webhook is set."""
        if not self._hooks:
            yield
            return
        self._service.observe(self._observe)
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(self._run())
            yield
            self._stopping = True
            self._wake.set()
            await asyncio.wait({calling}, timeout=GRACE)
            calling.cancel()

    def _observe(self, job: JobHead, events: Sequence[Event]) -> None:
        if any(event.state.terminal for event in events):
            self._ended.append(job.id)
            self._wake.set()

    async def _run(self) -> None:
        await asyncio.to_thread(self._catch_up)
        headers = {"User-Agent": f"serve-then-evaluate/{version('serve-then-evaluate')}"}
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False, headers=headers) as http:
            while not self._stopping:
                ended, self._ended = self._ended, []
                due = await asyncio.to_thread(self._due, ended)
                async with asyncio.TaskGroup() as group:
                    for delivery in due:
                        group.create_task(self._deliver(http, delivery))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK):
                        await self._wake.wait()
                self._wake.clear()

    def _catch_up(self) -> None:
        """Write down the calls for jobs that ended while no service ran, though not before the URL was set."""
        known = json.loads(self._seen.read_text()) if self._seen.exists() else {}
        since = {url: known.get(_digest(url), time.time()) for url in self._hooks}
        replace_text(self._seen, json.dumps({_digest(url): moment for url, moment in since.items()}))
        for url, moment in since.items():
            while unsent := self._service.store.deliveries.unsent(url, moment):
                for job in unsent:
                    self._write_down(job.id, url)

    def _due(self, ended: Sequence[str]) -> list[DeliveryRow]:
        for job in ended:
            for url in self._hooks:
                self._write_down(job, url)
        return self._service.store.deliveries.due(time.time())

    def _write_down(self, job_id: str, url: str) -> None:
        row = self._service.store.job(job_id)
        if row is None or not row.state.terminal:
            return
        body = json.dumps({"type": f"job.{row.state}", "job": summary(row, row.record)}, default=str)
        with contextlib.suppress(NotFound):  # deleted meanwhile
            self._service.store.deliveries.add(job_id, url, body)

    async def _deliver(self, http: httpx.AsyncClient, delivery: DeliveryRow) -> None:
        rooms, hook = self._service.store.deliveries, self._hooks.get(delivery.url)
        again: float | None = None
        try:
            if hook is None:
                raise Refused("it is no longer among the webhooks")
            error = await _call(http, hook, delivery)
            again = next_attempt(delivery.attempts, hook.first_retry)
        except Refused as refused:
            error = str(refused)
        if error is None:
            await asyncio.to_thread(rooms.delivered, delivery.id, time.time())
            return
        log.warning("webhook failed: %s", error, extra={"job": delivery.job_id, "again_in": again})
        await asyncio.to_thread(rooms.failed, delivery.id, error, None if again is None else time.time() + again)


def next_attempt(attempts: int, first: float) -> float | None:
    """Seconds to wait after so many failed calls before this one; None: no more."""
    return None if attempts + 1 >= ATTEMPTS else min(first * 4**attempts, LONGEST)


def forbidden(address: str) -> bool:
    """Whether an IP address is one that no webhook may reach: link-local, metadata, no single machine."""
    found = ipaddress.ip_address(address.partition("%")[0])
    plain = (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found
    return plain.is_link_local or plain.is_multicast or plain.is_unspecified or str(plain) in METADATA


async def _call(http: httpx.AsyncClient, hook: Webhook, delivery: DeliveryRow) -> str | None:
    """Why the receiver did not take it; None: it did. Raises: Refused."""
    try:
        status = await _post(http, hook, delivery)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return None if 200 <= status < 300 else f"HTTP {status}"


async def _post(http: httpx.AsyncClient, hook: Webhook, delivery: DeliveryRow) -> int:
    """The status that the receiver answers with. Raises: Refused, and what `_call` catches."""
    url = httpx.URL(hook.url)
    body = delivery.body.encode()
    headers = {
        "Host": url.netloc.decode(),
        "Content-Type": "application/json",
        "Orchestrator-Delivery": str(delivery.id),
    }
    if hook.secret:
        headers[HEADER] = sign(body, hook.secret.get_secret_value(), time.time())
    # The address that was checked is the one that is called: a name could be another's the next moment.
    place = url.copy_with(host=await _address(url))
    extensions = {"sni_hostname": url.host} if url.scheme == "https" else {}
    async with http.stream("POST", place, content=body, headers=headers, extensions=extensions) as answer:
        return answer.status_code


async def _address(url: httpx.URL) -> str:
    port = url.port or (443 if url.scheme == "https" else 80)
    infos = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    addresses = [str(info[4][0]) for info in infos]
    if refused := [address for address in addresses if forbidden(address)]:
        raise Refused(f"{url.host} leads to {refused[0]}, which is never called")
    return addresses[0]


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()
