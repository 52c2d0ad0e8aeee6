"""From a summarizer's name in a job spec to its config file."""

from __future__ import annotations

from pathlib import Path

from orchestrator.evaluators.opencompass.datasets import DatasetRefused, find_own, module_of, nearest
from orchestrator.evaluators.opencompass.source import read_source


def find_summarizer(name: str, base: Path, package: Path | None) -> tuple[Path, str | None]:
    """The file that defines `summarizer`, and its module where it is one of OpenCompass's own.

    Raises: DatasetRefused.
    """
    file = find_own(name, base) or _shipped(name, package)
    try:
        source = read_source(file, package)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise DatasetRefused(f"{file} cannot be read as a Python file: {error}") from None
    if "summarizer" not in source.names:
        raise DatasetRefused(f"{file} defines no `summarizer`")
    return file, module_of(file, package)


def _shipped(name: str, package: Path | None) -> Path:
    folder = package / "configs" / "summarizers" if package else None
    files = {file.stem: file for file in sorted(folder.glob("*.py"))} if folder else {}
    if name not in files:
        near = nearest(name, list(files))
        meant = f"; nearest: {', '.join(f'`{stem}`' for stem in near)}" if near else ""
        raise DatasetRefused(f"no summarizer `{name}`{meant}")
    return files[name]
