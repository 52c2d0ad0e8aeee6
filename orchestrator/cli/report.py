"""`report`: what a finished job or comparison found, for people and for other tools."""

from __future__ import annotations

import contextlib
import json
import sys
import webbrowser
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.output import stderr
from orchestrator.comparing.folder import ComparisonFolder
from orchestrator.errors import BadSpec, FieldError
from orchestrator.job_folder import replace_text
from orchestrator.reporting.comparison import comparison_csv, comparison_page, read_flips
from orchestrator.reporting.document import results_document
from orchestrator.reporting.job import FinishedJob, commands_of, read_job
from orchestrator.reporting.markdown import markdown
from orchestrator.reporting.page import job_page
from orchestrator.reporting.tables import results_csv, write_samples_parquet
from orchestrator.reporting.to_mlflow import to_mlflow
from orchestrator.reporting.to_wandb import to_wandb
from orchestrator.settings import Settings


class Format(StrEnum):
    """Forms of a report."""

    HTML = "html"
    MD = "md"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    MLFLOW = "mlflow"
    WANDB = "wandb"


@dataclass(frozen=True, slots=True)
class _Wish:
    form: Format
    out: Path | None
    to: str | None
    experiment: str
    show: bool
    dry_run: bool


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id or folder of a job or comparison.", show_default=False)],
    form: Annotated[Format, typer.Option("--format", help="What to make of it.")] = Format.HTML,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. Default: html, parquet: in RUN's folder; md, json, csv: standard output."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    to: Annotated[str | None, typer.Option(help="mlflow: tracking URI. Default: MLFLOW_TRACKING_URI.")] = None,
    experiment: Annotated[str, typer.Option(help="mlflow: experiment; wandb: project.")] = "orchestrator",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made; make nothing.")] = False,
) -> None:
    """Make a report of a finished job or comparison: page, table, document, or a run of an experiment tracker."""
    settings = Settings.load()
    wish = _Wish(form, out, to, experiment, show, dry_run)
    if show and form is not Format.HTML:
        raise _bad("open", f"opens pages; `--format {form.value}` makes none")
    if (folder := _job_folder(run, settings)) is not None:
        _job(read_job(folder), wish)
    else:
        _comparison(_comparison_folder(run, settings), wish)


def _job(job: FinishedJob, wish: _Wish) -> None:
    folder, record = job.folder.path, job.record
    match wish.form:
        case Format.HTML:
            text = job_page(record, job.samples, job.traffic, commands_of(job.folder, record))
            _page(text, wish.out or folder / "report.html", wish)
        case Format.MD:
            _told(markdown(record, job.samples), wish)
        case Format.JSON:
            _told(json.dumps(results_document(job), indent=2) + "\n", wish)
        case Format.CSV:
            _told(results_csv(record), wish)
        case Format.PARQUET:
            _parquet(job, wish.out or folder / "samples.parquet", wish)
        case Format.MLFLOW | Format.WANDB:
            _tracked(job, wish)


def _comparison(folder: ComparisonFolder, wish: _Wish) -> None:
    comparison = folder.read()
    if comparison is None:
        raise _bad("run", f"comparison {folder.id} has found nothing yet")
    match wish.form:
        case Format.HTML:
            text = comparison_page(comparison, read_flips(folder.path / "flips.jsonl"))
            _page(text, wish.out or folder.path / "comparison.html", wish)
        case Format.MD:
            _told((folder.path / "comparison.md").read_text(), wish)
        case Format.JSON:
            _told(comparison.model_dump_json(indent=2) + "\n", wish)
        case Format.CSV:
            _told(comparison_csv(comparison), wish)
        case _:
            jobs = ", ".join(variant.job for variant in comparison.variants if variant.job)
            raise _bad("format", f"`{wish.form.value}` is made of one job; those of this comparison: {jobs}")


def _page(text: str, path: Path, wish: _Wish) -> None:
    _written(text, path, wish)
    if wish.show and not wish.dry_run:
        webbrowser.open(path.resolve().as_uri())


def _written(text: str, path: Path, wish: _Wish) -> None:
    if not wish.dry_run:
        replace_text(path, text)
    _say(path, wish)


def _told(text: str, wish: _Wish) -> None:
    if wish.out:
        _written(text, wish.out, wish)
    else:
        sys.stdout.write(text)
        sys.stdout.flush()


def _parquet(job: FinishedJob, path: Path, wish: _Wish) -> None:
    if not wish.dry_run:
        write_samples_parquet(job.samples, job.record, path)
    _say(path, wish)


def _tracked(job: FinishedJob, wish: _Wish) -> None:
    if wish.dry_run:
        stderr().print(f"would log job {job.record.id} to {wish.form.value}, experiment {wish.experiment}")
        return
    with contextlib.redirect_stdout(sys.stderr):  # both clients print what they please
        if wish.form is Format.MLFLOW:
            made = to_mlflow(job, uri=wish.to, experiment=wish.experiment)
        else:
            made = to_wandb(job, project=wish.experiment, folder=wish.out or job.folder.path)
    sys.stdout.write(f"{made}\n")


def _say(path: Path, wish: _Wish) -> None:
    """Where it is, alone on a line of standard output, for scripts."""
    if wish.dry_run:
        stderr().print(f"would write {path}")
    else:
        sys.stdout.write(f"{path}\n")


def _job_folder(run: str, settings: Settings) -> Path | None:
    places = (Path(run), settings.jobs / run)
    return next((place.resolve() for place in places if (place / "job.json").is_file()), None)


def _comparison_folder(run: str, settings: Settings) -> ComparisonFolder:
    try:
        return ComparisonFolder.find(settings.root, run)
    except BadSpec:
        last = sorted(path.parent.name for path in settings.jobs.glob("*/job.json"))[-5:]
        raise _bad("run", f"no job and no comparison `{run}`; the last jobs: {', '.join(last) or 'none'}") from None


def _bad(path: str, message: str) -> BadSpec:
    return BadSpec([FieldError(path, message)], source="the command line")
