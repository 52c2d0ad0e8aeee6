"""A storm of `kill -9` over a service and all that it started, and a watcher of who uses what meanwhile."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launchers import marker, shim
from orchestrator.deployment import DeploymentFolder
from tests.orchestrator.service.support import TERMINAL, Running, spec

GPUS = 8
KINDS = {"service": 20, "runner": 30, "engine": 25, "evaluator": 10, "owner": 15}
"""What is killed -> how often, of a hundred."""
SAMPLES = 10
"""Questions of each job."""


@dataclass
class Storm:
    """Kills so far, by what and by whom it hit."""

    service: Running
    dice: random.Random
    jobs: list[str] = field(default_factory=list)
    kills: list[tuple[str, str]] = field(default_factory=list)
    """(kind, job), the job empty for the service."""

    def submit(self, count: int) -> None:
        """Jobs of 1 to 8 GPUs, of unequal speed and priority; every seventh keeps its server warm."""
        for number in range(count):
            job = spec(
                *("--latency", f"{self.dice.uniform(0.05, 0.6):.2f}", "--load-time", f"{self.dice.uniform(0, 1):.2f}"),
                *("--workers", "2"),
                gpus=self.dice.choice([1, 1, 1, 2, 2, 3, 4, 8]),
                limit=SAMPLES,
                priority=self.dice.choice([0, 0, 0, 5]),
                keep_alive=1.0 if number % 7 == 6 else 0.0,
            )
            self.jobs.append(self.service.submit(job))

    def strike(self) -> None:
        """Kill one process; nothing where none but the service is there to be killed."""
        hit = {kind for kind, _ in self.kills}
        wanted = [kind for kind in KINDS if kind not in hit] or list(KINDS)  # each once before any is drawn again
        (first,) = self.dice.choices(wanted, [KINDS[kind] for kind in wanted])
        if first == "service":
            self._kill_service()
            return
        for kind in (first, *(kind for kind in KINDS if kind not in ("service", first))):
            if victims := list(self._victims(kind)):
                job, pid = self.dice.choice(victims)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.kills.append((kind, job))
                return

    def _kill_service(self) -> None:
        self.service.kill()
        self.kills.append(("service", ""))
        time.sleep(self.dice.uniform(0, 1))
        self.service.start()

    def hits(self, job: str) -> Counter[str]:
        """How often each kind of its processes was killed."""
        return Counter(kind for kind, hit in self.kills if hit == job)

    def living(self) -> list[str]:
        """Jobs that are not over."""
        return [job for job in self.jobs if not self.service.folder(job).read().state.terminal]

    def _victims(self, kind: str) -> Iterator[tuple[str, int]]:
        if kind == "owner":  # of a server that is kept alive
            owners = (DeploymentFolder(path).owner() for path in self.service.home.glob("deployments/*"))
            yield from (("", pid) for pid in owners if pid is not None)
            return
        for job in self.living():
            if kind == "runner":
                if (pid := self.service.runner(job)) is not None:
                    yield job, pid
            else:
                mark = f"{job}/engine-0" if kind == "engine" else f"{job}/straight-0"
                yield from ((job, process.pid) for process in marker.find(mark))


class Watcher:
    """Looks all the time which job's engines have which GPUs and ports, in the processes themselves."""

    def __init__(self, home: Path) -> None:
        self.clashes: list[str] = []
        self.looks = 0
        self.most = 0
        """GPUs in use at once, at most."""
        self._home = str(home)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self._look()

    def _look(self) -> None:
        owners: dict[str, set[str]] = {}
        for pid in shim.process_ids():
            engine = _engine(pid)
            if engine is None or self._home not in engine["cwd"]:
                continue
            for gpu in filter(None, engine["gpus"].split(",")):
                owners.setdefault(f"GPU {gpu}", set()).add(engine["owner"])
            owners.setdefault(f"port {engine['port']}", set()).add(engine["owner"])
        self.looks += 1
        self.most = max(self.most, sum(what.startswith("GPU") for what in owners))
        self.clashes += [f"{what} of {sorted(whose)}" for what, whose in owners.items() if len(whose) > 1]


def _engine(pid: int) -> dict[str, Any] | None:
    """What a living engine process has; None for any other process."""
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if "orchestrator.fake_engine" not in argv:
            return None
        pairs = (one.partition("=") for one in Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0"))
        environ = {name: value for name, _, value in pairs}
        return {
            "owner": environ[marker.VARIABLE].split("/")[0],
            "gpus": environ.get("CUDA_VISIBLE_DEVICES", ""),
            "port": argv[argv.index("--port") + 1],
            "cwd": str(Path(f"/proc/{pid}/cwd").readlink()),
        }
    except (OSError, KeyError, ValueError):  # it ended while we looked
        return None


def is_over(service: Running, job: str) -> bool:
    """Whether the service says so."""
    return service.job(job)["state"] in TERMINAL
