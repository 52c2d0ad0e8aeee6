"""From a file to a job that can run: every error of it at once, relative paths made absolute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clients.spec import ProbeSpec
from launchers.compress.spec import CompressSpec
from launchers.spec import ServeSpec
from orchestrator.errors import BadSpec, FieldError
from orchestrator.job_folder import JobFolder
from orchestrator.record import JobRecord, now
from orchestrator.settings import Settings
from orchestrator.spec.checks import check_alone, check_job, check_serve, require_data
from orchestrator.spec.loading import load_spec, parse_serve
from orchestrator.spec.models import JobSpec


def read_job(path: Path, settings: Settings) -> tuple[JobSpec, Path]:
    """The spec in `path` and the folder that its relative paths start from.

    Raises: BadSpec with every error, of form and of substance; DatasetMissing when nothing but data is lacking.
    """
    spec, errors = load_spec(path)
    base = path.resolve().parent
    compress = located_compress(spec.compress, base) if spec.compress else None
    spec = spec.model_copy(update={"serve": located(spec.serve, base), "compress": compress})
    _raise_all(errors, [*check_job(spec, base, settings), *check_alone(spec)], source=str(path))
    require_data(spec, base, settings)
    return spec, base


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `up` serves."""

    serve: ServeSpec
    probe: ProbeSpec
    compress: CompressSpec | None


def read_serve(values: Mapping[str, object], spec_file: Path | None, settings: Settings) -> Wanted:
    """The `serve` part from flags over the one in `spec_file`, how to probe it, what to make of the model first.

    Raises: BadSpec with every error.
    """
    if spec_file is None:
        serve, errors = parse_serve(values, source="the command line")
        probe, compress, base = ProbeSpec(), None, Path.cwd()
    else:
        job, errors = load_spec(spec_file)
        given = job.serve.model_dump(exclude_unset=True)
        serve, more = parse_serve({**given, **values}, source=str(spec_file))
        errors, probe, base = [*errors, *more], job.probe, spec_file.resolve().parent
        compress = located_compress(job.compress, base) if job.compress else None
    serve = located(serve, base)
    _raise_all(errors, check_serve(serve, settings, compress), source=str(spec_file or "the command line"))
    return Wanted(serve, probe, compress)


def new_job(spec: JobSpec, settings: Settings, *, resume: str | None = None) -> tuple[JobFolder, JobRecord]:
    """A folder and a record in state `queued` for a job that is about to run.

    `resume` names an earlier job: what its engine answered is answered from its journal, as far as the same model is
    served in the same way.
    Raises: BadSpec when there is no such job.
    """
    earlier = _with_answers(resume, settings) if resume else None
    folder = JobFolder.create(settings.jobs)
    if earlier:
        folder.carry_answers(earlier)
    record = JobRecord(
        id=folder.id,
        name=spec.name or default_name(spec),
        spec=spec.model_dump(mode="json", exclude_unset=True),
        labels=spec.labels,
        notes=list(spec.notes),
        created_at=now(),
        resumed_from=resume,
        folder=str(folder.path),
    )
    folder.write(record)
    return folder, record


def located(serve: ServeSpec, base: Path) -> ServeSpec:
    """Paths of the spec made absolute: looked up from the spec's folder, then from the current one."""
    return serve.model_copy(update={"model": _found(serve.model, base)}) if serve.model else serve


def located_compress(compress: CompressSpec, base: Path) -> CompressSpec:
    """As `located`, for the files that a compression reads."""
    changes: dict[str, object] = {"config": _found(compress.config, base)} if compress.config else {}
    if (texts := compress.calibration) and texts.path:
        changes["calibration"] = texts.model_copy(update={"path": _found(texts.path, base)})
    return compress.model_copy(update=changes)


def _found(written: str, base: Path) -> str:
    """The absolute path of what is there, else the text as it stands."""
    path = Path(written).expanduser()
    places = (base / path, Path.cwd() / path)
    return next((str(place.resolve()) for place in places if place.exists()), written)


def _with_answers(job: str, settings: Settings) -> JobFolder:
    folder = JobFolder(settings.jobs / job)
    if not folder.journal.is_file():
        known = ", ".join(sorted(path.parent.name for path in settings.jobs.glob("*/journal"))[-5:]) or "none"
        message = f"no job `{job}` with answers to reuse; the last ones: {known}"
        raise BadSpec([FieldError("resume", message)], source="the command line")
    return folder


def _raise_all(form: list[FieldError], substance: list[FieldError], *, source: str) -> None:
    wrong = {error.path for error in form}
    # What could not be read was left out, so what is said about it here would mislead.
    kept = [error for error in substance if not any(_same(error.path, path) for path in wrong)]
    if form or kept:
        raise BadSpec([*form, *kept], source=source)


def _same(path: str, wrong: str) -> bool:
    return path == wrong or path.startswith(f"{wrong}.") or wrong.startswith(f"{path}.")


def default_name(spec: JobSpec) -> str:
    """What a job is called that has no name."""
    evaluators = "+".join(dict.fromkeys(evaluate.evaluator for evaluate in spec.evaluate))
    return f"{evaluators} of {spec.serve.served_name} on {spec.serve.engine}"
