"""A service in a process of its own, jobs sent to it as any client would, and what must be gone afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from orchestrator.job_folder import JobFolder
from orchestrator.record import State
from orchestrator.service.telling import next_event
from orchestrator.store.store import Store
from tests.orchestrator.support import FAKE, PLUGIN, ROWS, Cli, wait_for

TERMINAL = ("succeeded", "incomplete", "failed", "cancelled")


class Running:
    """The service of one home; `kill` and `start` again as often as wanted."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.settings = settings
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(timeout=30, trust_env=False)

    @property
    def url(self) -> str:
        return str(json.loads((self.home / "service.json").read_text())["url"])

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def launch(self) -> subprocess.Popen[bytes]:
        env = {
            **os.environ,
            "ORCHESTRATOR_HOME": str(self.home),
            "ORCHESTRATOR_SERVICE__PORT": "0",
            "PYTHONPATH": str(PLUGIN),
            **self.settings,
        }
        with (self.home / "service.log").open("ab") as log:
            serve = [sys.executable, "-m", "orchestrator", "serve"]
            # From elsewhere: what PYTHONPATH names comes before what is in the current folder.
            return subprocess.Popen(serve, env=env, cwd=self.home, stdout=log, stderr=log)

    def start(self) -> None:
        process = self.process = self.launch()

        def ready() -> bool:
            assert process.poll() is None, (self.home / "service.log").read_text()
            try:
                return json.loads((self.home / "service.json").read_text())["pid"] == process.pid and bool(
                    self.client.get(f"{self.url}/readyz").status_code == 200
                )
            except (OSError, ValueError, httpx.HTTPError):
                return False

        wait_for(ready, "a service that is ready", timeout=60)

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process and self.alive:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=30)

    def restart(self, **settings: str) -> None:
        self.stop()
        self.settings |= settings
        self.start()

    def disown(self, job: str, attempt: int) -> None:
        """While no service runs: put the job back into the queue, whatever its runner does."""
        store = Store.open(f"sqlite:///{self.home / 'service.db'}")
        row = store.job(job)
        assert row
        store.requeue(job, attempt, 0.0, next_event(row, State.QUEUED, "given up by the test"))
        store.close()

    def submit(self, spec: dict[str, Any]) -> str:
        answer = self.client.post(f"{self.url}/jobs", json=spec)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        answer = self.client.get(f"{self.url}/jobs/{job}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.client.post(f"{self.url}{path}", **body)

    def wait_state(self, job: str, *states: str, timeout: float = 90) -> dict[str, Any]:
        """The job as soon as it is in one of `states`."""

        def reached() -> dict[str, Any] | None:
            found = self.job(job)
            assert found["state"] in states or found["state"] not in TERMINAL, found
            return found if found["state"] in states else None

        return wait_for(reached, f"job {job} that is {' or '.join(states)}", timeout=timeout)

    def wait_end(self, job: str, timeout: float = 90) -> dict[str, Any]:
        return self.wait_state(job, *TERMINAL, timeout=timeout)

    def events(self, job: str) -> list[dict[str, Any]]:
        """All events of a job that is over, as they are streamed."""
        answer = self.client.get(f"{self.url}/jobs/{job}/events")
        return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]

    def folder(self, job: str) -> JobFolder:
        return JobFolder(self.home / "jobs" / job)

    def runner(self, job: str) -> int | None:
        """Process id of the runner that owns the job."""
        return self.folder(job).owner()

    def spares(self) -> list[int]:
        """Process ids of the runners that wait for a job."""
        found = subprocess.run(["pgrep", "-f", "orchestrator.attempt --spare"], capture_output=True, text=True)
        return [pid for pid in map(int, found.stdout.split()) if _home_of(pid) == str(self.home)]

    def left(self) -> list[str]:
        """Processes and locks of any job or deployment of this home."""
        return Cli(self.home).left()


def held(gate: Path, *engine: str, gpus: int = 1, asked: int = 2, limit: int = 5, **changes: Any) -> dict[str, Any]:
    """As `spec`, for a job that asks so many of its questions, and the others once the file `gate` is there."""
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()[:limit]]
    data = gate.with_suffix(".jsonl")
    rows[asked:] = [{**row, "asked_after": str(gate)} for row in rows[asked:]]
    data.write_text("\n".join(map(json.dumps, rows)))
    job = spec(*engine, gpus=gpus, concurrency=1, **changes)
    job["evaluate"][0] |= {"datasets": [str(data)], "limit": None}
    return job


@contextlib.contextmanager
def serving(folder: Path, environments: Path, **settings: str) -> Iterator[Running]:
    """A service with a home of its own and four declared GPUs, of which nothing is left at the end."""
    home = folder / "home"
    home.mkdir()
    (home / "environments").symlink_to(environments)
    running = Running(home, ORCHESTRATOR_GPUS="4", **settings)
    running.start()
    try:
        yield running
    finally:
        running.stop()
        running.client.close()
    wait_for(lambda: not running.left(), "home where nothing is left", timeout=30)


def spec(*engine: str, gpus: int = 1, limit: int = 5, concurrency: int = 2, **changes: Any) -> dict[str, Any]:
    """A job on the fake engine that needs so many GPUs."""
    return {
        "serve": {
            "engine": "custom",
            "model": "fake",
            "command": [*FAKE, *engine],
            "tensor_parallel": gpus,
        },
        "evaluate": [{"evaluator": "straight", "datasets": [str(ROWS)], "limit": limit, "concurrency": concurrency}],
        "probe": {"fidelity": {"enabled": False}},
        **changes,
    }


def _home_of(pid: int) -> str:
    try:
        environ = Path(f"/proc/{pid}/environ").read_text()
    except OSError:
        return ""
    return next((one[18:] for one in environ.split("\0") if one.startswith("ORCHESTRATOR_HOME=")), "")
