"""GPUs and ports that somebody holds. The table's key is the resource: a second lease of it cannot be written."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import cast

from sqlalchemy import Connection, CursorResult, delete, insert, select
from sqlalchemy.exc import IntegrityError

from orchestrator.errors import LeaseTaken
from orchestrator.store.rows import LeaseKind
from orchestrator.store.tables import leases


def held(connection: Connection) -> dict[tuple[LeaseKind, int], str]:
    """`Store.leases`."""
    rows = connection.execute(select(leases.c.kind, leases.c.number, leases.c.holder))
    return {(row.kind, row.number): row.holder for row in rows}


def take(connection: Connection, holder: str, kind: LeaseKind, numbers: Iterable[int], attempt: int) -> None:
    """`Store.lease`."""
    wanted = sorted(set(numbers))
    query = select(leases).where(leases.c.kind == kind, leases.c.number.in_(wanted))
    taken = {row.number: row for row in connection.execute(query)}
    ours = {number for number, row in taken.items() if (row.holder, row.attempt) == (holder, attempt)}
    if others := [f"{kind} {number} is leased by {row.holder}" for number, row in taken.items() if number not in ours]:
        raise LeaseTaken(f"{holder} cannot have what it needs: {', '.join(others)}")
    same = {"kind": kind, "holder": holder, "attempt": attempt, "taken_at": time.time()}
    rows = [{**same, "number": number} for number in wanted if number not in ours]
    if not rows:
        return
    try:
        connection.execute(insert(leases), rows)
    except IntegrityError as error:  # another process wrote in between
        raise LeaseTaken(f"{holder} cannot have {kind} {wanted}: leased a moment ago") from error


def release(
    connection: Connection,
    holder: str,
    kind: LeaseKind | None = None,
    numbers: Iterable[int] | None = None,
    attempt: int | None = None,
) -> int:
    """`Store.release`."""
    query = delete(leases).where(leases.c.holder == holder)
    if kind is not None:
        query = query.where(leases.c.kind == kind)
    if numbers is not None:
        query = query.where(leases.c.number.in_(sorted(set(numbers))))
    if attempt is not None:
        query = query.where(leases.c.attempt == attempt)
    return cast("CursorResult[object]", connection.execute(query)).rowcount
