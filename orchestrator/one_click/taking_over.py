"""From the entries of a config's `models` to jobs on other engines, with every error of all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import BadSpec, FieldError
from orchestrator.intake import located
from orchestrator.one_click.document import document
from orchestrator.one_click.found import Found, find
from orchestrator.one_click.items import Change, Item, Note, Set
from orchestrator.one_click.kinds import class_of, kind_of, why_not
from orchestrator.one_click.reading import WholeConfig
from orchestrator.settings import Settings
from orchestrator.spec.checks import check_job
from orchestrator.spec.loading import nearest, parse_spec
from orchestrator.spec.models import JobSpec


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says beside the config."""

    engines: Sequence[str]
    """Each model becomes a job on each of them."""
    limit: int | None = None
    """First samples of each data set."""
    only: Sequence[str] = ()
    """Names of the models to take. Default: all."""
    allow: frozenset[str] = frozenset()
    """Keys of changes that are accepted."""
    serve: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By engine: fields of `serve` that win over what the config comes to."""


@dataclass(frozen=True, slots=True)
class OneClickJob:
    """One model of the config as a job on one engine."""

    abbr: str
    spec: JobSpec
    """Its `notes`: what was not carried over, or in another way."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A model that is left out."""

    abbr: str
    reason: str


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A whole config."""

    jobs: tuple[OneClickJob, ...]
    skipped: tuple[Skipped, ...]


def take_over(config: WholeConfig, wishes: Wishes, settings: Settings) -> TakenOver:
    """A job per Hugging Face model and engine, in the order of the config.

    Raises: BadSpec with every error: what changes answers and is not allowed, what an engine cannot do, no model left.
    """
    chosen = _chosen(config, wishes)
    skipped = [Skipped(abbr, why_not(class_of(model), config.package)) for abbr, model in chosen if not kind_of(model)]
    taken = [(abbr, model, kind) for abbr, model in chosen if (kind := kind_of(model))]
    if not taken:
        raise BadSpec([FieldError(f"models.{one.abbr}", one.reason) for one in skipped], source=str(config.file))
    if len(taken) > 1 and any("model" in fields for fields in wishes.serve.values()):
        message = f"is for one model, and the config has {len(taken)}: {', '.join(abbr for abbr, _, _ in taken)}"
        raise BadSpec([FieldError("serve.model", message)], source="the command line")
    found = [
        find(abbr, model, kind, engine, wishes.serve.get(engine, {}), config, settings)
        for abbr, model, kind in taken
        for engine in wishes.engines
    ]
    left_out = [f"model {one.abbr} is left out: {one.reason}" for one in skipped]
    errors = [*_refused(found, wishes), *_unknown(found, wishes)]
    jobs = []
    for one in found:
        job, wrong = _job(one, left_out, config, wishes, settings)
        jobs.append(job)
        errors.extend(wrong)
    if errors:
        raise BadSpec(list(dict.fromkeys(errors)), source=str(config.file))
    return TakenOver(tuple(jobs), tuple(skipped))


def _chosen(config: WholeConfig, wishes: Wishes) -> list[tuple[str, Mapping[str, Any]]]:
    """Names and entries of the models that are wanted. Raises: BadSpec for names that no model has."""
    models = [(_abbr(model, index), model) for index, model in enumerate(config.dumped.models)]
    names = [abbr for abbr, _ in models]
    errors = [
        FieldError("only", f"{one}: {nearest(one, names, what='model')}") for one in wishes.only if one not in names
    ]
    if errors:
        raise BadSpec(errors, source="the command line")
    return [(abbr, model) for abbr, model in models if not wishes.only or abbr in wishes.only]


def _refused(found: Sequence[Found], wishes: Wishes) -> Iterator[FieldError]:
    for one in found:
        for item in one.changes:
            if item.key not in wishes.allow:
                told = f"{item.text}; answers would change: `--allow {item.key}` runs without it"
                yield FieldError(f"models.{one.abbr}.{item.key}", told)


def _unknown(found: Sequence[Found], wishes: Wishes) -> Iterator[FieldError]:
    keys = sorted({item.key for one in found for item in one.changes})
    for key in sorted(wishes.allow.difference(keys)):
        yield FieldError(
            f"allow.{key}", f"there is nothing of that name to allow; there is: {', '.join(keys) or 'none'}"
        )


def _job(
    found: Found, left_out: Sequence[str], config: WholeConfig, wishes: Wishes, settings: Settings
) -> tuple[OneClickJob, list[FieldError]]:
    kept, more = _with_code(found, settings)
    notes = [*(_told(item) for item in kept if isinstance(item, Note | Change)), *more, *left_out]
    serve = wishes.serve.get(found.engine, {})
    given = document(found.abbr, kept, config, found.engine, wishes.limit, serve)
    spec, form = parse_spec({**given, "notes": notes}, source=str(config.file))
    base = config.file.parent
    spec = spec.model_copy(update={"serve": located(spec.serve, base)})
    wrong = form or check_job(spec, base, settings)
    errors = [FieldError(f"models.{found.abbr}: {error.path}", error.message) for error in wrong]
    return OneClickJob(found.abbr, spec), errors


def _with_code(found: Found, settings: Settings) -> tuple[Sequence[Item], list[str]]:
    """Without `trust_remote_code` where the operator does not allow it or the model brings no code."""
    code, folder = Set("serve", "trust_remote_code", True), found.folder
    if code not in found.items or (settings.allow_trust_remote_code and (folder is None or folder.brings_code)):
        return found.items, []
    kept = [item for item in found.items if item != code]
    if folder is not None and not folder.brings_code:
        return kept, []
    which = "the model's own code" if folder else "the model's own code, if it brings any,"
    return kept, [
        "trust_remote_code is not carried over: the operator does not allow it "
        f"(ORCHESTRATOR_ALLOW_TRUST_REMOTE_CODE), and {which} is not run"
    ]


def _told(item: Note | Change) -> str:
    return item.text if isinstance(item, Note) else f"{item.key} is left out, which changes answers: {item.text}"


def _abbr(model: Mapping[str, Any], index: int) -> str:
    return str(model.get("abbr") or model.get("path") or index)
