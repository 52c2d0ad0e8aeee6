"""`compare`: one evaluation over several served models, and whether the differences are real."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.markup import escape

from orchestrator.cli.compare_view import Lines, summary
from orchestrator.cli.interrupting import run_interruptible
from orchestrator.cli.one_click import Allow, Asked, Limit, Only, Serve, asked_of, is_config, refuse_for_specs
from orchestrator.cli.one_click_compare import Accelerators, engines_of, plan_of_config
from orchestrator.cli.output import Exit, print_json, stderr, stdout
from orchestrator.cli.tables import plan_text
from orchestrator.comparing.folder import ComparisonFolder
from orchestrator.comparing.gate import Gate
from orchestrator.comparing.gathering import Wishes, gather, wished
from orchestrator.comparing.local import LocalJobs
from orchestrator.comparing.model import Comparison, Mode
from orchestrator.comparing.plan import Plan
from orchestrator.comparing.running import conduct, resumed
from orchestrator.errors import BadSpec, FieldError
from orchestrator.plan import plan_job
from orchestrator.reaping import reap
from orchestrator.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(
    things: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SPEC|JOB",
            help="One comparison spec, or one OpenCompass config with engines (-a); or job specs, which are run, and "
            "finished jobs by id or folder, which are not.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="The variant to compare with. Default: the first.")] = None,
    gate: Annotated[
        str | None, typer.Option(help="Policy, e.g. max_drop=1.0,min_coverage=0.99,confidence=0.95")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="in_turn (default) or side_by_side.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    resume: Annotated[
        str | None, typer.Option(help="Go on with this earlier comparison; what it answered is reused.")
    ] = None,
    accelerator: Accelerators = None,
    limit: Limit = None,
    only: Only = None,
    allow: Allow = None,
    serve: Serve = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done; start nothing.")] = False,
) -> None:
    """Evaluate several served models alike and tell which differences are real.

    Exit codes: 0 GO, or done without a gate; 1 NO-GO; 2 bad spec; 3 INCONCLUSIVE or a job did not succeed;
    4 cancelled, 130 interrupted.
    """
    settings = Settings.load()
    asked = asked_of(engines_of(accelerator), limit, only, allow, serve)
    wishes = Wishes(baseline, _gate(gate), _mode(mode), name)
    plan, earlier = _planned(things or [], wishes, resume, settings, asked)
    if dry_run:
        _show(plan, settings, as_json)
    folder = earlier or ComparisonFolder.create(settings.root, plan)
    reap(settings)
    console = stderr()
    console.print(f"comparison {folder.id}: {escape(plan.name)}; baseline {escape(plan.baseline)}")
    jobs = LocalJobs(settings, lambda name: Lines(console, name), {"comparison": folder.id})
    interrupted, found = run_interruptible(lambda: conduct(plan, folder, jobs), jobs.interrupt)
    if as_json:
        print_json(found)
    else:
        stdout().print(summary(found, folder.path, stdout().width))
    raise SystemExit(_exit_code(found, interrupted))


def _planned(
    things: list[str], wishes: Wishes, resume: str | None, settings: Settings, asked: Asked
) -> tuple[Plan, ComparisonFolder | None]:
    """The plan, and the folder that has it already."""
    if any(map(is_config, things)) and resume is None:
        return plan_of_config(things, asked, wishes, settings), None
    refuse_for_specs(asked, "compare")
    if resume is None:
        return gather(things, wishes, settings), None
    if things:
        raise _bad("resume", "goes on with all that the earlier comparison names; give nothing else to compare")
    earlier = ComparisonFolder.find(settings.root, resume)
    return wished(resumed(earlier.plan(), earlier.read()), wishes, settings), earlier


def _gate(text: str | None) -> Gate | None:
    """`max_drop=1.0,min_coverage=0.99` as a gate. Raises: BadSpec naming the key."""
    if text is None:
        return None
    values: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, number = part.partition("=")
        try:
            values[key.strip()] = float(number)
        except ValueError:
            raise _bad(f"gate.{key.strip()}", f"must be a number, got {number!r}") from None
    try:
        return Gate(**values)
    except ValidationError as invalid:
        errors = [
            FieldError(f"gate.{'.'.join(map(str, detail['loc']))}", f"{detail['msg']}; the keys are {_keys()}")
            for detail in invalid.errors()
        ]
        raise BadSpec(errors, source="the command line") from invalid


def _mode(text: str | None) -> Mode | None:
    match text:
        case None | "in_turn" | "side_by_side":
            return text
        case _:
            raise _bad("mode", f"must be in_turn or side_by_side, got {text!r}")


def _show(plan: Plan, settings: Settings, as_json: bool) -> NoReturn:
    plans = {name: plan_job(job.spec, Path(job.base), settings) for name, job in plan.jobs.items()}
    if as_json:
        print_json({"plan": plan.model_dump(mode="json"), "jobs": plans})
        raise SystemExit(Exit.SUCCEEDED)
    for name in plan.order:
        role = " (baseline)" if name == plan.baseline else ""
        stdout().print(f"\n== {name}{role}", highlight=False, markup=False)
        text = plan_text(plans[name]) if name in plans else f"nothing is run: {plan.finished[name]}"
        stdout().print(text, highlight=False, markup=False)
    raise SystemExit(Exit.SUCCEEDED)


def _exit_code(found: Comparison, interrupted: bool) -> Exit:
    if found.state == "cancelled":
        return Exit.INTERRUPTED if interrupted else Exit.CANCELLED
    if found.verdict:
        return {"GO": Exit.SUCCEEDED, "NO-GO": Exit.FAILED, "INCONCLUSIVE": Exit.INCOMPLETE}[found.verdict]
    return Exit.SUCCEEDED if found.state == "succeeded" else Exit.INCOMPLETE


def _keys() -> str:
    return ", ".join(Gate.model_fields)


def _bad(path: str, message: str) -> BadSpec:
    return BadSpec([FieldError(path, message)], source="the command line")
