"""`token add|list|revoke`: who may use the service; a program of its own, for the store that it loads."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from orchestrator.cli.output import exit_code_of, print_error, print_json, stderr, stdout
from orchestrator.errors import Conflict, NotFound, OrchestratorError
from orchestrator.settings import Settings
from orchestrator.store.rows import Role, TokenRow
from orchestrator.store.store import Store

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done; change nothing.")]
Name = Annotated[str, typer.Argument(help="Name of the token; it stands in the audit log.", show_default=False)]

app = typer.Typer(
    name="orchestrator token",
    help="Tokens of the service: who may read, submit, administer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.command()
def add(
    name: Name,
    role: Annotated[Role, typer.Option(help="`read`: every GET; `submit`: jobs too; `admin`: those of others too.")],
    rate: Annotated[
        int | None, typer.Option(min=1, help="Requests per minute. Default: `service.rate_per_minute`.")
    ] = None,
    max_queued: Annotated[
        int | None, typer.Option(min=1, help="Jobs in the queue at a time. Default: `service.max_queued`.")
    ] = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Make a token and print it, this one time: only its hash is kept. A running service knows it at once."""
    with _store() as store:
        if dry_run:
            _require_fresh(store, name)
            stdout().print(f"would add token {name} with the role {role}")
            return
        row, secret = store.tokens.add(name, role, rate_per_minute=rate, max_queued=max_queued)
    if as_json:
        print_json({**_shown(row), "token": secret})
        return
    stdout().print(secret, highlight=False, soft_wrap=True)
    stderr().print(f"token {name}, role {role}: keep it, it cannot be shown again; clients send ORCHESTRATOR_TOKEN")


@app.command("list")
def list_tokens(as_json: AsJson = False) -> None:
    """List the tokens, revoked ones too."""
    with _store() as store:
        rows = [_shown(row) for row in store.tokens.all()]
    if as_json:
        print_json(rows)
        return
    table = Table("name", "role", "created", "last used", "state")
    for row in rows:
        used = row["last_used_at"] or "never"
        table.add_row(row["name"], row["role"], row["created_at"], used, "revoked" if row["revoked_at"] else "valid")
    stdout().print(table)


@app.command()
def revoke(name: Name, as_json: AsJson = False, dry_run: DryRun = False) -> None:
    """Have a token open nothing any more, at once."""
    with _store() as store:
        row = _find(store, name) if dry_run else store.tokens.revoke(name)
    if as_json:
        print_json(_shown(row))
    else:
        stdout().print(f"{'would revoke' if dry_run else 'revoked'} token {name}")


@contextlib.contextmanager
def _store() -> Iterator[Store]:
    settings = Settings.load()
    settings.root.mkdir(parents=True, exist_ok=True)
    store = Store.open(settings.store_url)
    try:
        yield store
    finally:
        store.close()


def _find(store: Store, name: str) -> TokenRow:
    for row in store.tokens.all():
        if row.name == name:
            return row
    raise NotFound(f"no token {name!r}", hint="orchestrator token list")


def _require_fresh(store: Store, name: str) -> None:
    if any(row.name == name for row in store.tokens.all()):
        raise Conflict(f"there is or was a token named {name!r}", hint="take another name")


def _shown(row: TokenRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "role": row.role.value,
        "created_at": _when(row.created_at),
        "last_used_at": _when(row.last_used_at),
        "revoked_at": _when(row.revoked_at),
        "rate_per_minute": row.rate_per_minute,
        "max_queued": row.max_queued,
    }


def _when(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def main() -> None:
    """Run one command and exit with its code."""
    try:
        app(prog_name="orchestrator token")
    except OrchestratorError as error:
        print_error(error, as_json="--json" in sys.argv)
        sys.exit(exit_code_of(error))


if __name__ == "__main__":
    main()
