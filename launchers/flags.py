"""Which flags an engine's command line knows: asked of the engine itself, or looked up among the versions we know.

Flags come and go between versions, and every engine ends with code 2 on one that it does not know. So nothing
is decided by version number: the installed engine prints its help once per environment, and what stands there
is what we use.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from launchers.scrub import scrubbed

KNOWN = Path(__file__).parent / "engines" / "known_flags"
PATIENCE = 180.0
"""Seconds that an engine may take to print its help: the first import of a large one takes a minute."""

_FLAG = re.compile(r"--[A-Za-z][A-Za-z0-9_-]*")
# Where an option is defined, and not only mentioned: at the start of a line (behind the frame of a rich table),
# or in brackets in the usage line.
_DEFINED = re.compile(r"^[\s│|*]{0,12}(-.*)$")
_USAGE = re.compile(r"\[(--[A-Za-z][A-Za-z0-9_-]*)")
_DESCRIBED = re.compile(r"\s{2,}")


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of one version of an engine."""

    engine: str
    version: str
    names: frozenset[str]
    source: str
    """Where the names are from: `help` of the installed engine, or `known` to us."""

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def since(self, version: str) -> bool:
        """Whether this is `version` or a later one: for what changed its meaning and kept its name."""
        return _order(self.version) >= _order(version)

    def first(self, *names: str) -> str | None:
        """The first of `names` that there is, or None."""
        return next((name for name in names if name in self.names), None)


def asked(
    engine: str, version: str, argv: Sequence[str], env: Mapping[str, str], cache_file: Path | None = None
) -> Flags:
    """The flags in the help that `argv` prints; kept in `cache_file`, and read from there the next time.

    Falls back to the nearest version that we know when no help can be had (an engine that needs a GPU to say it).
    """
    if cache_file and (kept := _read(cache_file, version)):
        return Flags(engine, version, kept, "help")
    text = _help(argv, env)
    names = parse_help(text)
    if "--help" not in names and len(names) < 3:
        return known(engine, version)
    if cache_file:
        _write(cache_file, version, names)
    return Flags(engine, version, names, "help")


def parse_help(text: str) -> frozenset[str]:
    """The flags that a help text defines; flags that its sentences only mention are left out."""
    found = set(_USAGE.findall(text))
    for line in text.splitlines():
        if defined := _DEFINED.match(line):
            found.update(_FLAG.findall(_definition(defined[1])))
    return frozenset(found)


def known(engine: str, version: str | None = None) -> Flags:
    """The flags of `version`, or of the newest one before it that we know; without one, of the newest of all."""
    versions = known_versions(engine)
    fitting = [name for name in versions if version is None or _order(name) <= _order(version)]
    name = (fitting or versions[:1] if version else versions)[-1]
    data = json.loads((KNOWN / f"{engine}.json").read_bytes())
    return Flags(engine, name, frozenset(data[name]["flags"]), "known")


@cache
def known_versions(engine: str) -> tuple[str, ...]:
    """The versions whose flags we know, oldest first."""
    data = json.loads((KNOWN / f"{engine}.json").read_bytes())
    return tuple(sorted(data, key=_order))


def _definition(line: str) -> str:
    """The part of a line before the description: names and placeholders stand closer together than it."""
    parts = _DESCRIBED.split(line)
    # A rich table sets long name, short name and type apart; they all begin with a dash but the last.
    return " ".join(part for part in parts[:3] if part.startswith("-"))


def _help(argv: Sequence[str], env: Mapping[str, str]) -> str:
    # Wide, or a help in columns breaks the names over lines.
    added = {**env, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    try:
        done = subprocess.run(
            list(argv),
            env=scrubbed(os.environ, added),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _read(file: Path, version: str) -> frozenset[str] | None:
    try:
        kept = json.loads(file.read_bytes())
        return frozenset(kept["flags"]) if kept["version"] == version else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(file: Path, version: str, names: frozenset[str]) -> None:
    """Whole or not at all; a folder that is not ours to write only costs the next start some seconds."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        unfinished.write_text(json.dumps({"version": version, "flags": sorted(names)}, indent=1))
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
