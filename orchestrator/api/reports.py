"""Where runners report; not in the schema, and each has a token of its own."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from orchestrator.api.context import Using
from orchestrator.api.problems import HttpError
from orchestrator.api.views import Document
from orchestrator.errors import Unauthorized
from orchestrator.record import Event

router = APIRouter(include_in_schema=False)


class Report(BaseModel):
    """What a runner tells: events that were not acknowledged yet, and the record as it is after them."""

    attempt: int | None = None
    """As in the path."""
    events: list[Event]
    record: dict[str, Any] | None = None


@router.post("/attempts/{job}/{attempt}/reports")
async def report(
    request: Request,
    using: Using,
    job: str,
    attempt: Annotated[int, Path(ge=1, le=2**31)],
    authorization: Annotated[str, Header()] = "",
) -> Response:
    """Take a runner's report; the answer says which event comes next, and whether to go on."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("a report needs the attempt's own token")
    try:
        told = Report.model_validate_json(await request.body())
    except ValidationError as error:
        raise HttpError(422, "bad_request", f"not a report: {error.errors(include_url=False)[:3]}") from None
    answer = await using.service.report(job, attempt, token.strip(), told.events, told.record)
    return Document({"next_seq": answer.next_seq, "order": answer.order})
