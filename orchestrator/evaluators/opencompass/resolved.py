"""The config as OpenCompass resolved it: one Python file of `dict(...)` calls and literals."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any


def read_resolved(file: Path) -> dict[str, Any]:
    """Its variables as plain data; whatever is not a literal stays as its source text.

    Raises: OSError, SyntaxError.
    """
    tree = ast.parse(file.read_bytes())
    return {
        target.id: _value(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        positional = [_value(argument) for argument in node.args]
        merged = {key: value for part in positional if isinstance(part, dict) for key, value in part.items()}
        return merged | {keyword.arg: _value(keyword.value) for keyword in node.keywords if keyword.arg}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(element) for element in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_value(key): _value(value) for key, value in pairs if key is not None}
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
