"""What the gateway tells about itself: models, replicas, metrics."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import orjson

from clients.honesty import Honesty
from clients.ledger import Ledger
from clients.pool import Pool
from clients.replica import Replica


def models_page(served_model: str, created: int) -> bytes:
    """`GET /v1/models`: the one model that is served, by the name the evaluator uses."""
    model = {"id": served_model, "object": "model", "created": created, "owned_by": "orchestrator"}
    return orjson.dumps({"object": "list", "data": [model]})


def replicas_page(pool: Pool) -> bytes:
    """`GET /replicas`: state of each replica; `quiet_seconds` since its last byte, null before the first.

    `limit` is how many requests may be in flight over all of them, null when that is not limited.
    """
    page = {
        "replicas": [_replica(replica) for replica in pool.replicas],
        "requests_held": pool.waiting,
        "in_flight": pool.in_flight,
        "limit": pool.limiter.limit if pool.limiter else None,
    }
    return orjson.dumps(page)


def metrics_page(ledger: Ledger, pool: Pool, honesty: Honesty | None = None) -> bytes:
    """`GET /metrics`: the ledger, the pool and the gateway's own honesty in Prometheus' text format."""
    return ("\n".join([*_metrics(ledger, pool), *_honesty(honesty)]) + "\n").encode()


def _replica(replica: Replica) -> dict[str, object]:
    quiet = asyncio.get_running_loop().time() - replica.last_success
    return {
        "name": replica.name,
        "url": replica.base_url,
        "model": replica.model,
        "state": replica.state,
        "reason": replica.reason,
        "in_flight": replica.in_flight,
        "served": replica.served,
        "breaker": replica.breaker.state,
        "trips": replica.breaker.trips,
        "restarts": replica.restarts,
        "last_error": replica.last_error,
        "quiet_seconds": round(quiet, 3) if math.isfinite(quiet) else None,
    }


def _metrics(ledger: Ledger, pool: Pool) -> Iterator[str]:
    counters = {
        "asked": ledger.asked,
        "answered": ledger.answered,
        "failed": ledger.failed,
        "replayed": ledger.replayed,
        "retried": ledger.retried,
    }
    yield "# TYPE gateway_requests_total counter"
    yield from (f'gateway_requests_total{{event="{event}"}} {count}' for event, count in counters.items())
    yield "# TYPE gateway_failures_total counter"
    yield from (f'gateway_failures_total{{cause="{cause}"}} {n}' for cause, n in ledger.failed_by_cause.items())
    yield "# TYPE gateway_tokens_total counter"
    yield f'gateway_tokens_total{{kind="prompt"}} {ledger.prompt_tokens}'
    yield f'gateway_tokens_total{{kind="completion"}} {ledger.completion_tokens}'
    yield "# TYPE gateway_request_seconds summary"
    yield f"gateway_request_seconds_sum {ledger.latency.total}"
    yield f"gateway_request_seconds_count {ledger.latency.count}"
    yield "# TYPE gateway_in_flight gauge"
    yield f"gateway_in_flight {ledger.in_flight}"
    yield "# TYPE gateway_held gauge"
    yield f"gateway_held {pool.waiting}"
    yield "# TYPE gateway_replica_in_flight gauge"
    for replica in pool.replicas:
        labels = f'replica="{replica.name}",state="{replica.state}"'
        yield f"gateway_replica_in_flight{{{labels}}} {replica.in_flight}"
    yield "# TYPE gateway_replica_breaker_open gauge"
    for replica in pool.replicas:
        yield f'gateway_replica_breaker_open{{replica="{replica.name}"}} {int(replica.breaker.state != "closed")}'
    yield "# TYPE gateway_replica_restarts_total counter"
    for replica in pool.replicas:
        yield f'gateway_replica_restarts_total{{replica="{replica.name}"}} {replica.restarts}'
    if pool.limiter:
        yield "# TYPE gateway_limit gauge"
        yield f"gateway_limit {pool.limiter.limit}"


def _honesty(honesty: Honesty | None) -> Iterator[str]:
    if honesty is None:
        return
    yield "# TYPE gateway_event_loop_lag_seconds gauge"
    yield f'gateway_event_loop_lag_seconds{{quantile="0.5"}} {honesty.lag(0.5)}'
    yield f'gateway_event_loop_lag_seconds{{quantile="0.99"}} {honesty.lag(0.99)}'
    yield "# TYPE gateway_client_limited gauge"
    yield f"gateway_client_limited {int(honesty.client_limited)}"
    yield "# TYPE gateway_cpu gauge"
    yield f"gateway_cpu {honesty.snapshot()['cpu']}"
