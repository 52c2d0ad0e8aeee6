"""What a data set config of OpenCompass says, read from its text: importing OpenCompass takes 8 s, parsing 5 ms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from orchestrator.evaluators.opencompass.parsing import parsed

_MOST_FILES = 2000
"""Files that one config may pull in; collections of hundreds exist, a cycle must end."""


@dataclass(frozen=True)
class ConfigSource:
    """A config file and every file that it imports with `read_base`, parsed."""

    file: Path
    trees: dict[Path, ast.Module]
    package: Path | None
    """Folder of the installed `opencompass` package; None leaves its files out."""
    lost: tuple[Path, ...] = ()
    """Imported files that are not there or cannot be read."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the lists of data sets that the file defines: `datasets` of a whole config, else those that end
        in `_datasets`.
        """
        lists = tuple(_variables(self.file, self, frozenset()))
        whole = "datasets" in self.names and ("models" in self.names or not lists)
        return ("datasets",) if whole else lists

    @cached_property
    def names(self) -> frozenset[str]:
        """Variables that the file itself assigns or imports with `read_base`, `*` left out."""
        tree = self.trees[self.file]
        assigned = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        return frozenset(
            assigned | {alias.asname or alias.name for node in _base_imports(tree) for alias in node.names}
        )

    @property
    def assigns(self) -> bool:
        """Whether the file itself says anything beyond what it imports."""
        body = self.trees[self.file].body
        said = body[1:] if ast.get_docstring(self.trees[self.file]) is not None else body
        return any(not isinstance(node, ast.With | ast.ImportFrom | ast.Import) for node in said)

    @cached_property
    def types(self) -> frozenset[str]:
        """Names of all classes and functions given as `type=` anywhere in the files."""
        return frozenset(name for tree in self.trees.values() for name in _types(tree))

    @cached_property
    def repeats(self) -> int:
        """The largest `n` (how often each question is asked) of a data set in the files."""
        values = [value for _, given in self._datasets() if isinstance(value := given.get("n"), int)]
        return max(values, default=1)

    @cached_property
    def data(self) -> tuple[tuple[str, str], ...]:
        """(class, `path`) of the data sets in the files, where the path is written out as a string."""
        values = ((kind, given.get("path")) for kind, given in self._datasets())
        return tuple(dict.fromkeys((kind, path) for kind, path in values if isinstance(path, str)))

    def _datasets(self) -> Iterator[tuple[str, dict[str, object]]]:
        """Class and constants of every `dict(...)` that has a `reader_cfg`: only data sets have one."""
        for tree in self.trees.values():
            for call in _calls(tree):
                given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
                if "reader_cfg" in given:
                    kind = _last_name(given["type"]) if "type" in given else None
                    constants = ((name, node) for name, node in given.items() if isinstance(node, ast.Constant))
                    yield kind or "", {name: node.value for name, node in constants}


def read_source(file: Path, package: Path | None) -> ConfigSource:
    """Parse `file` and what it imports.

    Raises: OSError, SyntaxError, UnicodeDecodeError for `file` itself; what cannot be read of its imports is left out.
    """
    trees = {file: parsed(file.read_bytes())}
    waiting, lost = [file], []
    while waiting and len(trees) < _MOST_FILES:
        current = waiting.pop()
        for node in _base_imports(trees[current]):
            target = _imported_file(node, current, package)
            if target is None or target in trees:
                continue
            if (tree := _parsed(target)) is None:
                lost.append(target)
                continue
            trees[target] = tree
            waiting.append(target)
    return ConfigSource(file, trees, package, tuple(lost))


def _parsed(file: Path) -> ast.Module | None:
    try:
        return parsed(file.read_bytes())
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


def _imported_file(node: ast.ImportFrom, importer: Path, package: Path | None) -> Path | None:
    parts = (node.module or "").split(".")
    if node.level:
        folder = importer.parent.joinpath(*[".."] * (node.level - 1))
        return folder.joinpath(*parts).with_suffix(".py").resolve()
    if package is not None and parts[0] == "opencompass":
        return package.joinpath(*parts[1:]).with_suffix(".py")
    return None


def _base_imports(tree: ast.Module) -> Iterator[ast.ImportFrom]:
    for block in tree.body:
        if isinstance(block, ast.With) and "read_base" in ast.dump(block.items[0].context_expr):
            yield from (node for node in block.body if isinstance(node, ast.ImportFrom))


def _variables(file: Path, source: ConfigSource, seen: frozenset[Path]) -> list[str]:
    """Own lists of `file`, and the imported ones that none of its own lists is made of.

    OpenCompass takes all of them, so a file that imports two lists and adds them up counts each twice.
    """
    tree = source.trees.get(file)
    if tree is None or file in seen:
        return []
    own = dict(_assignments(tree))
    parts = {name for value in own.values() for name in _names(value)}
    imported = [
        name
        for node in _base_imports(tree)
        for name in _imported_names(node, file, source, seen | {file})
        if name.endswith("_datasets")
    ]
    everything = dict.fromkeys([*imported, *own])
    if "locals" in parts:
        return list(own)
    return [name for name in everything if name not in parts]


def _imported_names(node: ast.ImportFrom, file: Path, source: ConfigSource, seen: frozenset[Path]) -> Iterator[str]:
    for alias in node.names:
        if alias.name != "*":
            yield alias.asname or alias.name
        elif (target := _imported_file(node, file, source.package)) is not None:
            yield from _variables(target, source, seen)


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Assignments to `*_datasets` outside of functions and classes."""
    blocks: list[ast.stmt] = list(tree.body)
    while blocks:
        node = blocks.pop(0)
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            yield from ((name, node.value) for name in names if name.endswith("_datasets"))
        elif isinstance(node, ast.For | ast.While | ast.If | ast.With):
            blocks[:0] = [*node.body, *getattr(node, "orelse", [])]


def _names(value: ast.expr) -> Iterator[str]:
    """Names whose whole content goes into `value`: not `a` of `[dict(a[0], abbr=...)]`, which makes a variant."""
    made_from = {id(node) for part in ast.walk(value) for node in _sources_of_variants(part)}
    return (node.id for node in ast.walk(value) if isinstance(node, ast.Name) and id(node) not in made_from)


def _sources_of_variants(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Subscript):
        yield node.value
    elif isinstance(node, ast.ListComp) and not isinstance(node.elt, ast.Name):
        yield from (generator.iter for generator in node.generators)


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _types(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        for value in _type_values(node):
            if name := _last_name(value):
                yield name


def _type_values(node: ast.AST) -> Iterator[ast.expr]:
    """What stands at `type` of a `dict(...)` call or of a dictionary."""
    if isinstance(node, ast.Call):
        yield from (keyword.value for keyword in node.keywords if keyword.arg == "type")
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "type":
                yield value


def _last_name(value: ast.expr) -> str | None:
    if isinstance(value, ast.Name):
        return value.id
    if isinstance(value, ast.Attribute):
        return value.attr
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value.rsplit(".", 1)[-1]
    return None
