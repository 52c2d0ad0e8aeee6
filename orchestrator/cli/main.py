"""The commands, put together; errors of ours become messages and exit codes here and nowhere else."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from clients.errors import ClientError
from launchers.errors import LaunchError
from orchestrator.cli import (
    bench,
    chat,
    compare,
    datasets,
    engines,
    environments,
    jobs,
    journal,
    probing,
    remote,
    report,
    serve,
    serving,
    top,
    watch_folder,
)
from orchestrator.cli.output import Exit, exit_code_of, print_error
from orchestrator.errors import OrchestratorError

app = typer.Typer(
    name="orchestrator",
    help="Serve a language model in the engine that will run it, evaluate it there, and trust the numbers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
jobs.register(app)
bench.register(app)
compare.register(app)
serving.register(app)
probing.register(app)
top.register(app)
serve.register(app)
remote.register(app)
report.register(app)
watch_folder.register(app)
chat.register(app)
environments.register(app)
engines.register(app)
datasets.register(app)
journal.register(app)


def main() -> NoReturn:
    """Run one command and exit with its code."""
    try:
        app()
    except (LaunchError, ClientError, OrchestratorError) as error:
        print_error(error, as_json="--json" in sys.argv)
        sys.exit(exit_code_of(error))
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    sys.exit(Exit.SUCCEEDED)
