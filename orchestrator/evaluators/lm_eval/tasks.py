"""From a name in a job spec to lm-eval's tasks, or the reason why they cannot be run."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from launchers.environments import Environment
from orchestrator.errors import OrchestratorError
from orchestrator.evaluators.lm_eval.files import read_config
from orchestrator.evaluators.lm_eval.index import OUR_TASKS, Index, index_of, installed_index, members_of
from orchestrator.spec.models import EvaluateSpec

_REQUESTS = {
    "generate_until": "generate_until",
    "multiple_choice": "loglikelihood",
    "loglikelihood": "loglikelihood",
    "loglikelihood_rolling": "loglikelihood_rolling",
}
_SEEN = ("doc_to_image", "doc_to_audio", "doc_to_video")


class TaskRefused(OrchestratorError):
    """A task that cannot be evaluated; the message says why and what to do."""

    code = "bad_spec"


@dataclass(frozen=True, slots=True)
class Task:
    """One task: one data set, one way to ask, its metrics."""

    name: str
    file: Path
    config: Mapping[str, Any] = field(hash=False)
    """Its file with all that it includes; functions as text."""

    @property
    def request(self) -> str | None:
        """What it asks for: `generate_until`, `loglikelihood`, `loglikelihood_rolling`; None: only its code knows."""
        kind = self.config.get("output_type")
        return _REQUESTS.get(str(kind)) if kind or "class" in self.config else "generate_until"

    @property
    def generates(self) -> bool:
        """False when the engine must score given texts, or when only the task's code knows."""
        return self.request == "generate_until"


@dataclass(frozen=True, slots=True)
class Asked:
    """One entry of `datasets`."""

    entry: str
    """As the spec says it."""
    name: str
    """What lm-eval is told: a name, or the path of a file."""
    tasks: tuple[Task, ...]
    """The tasks that it stands for."""
    folder: Path | None = None
    """Where a file of the user's own lies, and others that it may name."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All names that a spec may use, the ones that win first."""

    own: Index
    """Those under `include_path`."""
    ours: Index
    installed: Index
    """Empty when lm-eval is not installed."""

    def all(self) -> dict[str, str]:
        """Every name and the file that defines it."""
        merged = {**self.installed, **self.ours, **self.own}
        return {name: entry.file for name, entry in merged.items()}


def catalogue(spec: EvaluateSpec, base: Path, environment: Environment | None) -> Catalogue:
    """The names for this spec. Raises: TaskRefused when `include_path` is no folder."""
    return Catalogue(
        own=index_of(folder) if (folder := include_path_of(spec, base)) else {},
        ours=index_of(OUR_TASKS),
        installed=installed_index(environment) if environment else {},
    )


def include_path_of(spec: EvaluateSpec, base: Path) -> Path | None:
    """The folder of the user's own tasks, absolute. Raises: TaskRefused when it is none."""
    if spec.lm_eval is None or spec.lm_eval.include_path is None:
        return None
    written = Path(spec.lm_eval.include_path).expanduser()
    folder = _placed(written, base)
    if not folder.is_dir():
        raise TaskRefused(f"{folder} is not a folder")
    return folder


def paths_named(spec: EvaluateSpec, base: Path) -> list[Path]:
    """Task files and the folder of them that `spec` names by path, absolute, whether they exist or not."""
    files = [entry for entry in spec.datasets if entry.endswith((".yaml", ".yml"))]
    include = spec.lm_eval.include_path if spec.lm_eval else None
    return [_placed(Path(one).expanduser(), base) for one in (*files, *([include] if include else []))]


def find(entry: str, base: Path, known: Catalogue) -> list[Asked]:
    """What an entry of `datasets` means: a file, a name, or a pattern of names such as `mmlu_*`.

    Raises: TaskRefused.
    """
    if entry.endswith((".yaml", ".yml")):
        return [_of_file(entry, _located(entry, base), known)]
    names = [entry] if _lookup(entry, known) else sorted(name for name in known.all() if fnmatchcase(name, entry))
    if not names:
        raise TaskRefused(_unknown(entry, known))
    return [_checked(Asked(entry, name, tuple(_expand(name, known, frozenset())))) for name in names]


def _of_file(entry: str, file: Path, known: Catalogue) -> Asked:
    config = _config(file)
    if "task" not in config and "group" not in config:
        raise TaskRefused(f"{file} defines neither a `task` nor a `group`")
    if "group" not in config or "class" in config:
        return _checked(Asked(entry, str(file), (Task(str(config["task"]), file, config),), file.parent))
    beside = Catalogue({**known.own, **index_of(file.parent)}, known.ours, known.installed)
    tasks = [task for name in members_of(config.get("task")) for task in _expand(name, beside, frozenset())]
    return _checked(Asked(entry, str(config["group"]), tuple(tasks), file.parent))  # lm-eval finds groups by name only


def _expand(name: str, known: Catalogue, above: frozenset[str]) -> Iterator[Task]:
    found = _lookup(name, known)
    if found is None or name in above:
        what = "contains itself" if name in above else "is no task of its own: name the tasks instead of the group"
        raise TaskRefused(f"its member `{name}` {what}")
    if found.kind == "task":
        yield Task(name, Path(found.file), _config(Path(found.file)))
    for member in found.members:
        yield from _expand(member, known, above | {name})


def _checked(asked: Asked) -> Asked:
    for task in asked.tasks:
        if reason := _why_not(task):
            raise TaskRefused(f"`{task.name}` {reason}")
    if not asked.tasks:
        raise TaskRefused(f"`{asked.entry}` holds no task")
    return asked


def _why_not(task: Task) -> str | None:
    if task.config.get("unsafe_code"):
        return "runs code that the model wrote, which lm-eval does unprotected; OpenCompass's data sets are sandboxed"
    if any(name in task.config for name in _SEEN):
        return "asks with images, sounds or films; only texts can be asked here"
    return None


def _lookup(name: str, known: Catalogue) -> Any:
    return known.own.get(name) or known.ours.get(name) or known.installed.get(name)


def _located(entry: str, base: Path) -> Path:
    file = _placed(Path(entry).expanduser(), base)
    if not file.is_file():
        raise TaskRefused(f"no file {file}")
    return file


def _placed(written: Path, base: Path) -> Path:
    """Where a path leads: from the spec's folder, else from the current one, if it is there."""
    places = (base / written, Path.cwd() / written)
    return next((place for place in places if place.exists()), places[0]).resolve()


def _config(file: Path) -> dict[str, Any]:
    try:
        return read_config(file)
    except (OSError, ValueError) as error:
        raise TaskRefused(f"{file} cannot be read as a task: {error}") from None


def _unknown(name: str, known: Catalogue) -> str:
    names = known.all()
    # `mmlu` alone is most often the start of what was meant, which difflib ranks low.
    starts = sorted((other for other in names if other.startswith(f"{name}_")), key=len)[:3]
    nearest = list(dict.fromkeys([*difflib.get_close_matches(name, names, n=3, cutoff=0.6), *starts]))[:4]
    meant = f"; nearest: {', '.join(f'`{one}`' for one in nearest)}" if nearest else ""
    if not known.installed:
        return (
            f"no task `{name}` among our own{meant}; lm-eval, which brings the others, "
            "is not installed: `orchestrator install lm_eval`"
        )
    return f"lm-eval has no task, group or tag `{name}`{meant}"
