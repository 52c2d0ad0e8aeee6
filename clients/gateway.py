"""The gateway: one OpenAI-compatible URL in front of all replicas of a job.

Nothing of a request is parsed that need not be known; bodies pass through byte for byte but for what a named rule
changes.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from clients.answers import CHAT, COMPLETIONS, GENERATE
from clients.connection import Headers
from clients.errors import JournalError, NoReplica
from clients.forward import Attempts, Forwarder
from clients.honesty import Honesty
from clients.inbound import Visit, listening
from clients.journal import Journal
from clients.ledger import Failure, Ledger
from clients.marks import error_body, marked_answer
from clients.pages import metrics_page, models_page, replicas_page
from clients.passing import Answered, AttemptFailed
from clients.pool import Pool
from clients.records import RequestRecords, TimedReply
from clients.request import InferenceRequest, read_request, returned_headers
from clients.rules import Rules

_log = logging.getLogger(__name__)
_JSON: Headers = [(b"content-type", b"application/json")]
# The openai SDK obeys it: the gateway has retried already, attempts must not multiply.
_FINAL = (b"x-should-retry", b"false")
_HELD = 0.001  # seconds; less is no waiting for a replica
_INFERENCE = frozenset({CHAT, COMPLETIONS, GENERATE})

Page = Callable[[], tuple[int, bytes, bytes]]
"""Gives status, content type and body."""


class Gateway:
    """What the evaluator talks to.

    Requests wait while no replica of `pool` is ready, until the pool is closed. `request_timeout` is in
    seconds without a single byte from the engine; `attempts` how often a request is sent at most; `backoff`
    the seconds before the second attempt. Every answer is in the `journal` before it is passed on, and gives a row of
    `records`; `rules` are what is changed on the wire (default: `Rules()`). `/metrics` shows `honesty`, which the
    caller keeps watching.
    """

    def __init__(
        self,
        pool: Pool,
        ledger: Ledger,
        journal: Journal | None,
        *,
        served_model: str,
        request_timeout: float,
        attempts: int = 3,
        backoff: float = 0.25,
        rules: Rules | None = None,
        records: RequestRecords | None = None,
        honesty: Honesty | None = None,
    ) -> None:
        self.pool = pool
        self.ledger = ledger
        self._rules = rules or Rules()
        self._records = records
        self._forwarder = Forwarder(
            pool, ledger, journal, timeout=request_timeout, attempts=attempts, backoff=backoff, rules=self._rules
        )
        created = int(time.time())
        self._pages: dict[str, Page] = {
            "/v1/models": lambda: (200, b"application/json", models_page(served_model, created)),
            "/health": self._health,
            "/replicas": lambda: (200, b"application/json", replicas_page(pool)),
            "/metrics": lambda: (200, b"text/plain; version=0.0.4", metrics_page(ledger, pool, honesty)),
        }

    @asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[str]:
        """Listen for the length of the block, which gets the base URL (without `/v1`).

        On leaving, requests in flight end as failed (`gateway_stopped`) and the connections to the replicas close.
        Raises `OSError` if the port is taken.
        """
        gc.freeze()  # what is there now stays: a full collection over it would stop every request for its length
        try:
            async with listening(self._visited, host, port) as url:
                yield url
        finally:
            gc.unfreeze()
            for replica in self.pool.replicas:
                replica.upstream.close()
            await asyncio.sleep(0)  # the event loop closes the sockets

    async def _visited(self, visit: Visit) -> None:
        if visit.path in _INFERENCE:
            if visit.method == "POST":
                await self._inference(visit)
            else:
                await _refuse(visit, 405, f"{visit.path} takes POST")
        elif page := self._pages.get(visit.path):
            if visit.method in ("GET", "HEAD"):
                status, content_type, body = page()
                await visit.whole(status, [(b"content-type", content_type)], body)
            else:
                await _refuse(visit, 405, f"{visit.path} takes GET")
        else:
            await _refuse(visit, 404, f"no route {visit.path}")

    async def _inference(self, visit: Visit) -> None:
        request = read_request(visit.path, visit.target, visit.headers, visit.body)
        tried = Attempts()
        asked = time.monotonic()
        timed = TimedReply(visit, asked) if self._records else None
        self.ledger.ask()
        try:
            reply = self._rules.reply(timed or visit, request, self.ledger.rules_applied)
            answered = await self._forwarder.forward(request, reply, tried)
        except AttemptFailed as failed:
            refusal = _refusal(failed)
        except NoReplica as error:
            refusal = _Refusal("no_replica", error.message, 503)
        except JournalError as error:
            refusal = _Refusal(error.code, error.message, 503)
        except asyncio.CancelledError:
            refusal = _Refusal(visit.ended or "cancelled", "the request was given up", 503)
        except Exception as error:  # noqa: BLE001 - a defect of ours costs this one request, and is told and counted
            _log.exception("%s failed", visit.path)
            refusal = _Refusal("internal_error", repr(error), 500)
        else:
            if tried.held >= _HELD:
                self.ledger.hold(tried.held)
            self.ledger.answer(time.monotonic() - asked, answered.tokens, replayed=answered.replayed)
            self._record(timed, request, tried, answered=answered)
            return
        failure = self._fail(refusal, request, tried)
        self._record(timed, request, tried, refusal=refusal)
        await _tell(visit, request, failure, refusal)

    def _fail(self, refusal: _Refusal, request: InferenceRequest, tried: Attempts) -> Failure:
        return self.ledger.fail(
            refusal.cause,
            key=request.key,
            path=request.path,
            message=refusal.message,
            replica=tried.replica,
            status=refusal.engine_status,
            attempts=tried.count,
        )

    def _record(
        self,
        timed: TimedReply | None,
        request: InferenceRequest,
        tried: Attempts,
        *,
        answered: Answered | None = None,
        refusal: _Refusal | None = None,
    ) -> None:
        if self._records is None or timed is None:
            return
        self._records.add(
            timed.row(
                request,
                status=refusal.status if refusal else 200,
                cause=refusal.cause if refusal else None,
                replica=tried.replica,
                attempts=tried.count,
                queue_wait=tried.held,
                tokens=answered.tokens if answered else None,
                replayed=answered is not None and answered.replayed,
            )
        )

    def _health(self) -> tuple[int, bytes, bytes]:
        ready = bool(self.pool.ready)
        body = b'{"status":"ok"}' if ready else b'{"status":"no replica is ready"}'
        return (200 if ready else 503), b"application/json", body


@dataclass(frozen=True, slots=True)
class _Refusal:
    """How a request that failed for good is told, to the ledger and to the client."""

    cause: str
    message: str
    status: int
    engine_status: int = 0
    own: tuple[Headers, bytes] | None = None
    """Headers and body of the engine's own error, if it said one as such."""


def _refusal(failed: AttemptFailed) -> _Refusal:
    if failed.status and failed.status != 200:
        own = (returned_headers(failed.headers), failed.body)
        return _Refusal(failed.cause, failed.message, failed.status, failed.status, own)
    status = 504 if failed.cause == "timeout" else 502
    return _Refusal(failed.cause, failed.message or "the engine gave no answer", status, failed.status)


async def _tell(visit: Visit, request: InferenceRequest, failure: Failure, refusal: _Refusal) -> None:
    if visit.started:
        visit.cut()
    elif visit.ended == "client_gone":
        return
    elif request.marked and not request.streaming:
        await visit.whole(200, _JSON, marked_answer(request, failure.id))
    else:
        headers, body = refusal.own or (_JSON, error_body(refusal.message, refusal.cause))
        await visit.whole(refusal.status, [*headers, _FINAL], body)


async def _refuse(visit: Visit, status: int, message: str) -> None:
    await visit.whole(status, _JSON, error_body(message, f"http_{status}", kind="invalid_request_error"))
