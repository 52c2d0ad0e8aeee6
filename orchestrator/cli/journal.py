"""`journal`: what the engine answered, shown, verified and exported."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any

import orjson
import typer
from rich.table import Table
from rich.text import Text

from clients.errors import JournalError
from clients.journal_format import Scan, answer_of, read_records, scan
from clients.spool import FOLDER, SPOOLED, find
from orchestrator.cli.output import Exit, print_json, stdout
from orchestrator.settings import Settings

_FIELDS = ("time", "key", "serving", "status", "content_type", "replica", "body")
Journal = Annotated[str, typer.Argument(metavar="FILE-or-JOB", help="A journal, or the id of a job.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


class Format(StrEnum):
    """Forms of an export."""

    JSONL = "jsonl"
    CSV = "csv"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    journal = typer.Typer(no_args_is_help=True, help="The answers that a job's engine gave.")
    for command in (show, verify, export):
        journal.command()(command)
    app.add_typer(journal, name="journal")


def show(
    journal: Journal,
    limit: Annotated[int, typer.Option(min=1, help="At most so many answers.")] = 20,
    key: Annotated[str, typer.Option(help="Only answers whose key begins so; shown in full length.")] = "",
    as_json: AsJson = False,
) -> None:
    """List answers, in the order in which they were stored."""
    records = islice((one for one in _records(_path(journal)) if one["key"].startswith(key)), limit)
    if as_json:
        print_json(list(records))
        return
    table = Table("time", "status", "replica", "key", "answer", box=None)
    for record in records:
        text = said(record) if key else _short(said(record))
        shown_key = record["key"] if key else record["key"][:12]
        table.add_row(_when(record["time"]), str(record["status"]), record["replica"], shown_key, Text(text))
    stdout().print(table)


def verify(journal: Journal, as_json: AsJson = False) -> None:
    """Count what is there and check every byte; exit code 1 when something is damaged."""
    path = _path(journal)
    found = _scan(path)
    facts = {"file": str(path), "bytes": found.size, "writes": len(found.members), **_counted(path)}
    facts |= {"damaged": found.damaged, "damaged_bytes": found.damaged_bytes, "cut_bytes": found.size - found.good_end}
    if as_json:
        print_json(facts)
    else:
        for name, value in facts.items():
            stdout().print(f"{name.replace('_', ' '):>14}  {value}", highlight=False, markup=False)
    if found.damaged or facts["large_missing"]:
        raise typer.Exit(Exit.FAILED)


def export(
    journal: Journal,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write; - is standard output.")],
    form: Annotated[Format, typer.Option("--format", help="One JSON object a line, or a table.")] = Format.JSONL,
) -> None:
    """Write every good answer to a file."""
    records = _records(_path(journal))
    with _opened(out) as file:
        if form is Format.JSONL:
            for record in records:
                file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE).decode())
            return
        table = csv.writer(file)
        table.writerow(_FIELDS)
        for record in records:
            body = answer_of(record).body.decode(errors="replace")
            table.writerow([*(record[name] for name in _FIELDS[:-1]), body])


def said(record: dict[str, Any]) -> str:
    """The text of an answer, whole or streamed; its body where no text is found."""
    body = answer_of(record).body
    lines = body.splitlines() if record["content_type"].startswith("text/event-stream") else [b"data:" + body]
    events = [line[5:].strip() for line in lines if line.startswith(b"data:")]
    try:
        return "".join(_texts(orjson.loads(event)) for event in events if event != b"[DONE]")
    except (ValueError, TypeError, AttributeError):
        return body.decode(errors="replace")


def _texts(answer: dict[str, Any]) -> str:
    generated = answer.get("generated_text")
    if generated is not None:
        return " ⏐ ".join(generated) if isinstance(generated, list) else str(generated)
    parts = [choice.get("message") or choice.get("delta") or choice for choice in answer["choices"]]
    return " ⏐ ".join(str(part.get("content") or part.get("text") or "") for part in parts)


def _path(journal: str) -> Path:
    given = Path(journal)
    for path in (given, given / "journal", Settings.load().jobs / journal / "journal"):
        if path.is_file():
            return path
    raise JournalError(f"no journal {journal!r}", hint="give its file, or the id of a job: the name of its folder")


def _scan(path: Path) -> Scan:
    try:
        with path.open("rb") as file:
            found = scan(file.fileno())
    except OSError as error:
        raise JournalError(f"the journal {path} cannot be read: {error}") from error
    if found.size and not found.members:
        raise JournalError(f"{path} holds no answers: no journal, or one whose first write never ended")
    return found


def _records(path: Path) -> Iterator[dict[str, Any]]:
    _scan(path)
    return read_records(path)


def _counted(path: Path) -> dict[str, Any]:
    keys: set[str] = set()
    servings: Counter[str] = Counter()
    large = missing = body_bytes = 0
    for record in read_records(path):
        keys.add(record["key"])
        servings[record["serving"]] += 1
        body = answer_of(record).body
        body_bytes += len(body)
        if record["content_type"] == SPOOLED:
            large += 1
            missing += asyncio.run(find(path.parent / FOLDER, body)) is None
    return {
        "answers": servings.total(),
        "requests": len(keys),
        "servings": dict(servings),
        "body_bytes": body_bytes,
        "large": large,
        "large_missing": missing,
    }


@contextlib.contextmanager
def _opened(out: Path) -> Iterator[IO[str]]:
    if str(out) == "-":
        yield sys.stdout
        return
    scratch = out.with_name(f".{out.name}.part")
    with scratch.open("w", newline="", encoding="utf-8") as file:
        yield file
    scratch.replace(out)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 80 else f"{flat[:79]}…"
