"""What one model of a config comes to on one engine, before anybody decides about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launchers.environments import Environments
from launchers.registry import get_engine
from orchestrator.evaluators.opencompass.source import read_source
from orchestrator.one_click.asking import asking
from orchestrator.one_click.folder import ModelFolder, model_folder
from orchestrator.one_click.items import Change, Item, Note, Set
from orchestrator.one_click.kinds import Kind
from orchestrator.one_click.loading import loading
from orchestrator.one_click.reading import WholeConfig
from orchestrator.one_click.sampling import sampling
from orchestrator.settings import Settings

_NOT_TAKEN = {
    "infer": "how inference is split and run is the job's own",
    "eval": "how scoring is split and run is the job's own",
    "work_dir": "results are in the job's folder",
    "judge_models": "name a judge in a job spec (`opencompass.judge`)",
    "lark_bot_url": "nobody is notified",
}


@dataclass(frozen=True, slots=True)
class Found:
    """One model on one engine."""

    abbr: str
    engine: str
    folder: ModelFolder | None
    """The model's files; None when they are not on this machine."""
    items: tuple[Item, ...]

    @property
    def changes(self) -> list[Change]:
        """What would change the answers."""
        return [item for item in self.items if isinstance(item, Change)]


def find(
    abbr: str,
    model: Mapping[str, Any],
    kind: Kind,
    engine: str,
    serve: Mapping[str, Any],
    config: WholeConfig,
    settings: Settings,
) -> Found:
    """`serve`: what the command line says, whose `model` wins over the entry's path."""
    folder = model_folder(str(serve.get("model") or model.get("path") or ""), config.file.parent)
    return Found(abbr, engine, folder, tuple(_items(model, kind, engine, folder, config, settings)))


def _items(
    model: Mapping[str, Any],
    kind: Kind,
    engine: str,
    folder: ModelFolder | None,
    config: WholeConfig,
    settings: Settings,
) -> Iterator[Item]:
    launcher = get_engine(engine)
    environment = Environments(settings.environments).find(launcher.recipe) if launcher.recipe else None
    yield from loading(model, kind, folder, engine, launcher.honoured(launcher.flags(environment)))
    yield from sampling(model, folder, engine)
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
