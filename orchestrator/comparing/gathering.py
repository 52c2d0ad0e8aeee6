"""What somebody wants compared, by whatever they have: a comparison spec, job specs, finished jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from orchestrator.comparing.gate import Gate
from orchestrator.comparing.intake import (
    Given,
    check_same_questions,
    check_side_by_side,
    is_comparison,
    read_comparison,
)
from orchestrator.comparing.model import Mode
from orchestrator.comparing.plan import Plan, PlannedJob, plan_of
from orchestrator.errors import BadSpec, FieldError
from orchestrator.intake import read_job
from orchestrator.job_folder import JobFolder
from orchestrator.settings import Settings
from orchestrator.spec.loading import load_document


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is said beside the things to compare; None: as the comparison spec says, or the default."""

    baseline: str | None = None
    """Name of a variant, or one of the things as it was given."""
    gate: Gate | None = None
    mode: Mode | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class _Thing:
    """One variant that is not of a comparison spec."""

    given: str
    name: str
    unique: str
    """What it is called when another has the same name."""
    job: PlannedJob | None = None
    folder: Path | None = None


def gather(things: Sequence[str], wishes: Wishes, settings: Settings) -> Plan:
    """One comparison spec, or at least two job specs (run) and finished jobs (not run), by file, folder or id.

    The baseline is the first unless `wishes` or the spec name it.
    Raises: BadSpec with every error; DatasetMissing.
    """
    if len(things) == 1 and (plan := _of_comparison(Path(things[0]), settings)):
        return wished(plan, wishes, settings)
    found = [_thing(given, settings) for given in things]
    if len(found) < 2:
        raise _bad("a comparison needs at least two job specs or finished jobs, or one comparison spec")
    check_same_questions([Given(one.name, one.job, one.given) for one in found if one.job])
    names = _names(found)
    plan = Plan(
        name=" and ".join(names),
        baseline=names[0],
        order=names,
        jobs={name: one.job for name, one in zip(names, found, strict=True) if one.job},
        finished={name: str(one.folder) for name, one in zip(names, found, strict=True) if one.folder},
    )
    return wished(plan, wishes, settings, {one.given: name for name, one in zip(names, found, strict=True)})


def wished(plan: Plan, wishes: Wishes, settings: Settings, aliases: Mapping[str, str] = MappingProxyType({})) -> Plan:
    """The plan as it is wished; `aliases`: names of variants by what else may name them as the baseline.

    Raises: BadSpec for a baseline that there is not, and for what cannot run side by side.
    """
    baseline = aliases.get(wishes.baseline, wishes.baseline) if wishes.baseline else plan.baseline
    if baseline not in plan.order:
        raise _bad(f"baseline `{wishes.baseline}` is none of {', '.join(plan.order)}", "baseline")
    given = {"gate": wishes.gate, "mode": wishes.mode, "name": wishes.name}
    changes = {key: value for key, value in given.items() if value is not None}
    chosen = plan.model_copy(update={"baseline": baseline, **changes})
    if chosen.mode == "side_by_side":
        errors = list(check_side_by_side({name: job.spec for name, job in chosen.jobs.items()}, settings))
        if errors:
            raise BadSpec(errors, source="the comparison")
    return chosen


def _of_comparison(path: Path, settings: Settings) -> Plan | None:
    if not path.is_file():
        return None
    document = load_document(path)
    if not is_comparison(document):
        return None
    base = path.resolve().parent
    return plan_of(read_comparison(document, base, settings, source=str(path)), base)


def _thing(given: str, settings: Settings) -> _Thing:
    for folder in (Path(given), settings.jobs / given):
        if (folder / "job.json").is_file():
            return _finished(given, folder.resolve())
    path = Path(given)
    if not path.is_file():
        raise _bad(f"{given} is neither a spec file nor a job's id or folder")
    if is_comparison(load_document(path)):
        raise _bad(f"{given} is a comparison by itself: give it alone")
    spec, base = read_job(path, settings)
    return _Thing(given, spec.name or path.stem, path.stem, job=PlannedJob(spec=spec, base=str(base)))


def _finished(given: str, folder: Path) -> _Thing:
    record = JobFolder(folder).read()
    if not record.state.terminal:
        raise _bad(f"job {record.id} is {record.state}: compare it when it is over")
    name = record.labels.get("variant") or record.spec.get("serve", {}).get("engine") or record.id
    return _Thing(given, name, record.id, folder=folder)


def _names(found: Sequence[_Thing]) -> list[str]:
    names = Counter(one.name for one in found)
    chosen = [one.name if names[one.name] == 1 else one.unique for one in found]
    again = Counter(chosen)
    return [name if again[name] == 1 else f"{name}-{place}" for place, name in enumerate(chosen, 1)]


def _bad(message: str, path: str = "") -> BadSpec:
    return BadSpec([FieldError(path, message)], source="the comparison")
