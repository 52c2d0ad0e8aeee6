"""From the entries of a config's `models` to jobs on another engine, with every error of all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from launchers.environments import Environments
from launchers.registry import get_engine
from orchestrator.errors import BadSpec, FieldError
from orchestrator.evaluators.opencompass.source import read_source
from orchestrator.intake import located
from orchestrator.one_click.asking import asking
from orchestrator.one_click.document import document
from orchestrator.one_click.folder import ModelFolder, model_folder
from orchestrator.one_click.items import Change, Item, Note, Set
from orchestrator.one_click.kinds import class_of, kind_of, why_not
from orchestrator.one_click.loading import loading
from orchestrator.one_click.reading import WholeConfig
from orchestrator.one_click.sampling import sampling
from orchestrator.settings import Settings
from orchestrator.spec.checks import check_job
from orchestrator.spec.loading import parse_spec
from orchestrator.spec.models import JobSpec

_NOT_TAKEN = {
    "infer": "how inference is split and run is the job's own",
    "eval": "how scoring is split and run is the job's own",
    "work_dir": "results are in the job's folder",
    "judge_models": "name a judge in a job spec (`opencompass.judge`)",
    "lark_bot_url": "nobody is notified",
}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says beside the config."""

    engine: str
    limit: int | None = None
    """First samples of each data set."""
    allow: frozenset[str] = frozenset()
    """Keys of changes that are accepted."""
    serve: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `serve` that win over what the config comes to."""


@dataclass(frozen=True, slots=True)
class OneClickJob:
    """One model of the config as a job."""

    abbr: str
    spec: JobSpec
    notes: tuple[str, ...]
    """What was not carried over, or in another way."""


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
    """A job per Hugging Face model, in the order of the config.

    Raises: BadSpec with every error: what changes answers and is not allowed, what the engine cannot do, no model left.
    """
    source = str(config.file)
    models = [(_abbr(model, index), model) for index, model in enumerate(config.dumped.models)]
    skipped = [Skipped(abbr, why_not(class_of(model), config.package)) for abbr, model in models if not kind_of(model)]
    taken = [(abbr, model) for abbr, model in models if kind_of(model)]
    if not taken:
        errors = [FieldError(f"models.{one.abbr}", one.reason) for one in skipped]
        raise BadSpec(errors, source=source)
    if "model" in wishes.serve and len(taken) > 1:
        message = f"is for one model, and the config has {len(taken)}: {', '.join(abbr for abbr, _ in taken)}"
        raise BadSpec([FieldError("serve.model", message)], source="the command line")
    items = [(abbr, list(_items(model, config, wishes, settings))) for abbr, model in taken]
    errors = [*_refused(items, wishes), *_unknown(items, wishes)]
    left_out = [f"model {one.abbr} is left out: {one.reason}" for one in skipped]
    jobs, more = _jobs(items, left_out, config, wishes, settings)
    if errors or more:
        raise BadSpec([*errors, *more], source=source)
    return TakenOver(tuple(jobs), tuple(skipped))


def _items(model: Mapping[str, Any], config: WholeConfig, wishes: Wishes, settings: Settings) -> Iterator[Item]:
    kind = kind_of(model)
    if kind is None:
        raise ValueError("no Hugging Face model")
    engine = get_engine(wishes.engine)
    folder = model_folder(str(wishes.serve.get("model") or model.get("path") or ""), config.file.parent)
    environment = Environments(settings.environments).find(engine.recipe) if engine.recipe else None
    honoured = engine.honoured(engine.flags(environment))
    yield from loading(model, kind, folder, wishes.engine, honoured)
    yield from sampling(model, folder, wishes.engine)
    yield from asking(model, kind, config.dumped.datasets)
    yield from _of_config(config)


def _of_config(config: WholeConfig) -> Iterator[Item]:
    """What holds for all models: summarizer, and what the config says about OpenCompass's own way of running."""
    if "summarizer" in config.dumped.names:
        if "summarizer" in read_source(config.placed.file, config.package).names:
            yield Set("opencompass", "summarizer", str(config.placed.file))
        else:
            yield Note("summarizer is not carried over: import it by name, not with `*`")
    for name, instead in _NOT_TAKEN.items():
        if name in config.dumped.names:
            yield Note(f"{name} is not carried over: {instead}")
    for imported in config.placed.shipped:
        yield Note(f"`{imported}` is not beside the config: it is that of the installed OpenCompass")


def _refused(items: Iterable[tuple[str, list[Item]]], wishes: Wishes) -> Iterator[FieldError]:
    for abbr, found in items:
        for item in found:
            if isinstance(item, Change) and item.key not in wishes.allow:
                told = f"{item.text}; answers would change: `--allow {item.key}` runs without it"
                yield FieldError(f"models.{abbr}.{item.key}", told)


def _unknown(items: Iterable[tuple[str, list[Item]]], wishes: Wishes) -> Iterator[FieldError]:
    keys = sorted({item.key for _, found in items for item in found if isinstance(item, Change)})
    for key in sorted(wishes.allow.difference(keys)):
        yield FieldError(
            f"allow.{key}", f"there is nothing of that name to allow; there is: {', '.join(keys) or 'none'}"
        )


def _jobs(
    items: Iterable[tuple[str, list[Item]]],
    left_out: list[str],
    config: WholeConfig,
    wishes: Wishes,
    settings: Settings,
) -> tuple[list[OneClickJob], list[FieldError]]:
    jobs: list[OneClickJob] = []
    errors: list[FieldError] = []
    for abbr, found in items:
        folder = model_folder(_path(found, wishes), config.file.parent)
        kept, more = _with_code(found, folder, settings)
        given = document(
            abbr, kept, str(config.placed.file), config.file.name, wishes.engine, wishes.limit, wishes.serve
        )
        spec, form = parse_spec(given, source=str(config.file))
        spec = spec.model_copy(update={"serve": located(spec.serve, config.file.parent)})
        wrong = form or check_job(spec, config.file.parent, settings)
        errors.extend(FieldError(f"models.{abbr}: {error.path}", error.message) for error in wrong)
        notes = [*(_told(item) for item in kept if isinstance(item, Note | Change)), *more, *left_out]
        jobs.append(OneClickJob(abbr, spec, tuple(notes)))
    return jobs, errors


def _with_code(items: list[Item], folder: ModelFolder | None, settings: Settings) -> tuple[list[Item], list[str]]:
    """Without `trust_remote_code` where the operator does not allow it or the model brings no code."""
    code = Set("serve", "trust_remote_code", True)
    if code not in items or (settings.allow_trust_remote_code and (folder is None or folder.brings_code)):
        return items, []
    kept = [item for item in items if item != code]
    if folder is not None and not folder.brings_code:
        return kept, []
    which = "the model's own code" if folder else "the model's own code, if it brings any,"
    return kept, [
        "trust_remote_code is not carried over: the operator does not allow it "
        f"(ORCHESTRATOR_ALLOW_TRUST_REMOTE_CODE), and {which} is not run"
    ]


def _told(item: Note | Change) -> str:
    return item.text if isinstance(item, Note) else f"{item.key} is left out, which changes answers: {item.text}"


def _path(items: list[Item], wishes: Wishes) -> str:
    written = next((item.value for item in items if isinstance(item, Set) and item.field == "model"), "")
    return str(wishes.serve.get("model") or written)


def _abbr(model: Mapping[str, Any], index: int) -> str:
    return str(model.get("abbr") or model.get("path") or index)
