"""From a data set's name in a job spec to OpenCompass's config file of it, or the reason why there is none."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launchers.environments import Environment
from orchestrator.errors import OrchestratorError
from orchestrator.evaluators.opencompass.missing import missing_data
from orchestrator.evaluators.opencompass.source import ConfigSource, read_source

OUR_CONFIGS = Path(__file__).parents[3] / "eval_configs" / "opencompass" / "datasets"
"""Data set configs that come with us; their names win over OpenCompass's."""

_ASKABLE = frozenset({"GenInferencer", "ChatInferencer", "ChatMLInferencer"})
_JUDGED = ("GenericLLMEvaluator", "LMEvaluator")


class DatasetRefused(OrchestratorError):
    """A data set that cannot be evaluated; the message says why and what to do."""

    code = "bad_spec"


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """One config file of data sets."""

    name: str
    """As the spec says it."""
    file: Path
    module: str | None
    """Dotted name inside the installed package, e.g. `opencompass.configs.datasets.gsm8k.gsm8k_gen`."""
    variables: tuple[str, ...]
    """Its lists of data sets, e.g. `("gsm8k_datasets",)`."""


def package_of(environment: Environment) -> Path | None:
    """Folder of the `opencompass` package in an environment; None when it is not there."""
    prefix = environment.python.parent.parent
    return next(iter(sorted(prefix.glob("lib/python*/site-packages/opencompass"))), None)


def find_dataset(name: str, base: Path, package: Path | None, limit: int | None) -> DatasetConfig:
    """The config file that `name` means: a path, a file's stem, or folder/stem.

    Raises: DatasetRefused.
    """
    file = _located(name, base, package)
    try:
        source = read_source(file, package)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise DatasetRefused(f"{file} cannot be read as a Python file: {error}") from None
    for reason in _reasons(name, source, limit):
        raise DatasetRefused(reason)
    return DatasetConfig(name, file, _module_of(file, package), source.variables)


def _reasons(name: str, source: ConfigSource, limit: int | None) -> Iterator[str]:
    if not source.variables:
        yield f"{source.file} defines no list of data sets (a variable whose name ends in `_datasets`)"
    elif not source.file.stem.isidentifier():
        yield f"OpenCompass cannot import {source.file}: rename it to a Python name"
    for kind in sorted(kind for kind in source.types if kind.endswith("Inferencer") and kind not in _ASKABLE):
        yield f"`{name}` uses {kind}, which {_why_not(kind)}: choose a config that uses GenInferencer"
    if any(kind.endswith(_JUDGED) for kind in source.types):
        yield f"`{name}` is scored by a judge model, which cannot be configured yet"
    if limit is not None and source.repeats > 1:
        yield f"`{name}` asks each question {source.repeats} times; OpenCompass cannot `limit` such a data set"
    if source.package is not None and (missing := missing_data(source.paths, source.package)):
        yield f"the data of `{name}` is not on this machine: {missing}"


def _why_not(inferencer: str) -> str:
    if re.search("PPL|CLP|LLInf|Loss", inferencer):
        return "needs log-likelihoods of given texts; over the gateway only generation works yet"
    return "OpenCompass cannot run against a server"


def _located(name: str, base: Path, package: Path | None) -> Path:
    written = Path(name).expanduser()
    for candidate in (base / written, Path.cwd() / written):
        if candidate.suffix == ".py" and candidate.is_file():
            return candidate.resolve()
    if written.suffix == ".py":
        raise DatasetRefused(f"no file {base / written}")
    for folder in _folders(package):
        found = [file for file in _configs(folder) if _means(name, file, folder)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(sorted(f"`{_qualified(file, folder)}`" for file in found))
            raise DatasetRefused(f"`{name}` is the name of several data set configs: use one of {names}")
    raise DatasetRefused(_unknown(name, package))


def _folders(package: Path | None) -> list[Path]:
    return [OUR_CONFIGS, *([package / "configs" / "datasets"] if package else [])]


def _configs(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*.py") if file.name != "__init__.py"]


def _means(name: str, file: Path, folder: Path) -> bool:
    return name == file.stem or ("/" in name and f"/{_qualified(file, folder)}".endswith(f"/{name}"))


def _qualified(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _unknown(name: str, package: Path | None) -> str:
    stems = sorted({file.stem for folder in _folders(package) for file in _configs(folder)})
    # `gsm8k` is most often the start of what was meant (`gsm8k_gen`), which difflib alone ranks low.
    starts = sorted((stem for stem in stems if stem.startswith(f"{name}_")), key=len)[:3]
    nearest = list(dict.fromkeys([*starts, *difflib.get_close_matches(name, stems, n=3, cutoff=0.5)]))[:4]
    meant = f"; nearest: {', '.join(f'`{stem}`' for stem in nearest)}" if nearest else ""
    if package is None:
        return (
            f"no data set `{name}` among our own{meant}; OpenCompass, which brings the others, "
            "is not installed: `orchestrator install opencompass`"
        )
    return f"no data set config `{name}`{meant}"


def _module_of(file: Path, package: Path | None) -> str | None:
    if package is None or not file.is_relative_to(package):
        return None
    return ".".join(("opencompass", *file.relative_to(package).with_suffix("").parts))
