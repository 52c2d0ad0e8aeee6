"""From files to a comparison that can run: every error of every variant at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launchers.errors import SpecRefused
from launchers.gpus import discover
from launchers.registry import get_engine
from orchestrator.comparing.plan import PlannedJob, asked, differing
from orchestrator.comparing.spec import ComparisonSpec, Served, by_name, jobs_of
from orchestrator.errors import BadSpec, FieldError
from orchestrator.intake import located, located_compress
from orchestrator.settings import Settings
from orchestrator.spec.checks import check_job, require_data
from orchestrator.spec.loading import parse_as
from orchestrator.spec.models import JobSpec


def is_comparison(document: object) -> bool:
    """Whether a spec file names several served models."""
    if not isinstance(document, dict):
        return False
    serve = document.get("serve")
    if not isinstance(serve, dict):
        return isinstance(serve, list)
    return bool(serve) and "engine" not in serve and all(isinstance(one, dict) for one in serve.values())


def read_comparison(document: object, base: Path, settings: Settings, *, source: str) -> ComparisonSpec:
    """The spec in a document; relative paths start from `base`.

    Raises: BadSpec with every error, of form and of substance; DatasetMissing when nothing but data is lacking.
    """
    spec, form = parse_as(ComparisonSpec, _named(document, source), source=source)
    spec = spec.model_copy(update={"serve": {name: _located(one, base) for name, one in spec.serve.items()}})
    wrong = {error.path for error in form}
    # What could not be read was left out, so what is said about it here would mislead.
    substance = [error for error in check_comparison(spec, base, settings) if error.path not in wrong]
    if form or substance:
        raise BadSpec([*form, *substance], source=source)
    for job in jobs_of(spec).values():
        require_data(job, base, settings)
    return spec


def check_comparison(spec: ComparisonSpec, base: Path, settings: Settings) -> list[FieldError]:
    """Every error that the form does not show; what is wrong with all variants is told once."""
    found = [
        FieldError(_path(error.path, name), error.message)
        for name, job in jobs_of(spec).items()
        for error in check_job(job, base, settings)
    ]
    if spec.mode == "side_by_side":
        found.extend(check_side_by_side(jobs_of(spec), settings))
    return list(dict.fromkeys(found))


def check_side_by_side(jobs: dict[str, JobSpec], settings: Settings) -> Iterator[FieldError]:
    """What jobs cannot share when they run at once: ports and GPUs."""
    ports = Counter(port for job in jobs.values() for port in (job.serve.port, job.serve.nccl_port) if port)
    for port, times in ports.items():
        if times > 1:
            yield FieldError("mode", f"port {port} is named {times} times, so they cannot run side by side")
    have = len(discover(settings.gpus).gpus)
    needed = {name: _gpus(job, have) for name, job in jobs.items()}
    if sum(needed.values()) > have:
        told = ", ".join(f"{name} {count}" for name, count in needed.items())
        yield FieldError("mode", f"side by side they need {sum(needed.values())} GPUs ({told}), there are {have}")


@dataclass(frozen=True, slots=True)
class Given:
    """One job spec file of a comparison."""

    name: str
    job: PlannedJob
    source: str


def check_same_questions(given: Sequence[Given]) -> None:
    """Raises: BadSpec when one of the files asks other questions than the first, with the paths that differ."""
    errors = []
    for one in given[1:]:
        paths = differing(asked(given[0].job.spec.evaluate), asked(one.job.spec.evaluate))
        where = f"is not that of {given[0].source}; engines compare on the same questions only"
        errors += [FieldError(f"{one.source}: {path}", where) for path in paths]
    if errors:
        raise BadSpec(errors, source="the comparison")


def _named(document: object, source: str) -> object:
    """With a list of variants as a mapping, so that the paths of errors are the names."""
    if not isinstance(document, dict):
        return document
    try:
        return {**document, "serve": by_name(document.get("serve"))} if "serve" in document else document
    except ValueError as twice:
        raise BadSpec([FieldError("serve", str(twice))], source=source) from twice


def _located(served: Served, base: Path) -> Served:
    changes: dict[str, Any] = {"model": located(served, base).model} if served.model else {}
    if served.compress:
        changes["compress"] = located_compress(served.compress, base)
    return served.model_copy(update=changes)


def _path(path: str, name: str) -> str:
    """Where in the comparison the part of a job is that the error is about."""
    head, _, rest = path.partition(".")
    if head == "serve":
        return f"serve.{name}.{rest}"
    return f"serve.{name}.{path}" if head == "compress" else path


def _gpus(job: JobSpec, available: int) -> int:
    try:
        return get_engine(job.serve.engine).gpus_needed(job.serve, available)
    except SpecRefused:
        return 0  # told at its engine
