"""Python files of others as syntax trees, without their warnings."""

from __future__ import annotations

import ast
import warnings


def parsed(code: bytes) -> ast.Module:
    """The tree of a module. Raises: SyntaxError.

    Escapes like `'\\{'`, of which OpenCompass has many, would each print a warning that nobody here can act on.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code)
