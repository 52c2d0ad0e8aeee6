"""From a data set's name in a job spec to OpenCompass's config file of it, or the reason why there is none."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from launchers.environments import Environment
from orchestrator.errors import OrchestratorError
from orchestrator.evaluators.opencompass.custom import SUFFIXES, CustomData, read_custom
from orchestrator.evaluators.opencompass.missing import Data, data_of
from orchestrator.evaluators.opencompass.needs import Need, cannot_run, missing_packages, needs_of
from orchestrator.evaluators.opencompass.nltk_data import missing_nltk_data
from orchestrator.evaluators.opencompass.source import ConfigSource, read_source

OUR_CONFIGS = Path(__file__).parents[3] / "eval_configs" / "opencompass" / "datasets"
"""Data set configs that come with us; their names win over OpenCompass's."""

_TO_INSTALL = {"evalplus": "evalplus==0.2.1", "dingo": "dingo-python"}
"""What brings a package where its name does not say; EvalPlus 0.3 is called in another way than OpenCompass does."""


class DatasetRefused(OrchestratorError):
    """A data set that cannot be evaluated; the message says why and what to do."""

    code = "bad_spec"


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """One config file of data sets, or one file of data."""

    name: str
    """As the spec says it; of a pattern, the name of the config."""
    file: Path
    module: str | None
    """Dotted name inside the installed package, e.g. `opencompass.configs.datasets.gsm8k.gsm8k_gen`."""
    variables: tuple[str, ...]
    """Its lists of data sets, e.g. `("gsm8k_datasets",)`; none in a file of data."""
    needs: frozenset[Need] = frozenset()
    absent: tuple[Data, ...] = ()
    """Data that is not on this machine."""
    custom: CustomData | None = None
    """Set for a file of data: jsonl or csv."""


def package_of(environment: Environment) -> Path | None:
    """Folder of the `opencompass` package in an environment; None when it is not there."""
    prefix = environment.python.parent.parent
    return next(iter(sorted(prefix.glob("lib/python*/site-packages/opencompass"))), None)


def find_datasets(name: str, base: Path, package: Path | None, limit: int | None) -> list[DatasetConfig]:
    """The config files that `name` means: a path, a file's stem, folder/stem, or a pattern (`mmlu_pro_*_gen_??????`).

    Of a pattern, configs that only stand for another one that fits too are left out.
    Raises: DatasetRefused.
    """
    if any(sign in name for sign in "*?[") and not (base / name).exists():
        return [_config(_qualified_of(file, package), file, package, limit) for file in _fitting(name, package)]
    return [_config(name, _located(name, base, package), package, limit)]


def find_dataset(name: str, base: Path, package: Path | None, limit: int | None) -> DatasetConfig:
    """As `find_datasets`, for a name that means one."""
    return find_datasets(name, base, package, limit)[0]


def find_own(name: str, base: Path) -> Path | None:
    """The file that `name` is the path of, from `base` or from the current folder; None for names of configs."""
    written = Path(name).expanduser()
    places = (base / written, Path.cwd() / written)
    fitting = (place for place in places if place.suffix in (".py", *SUFFIXES) and place.is_file())
    return next((place.resolve() for place in fitting), None)


def config_files(package: Path | None) -> list[tuple[str, Path]]:
    """(folder/stem, file) of every data set config, ours first."""
    return [(_qualified(file, folder), file) for folder in _folders(package) for file in _configs(folder)]


def stands_for(source: ConfigSource) -> Path | None:
    """The one file that a config passes on unchanged: `gsm8k_gen.py` stands for `gsm8k_gen_1d7fe4.py`."""
    others = [file for file in source.trees if file != source.file]
    return others[0] if len(others) == 1 and not source.assigns else None


def nearest(name: str, stems: list[str]) -> list[str]:
    """Up to four names that were perhaps meant."""
    # `gsm8k` is most often the start of what was meant (`gsm8k_gen`), which difflib alone ranks low.
    starts = sorted((stem for stem in stems if stem.startswith(f"{name}_")), key=len)[:3]
    return list(dict.fromkeys([*starts, *difflib.get_close_matches(name, stems, n=3, cutoff=0.5)]))[:4]


def module_of(file: Path, package: Path | None) -> str | None:
    """Dotted name of a file of the installed package; None for others."""
    if package is None or not file.is_relative_to(package):
        return None
    return ".".join(("opencompass", *file.relative_to(package).with_suffix("").parts))


def _config(name: str, file: Path, package: Path | None, limit: int | None) -> DatasetConfig:
    if file.suffix in SUFFIXES:
        return _custom(name, file)
    try:
        source = read_source(file, package)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise DatasetRefused(f"{file} cannot be read as a Python file: {error}") from None
    for reason in _reasons(name, source, limit):
        raise DatasetRefused(reason)
    known = (data_of(kind, path, package) for kind, path in source.data)
    absent = [data for data in known if data.state == "absent"]
    if package is not None:
        absent += missing_nltk_data(source.types, package)
    needs = needs_of(source.types)
    return DatasetConfig(name, file, module_of(file, package), source.variables, needs, tuple(absent))


def _custom(name: str, file: Path) -> DatasetConfig:
    try:
        custom = read_custom(file)
    except (OSError, ValueError) as error:
        raise DatasetRefused(f"{file} cannot be read: {error}") from None
    if custom.wrong:
        raise DatasetRefused(f"{file} {'; it '.join(custom.wrong)}")
    needs: frozenset[Need] = frozenset({"scores"} if custom.infer_method == "ppl" else ())
    return DatasetConfig(name, file, None, (), needs, custom=custom)


def _reasons(name: str, source: ConfigSource, limit: int | None) -> Iterator[str]:
    if source.lost:
        yield f"`{name}` imports {source.lost[0]}, which is not there"
    if not source.variables:
        yield f"{source.file} defines no list of data sets (a variable whose name ends in `_datasets`)"
    elif not source.file.stem.isidentifier():
        yield f"OpenCompass cannot import {source.file}: rename it to a Python name"
    for reason in cannot_run(source.types):
        yield f"`{name}` {reason}: choose a config that uses GenInferencer or PPLInferencer"
    if limit is not None and source.repeats > 1:
        yield f"`{name}` asks each question {source.repeats} times; OpenCompass cannot `limit` such a data set"
    if source.package is not None and (missing := missing_packages(source.types, source.package)):
        install = f"{source.package.parents[3] / 'bin' / 'python'} -m pip install"
        wanted = " ".join(_TO_INSTALL.get(package, package) for package in missing)
        yield f"`{name}` is scored with {', '.join(missing)}, not installed beside OpenCompass: {install} {wanted}"


def _located(name: str, base: Path, package: Path | None) -> Path:
    if own := find_own(name, base):
        return own
    if Path(name).suffix in (".py", *SUFFIXES):
        raise DatasetRefused(f"no file {base / Path(name).expanduser()}")
    for folder in _folders(package):
        found = [file for file in _configs(folder) if _means(name, file, folder)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(sorted(f"`{_qualified(file, folder)}`" for file in found))
            raise DatasetRefused(f"`{name}` is the name of several data set configs: use one of {names}")
    raise DatasetRefused(_unknown(name, package))


def _fitting(pattern: str, package: Path | None) -> list[Path]:
    found = [
        file
        for folder in _folders(package)
        for file in _configs(folder)
        if fnmatchcase(_qualified(file, folder) if "/" in pattern else file.stem, pattern)
    ]
    if not found:
        raise DatasetRefused(f"no data set config fits the pattern `{pattern}`")
    return [file for file in found if stands_for(read_source(file, package)) not in found]


def _folders(package: Path | None) -> list[Path]:
    return [OUR_CONFIGS, *([package / "configs" / "datasets"] if package else [])]


def _configs(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*.py") if file.name != "__init__.py")


def _means(name: str, file: Path, folder: Path) -> bool:
    return name == file.stem or ("/" in name and f"/{_qualified(file, folder)}".endswith(f"/{name}"))


def _qualified(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _qualified_of(file: Path, package: Path | None) -> str:
    return next(_qualified(file, folder) for folder in _folders(package) if file.is_relative_to(folder))


def _unknown(name: str, package: Path | None) -> str:
    stems = sorted({file.stem for folder in _folders(package) for file in _configs(folder)})
    near = nearest(name, stems)
    meant = f"; nearest: {', '.join(f'`{stem}`' for stem in near)}" if near else ""
    if package is None:
        return (
            f"no data set `{name}` among our own{meant}; OpenCompass, which brings the others, "
            "is not installed: `orchestrator install opencompass`"
        )
    return f"no data set config `{name}`{meant}; all of them: `orchestrator datasets`"
