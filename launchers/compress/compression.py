"""One compression: planned without starting anything, found among what was made before, or run now."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launchers import locks
from launchers.compress.cache import ModelCache, Produced
from launchers.compress.registry import get_tool
from launchers.compress.spec import CompressSpec
from launchers.compress.tool import Step, Workshop
from launchers.diagnosis import diagnose
from launchers.errors import CompressFailed
from launchers.gpus import visible_devices
from launchers.models import model_bytes, model_fingerprint
from launchers.process import ProcessTree
from launchers.scrub import scrubbed
from launchers.server import tail_of

PHASE = "compressing/compress"
GRACE = 3.0
"""Seconds that a tool gets to end by itself after SIGTERM: what it has made so far is thrown away."""
NEWS = 5.0
"""Seconds between two looks at its log."""
_NOT_IDENTITY = {"gpus", "timeout", "config"}  # the config counts by its content

Tell = Callable[[str, str, Mapping[str, Any]], None]
"""Told of every step: (phase, message, data)."""


@dataclass(frozen=True, slots=True)
class Leased:
    """GPUs for the tool, and descriptors of the locks that its processes hold for as long as they live."""

    gpus: tuple[int, ...] = ()
    held: tuple[int, ...] = ()

    def and_held(self, descriptor: int) -> Leased:
        """The same with one lock more."""
        return Leased(self.gpus, (*self.held, descriptor))


@dataclass(frozen=True, slots=True)
class Compression:
    """What will be done to which model, and where the result goes."""

    spec: CompressSpec
    source: Path
    source_fingerprint: str
    version: str | None
    key: str
    """Name and content: equal keys, equal models."""
    steps: tuple[Step, ...]
    output: Path
    """Where the tool puts it."""
    model: str
    """Path that will be served."""

    def describe(self, made: Produced | None, *, cached: bool) -> dict[str, Any]:
        """As the record and the plan show it; `made` when there is a model, `cached` when it was there before."""
        planned = {
            "source": str(self.source),
            "source_fingerprint": self.source_fingerprint,
            "tool": self.spec.tool,
            "version": self.version,
            "scheme": self.spec.scheme,
            "argv": [list(step.argv) for step in self.steps],
            "produced": self.model,
        }
        return {**planned, **(asdict(made) if made else {}), "cached": cached}

    def shell(self) -> str:
        """The commands as one line for a shell."""
        return " && ".join(["mkdir -p " + shlex.quote(str(self.output)), *(_shell(step) for step in self.steps)])


def plan_compression(spec: CompressSpec, source: Path, cache: ModelCache, workshop: Workshop) -> Compression:
    """Work out the commands and the place of the result. Reads the model's files up to 64 MB each.

    Raises: CompressorMissing; CompressFailed when there is no model in `source`.
    """
    tool = get_tool(spec.tool)
    fingerprint = model_fingerprint(source)
    if fingerprint is None:
        raise CompressFailed(f"there is no model to compress in {source}", hint="`serve.model` must be a folder here")
    identity = {
        "source": fingerprint,
        "spec": spec.model_dump(mode="json", exclude=_NOT_IDENTITY),
        "inputs": [model_fingerprint(path) for path in tool.inputs(spec)],
        "tool": tool.identity(spec, source, workshop),
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    key = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', source.name).lstrip('.') or 'model'}-{digest}"
    output = cache.scratch_output(key)
    return Compression(
        spec=spec,
        source=source,
        source_fingerprint=fingerprint,
        version=tool.version(workshop),
        key=key,
        steps=tool.steps(spec, source, output, workshop),
        output=output,
        model=str(cache.folder(key) / output.name / tool.produced(spec, source)),
    )


async def compress(
    work: Compression, cache: ModelCache, *, leased: Leased, log: Path, mark: str, tell: Tell
) -> tuple[Produced, bool]:
    """The model that `work` makes, and whether it was there already.

    Its processes carry `mark`, print to `log`, and hold the locks of what was leased for them.
    Two that want the same model make it once: the second waits. What a cancelled or failed run leaves is removed.

    Raises: CompressFailed, StartFailed.
    """
    lock = await _locked(cache.lock(work.key), mark, tell)
    try:
        if found := await asyncio.to_thread(cache.find, work.key):
            return found, True
        cache.scratch(work.key)
        began = time.monotonic()
        for index, step in enumerate(work.steps):
            tell(PHASE, f"step {index + 1} of {len(work.steps)}: {shlex.join(step.argv)}", {})
            await _run(step, work, leased.and_held(lock.fileno()), log, mark, tell)
        made = await asyncio.to_thread(_made, work, time.monotonic() - began, log)
        # Not in a thread: one that is cancelled goes on, beside the removal below.
        return cache.publish(work.key, made), False
    finally:
        cache.discard(work.key)
        lock.release()


async def _locked(path: Path, owner: str, tell: Tell) -> locks.Lock:
    waiting = False
    while True:
        try:
            return locks.take(path, owner)
        except locks.Held as held:
            if not waiting:
                tell(PHASE, f"the same model is being made by {held.owner}; waiting for it", {})
                waiting = True
        await asyncio.sleep(0.1)


async def _run(step: Step, work: Compression, leased: Leased, log: Path, mark: str, tell: Tell) -> None:
    devices = {"CUDA_VISIBLE_DEVICES": visible_devices(leased.gpus), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    env = scrubbed(os.environ, {**step.env, **devices})
    tree = await ProcessTree.start(step.argv, env=env, cwd=work.output, log=log, mark=mark, held=leased.held)
    try:
        tell(PHASE, f"process {tree.pid} started", {"pid": tree.pid})
        code = await _follow(tree, log, tell)
    finally:
        await tree.stop(GRACE)
    if code != 0:
        ending = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        raise _failed(work, f"{work.spec.tool} {ending}", log)


async def _follow(tree: ProcessTree, log: Path, tell: Tell) -> int:
    """Tell the log's last line now and then; the exit code."""
    ended = asyncio.create_task(tree.wait())
    told = ""
    try:
        while not ended.done():
            await asyncio.wait({ended}, timeout=NEWS)
            line = tail_of(log, 1).rsplit("\r", 1)[-1].strip()
            if line != told and not ended.done():
                tell(PHASE, line[:200], {})
                told = line
        return ended.result()
    finally:
        ended.cancel()


def _made(work: Compression, seconds: float, log: Path) -> Produced:
    produced = _servable(work.output / Path(work.model).relative_to(_published(work)))
    if produced is None:
        raise _failed(work, f"{work.spec.tool} left no model behind: no config.json with weights, no GGUF file", log)
    fingerprint = model_fingerprint(produced)
    assert fingerprint is not None  # it has files
    return Produced(
        source=str(work.source),
        source_fingerprint=work.source_fingerprint,
        tool=work.spec.tool,
        version=work.version,
        scheme=work.spec.scheme,
        argv=[list(step.argv) for step in work.steps],
        produced=str(produced),
        produced_fingerprint=fingerprint,
        seconds=round(seconds, 3),
        bytes_before=model_bytes(work.source),
        bytes_after=model_bytes(produced),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _published(work: Compression) -> Path:
    """The output folder after the rename."""
    return work.output.parent.parent / work.key / work.output.name


def _servable(place: Path) -> Path | None:
    """The GGUF file or the folder with config.json and weights that `place` is, or has in it."""
    if place.is_file():
        return place if _is_gguf(place) else None
    if (place / "config.json").is_file():
        weights = [file for kind in ("*.safetensors", "*.bin") for file in place.glob(kind)]
        return place if weights else None
    files = [file for file in place.glob("*.gguf") if _is_gguf(file)]
    return files[0] if len(files) == 1 else None


def _is_gguf(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"GGUF"


def _failed(work: Compression, what: str, log: Path) -> CompressFailed:
    said = diagnose(tail_of(log))
    message = f"{what}: {said.message}" if said else what
    hint = said.hint if said else f"read the log: {log}"
    return CompressFailed(message, hint=hint, log=log, command=work.shell())


def _shell(step: Step) -> str:
    variables = [f"{name}={shlex.quote(value)}" for name, value in sorted(step.env.items())]
    return f"env {' '.join(variables)} {shlex.join(step.argv)}" if variables else shlex.join(step.argv)
