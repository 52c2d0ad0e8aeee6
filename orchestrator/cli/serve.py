"""`serve`, `token`: handed over to processes that have loaded the service, which no other command needs."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from orchestrator.cli.output import print_json, stdout
from orchestrator.settings import Settings

AS_THEY_ARE = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command(context_settings=AS_THEY_ARE)(token)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: `service.host`.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one. Default: `service.port`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as a JSON document.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be served; start nothing.")] = False,
) -> None:
    """Serve the REST API and run the jobs that it gets, until Ctrl-C or SIGTERM; jobs that run then run on.

    Prints the URL once it accepts work; logs go to standard error.
    """
    flags = {"ORCHESTRATOR_SERVICE__HOST": host, "ORCHESTRATOR_SERVICE__PORT": port}
    os.environ.update({name: str(value) for name, value in flags.items() if value is not None})
    settings = Settings.load()  # what is wrong with them is said here
    if dry_run:
        _show(settings, as_json)
    else:
        _become("orchestrator.serve", *(["--json"] if as_json else []))


def token(context: typer.Context) -> None:
    """Who may use the service: `token add NAME --role submit`, `token list`, `token revoke NAME`."""
    _become("orchestrator.cli.tokens", *context.args)


def _become(module: str, *args: str) -> NoReturn:
    """Go on as another program: same process, same signals, same exit."""
    os.execv(sys.executable, [sys.executable, "-m", module, *args])


def _show(settings: Settings, as_json: bool) -> None:
    service = settings.service
    facts = {
        "host": service.host,
        "port": service.port,
        "token": "needed" if service.exposed else "not needed by the user of this machine",
        "home": str(settings.root),
        "executor": service.executor,
        "webhooks": [hook.url for hook in service.webhooks],
    }
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        stdout().print(f"{name:<9} {', '.join(value) or 'none' if isinstance(value, list) else value}", highlight=False)
