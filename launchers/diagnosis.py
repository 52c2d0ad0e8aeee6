"""What the log of a failed start means: a code, one sentence, and the next step."""

from __future__ import annotations

import re

from launchers.engine import Diagnosis
from launchers.failures import PATTERNS
from launchers.knobs import knobs_of


def diagnose(log: str, engine: str = "") -> Diagnosis | None:
    """What the log says, in the words of `engine`'s spec fields; None when no known failure is in it.

    The table stands from the particular to the general, and its first match wins: the cause of a failure is
    often followed by its consequences.
    """
    for pattern in PATTERNS:
        found = pattern.regex.search(log)
        if found:
            hint = pattern.hint(found, knobs_of(engine)) if callable(pattern.hint) else pattern.hint
            return Diagnosis(pattern.code, f"{pattern.message}: {_line_around(log, found)}", hint)
    return None


def _line_around(log: str, found: re.Match[str]) -> str:
    start = log.rfind("\n", 0, found.start()) + 1
    end = log.find("\n", found.end())
    return log[start : end if end >= 0 else len(log)].strip()[:300]
