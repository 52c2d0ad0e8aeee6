"""What the log of a failed start means: a table of patterns, first match wins."""

from __future__ import annotations

import re
from dataclasses import dataclass

from launchers.engine import Diagnosis


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of failure: how it reads in a log, and what to tell the user."""

    code: str
    regex: re.Pattern[str]
    message: str
    hint: str


def _pattern(code: str, regex: str, message: str, hint: str) -> Pattern:
    return Pattern(code, re.compile(regex, re.IGNORECASE), message, hint)


PATTERNS = (
    _pattern(
        "out_of_memory",
        r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|DefaultCPUAllocator: can't allocate"
        r"|\bMemoryError\b|No available memory for the cache blocks|less than desired GPU memory utilization",
        "the engine ran out of memory",
        "lower memory_fraction or max_total_tokens, shorten max_model_len, or raise tensor_parallel",
    ),
    _pattern(
        "port_in_use",
        r"address already in use|port \d+ has been used|errno 98",
        "the engine found its port taken",
        "choose another `port` or leave it out so that a free one is leased",
    ),
    _pattern(
        "unsupported_model",
        r"does not recognize this architecture|unsupported (model )?architecture"
        r"|model architectures? .* not supported|Unrecognized configuration class|Unrecognized model in",
        "the engine does not support this model's architecture",
        "use another engine, or a newer version of this one",
    ),
    _pattern(
        "model_not_found",
        r"Repository Not Found|is not a valid model identifier|is not a local folder|no file named"
        r"|does not appear to have a file named|We couldn't connect to|LocalEntryNotFoundError|OfflineModeIsEnabled"
        r"|GatedRepoError",
        "the engine did not find the model or a file of it",
        "check `model`: a folder with config.json, weights and tokenizer, or a hub id that this machine has cached",
    ),
    _pattern(
        "bad_engine_argument",
        r"unrecognized arguments|error: argument|no such option|invalid choice|ambiguous option",
        "the engine refused an argument of its command line",
        "check `extra_args` and the engine's version: `orchestrator doctor`",
    ),
)


def diagnose(log: str) -> Diagnosis | None:
    """What the log says, or None when no known failure is in it."""
    for pattern in PATTERNS:
        found = pattern.regex.search(log)
        if found:
            line = _line_around(log, found)
            return Diagnosis(pattern.code, f"{pattern.message}: {line}", pattern.hint)
    return None


def _line_around(log: str, found: re.Match[str]) -> str:
    start = log.rfind("\n", 0, found.start()) + 1
    end = log.find("\n", found.end())
    return log[start : end if end >= 0 else len(log)].strip()[:300]
