"""From `POST /jobs` to the engine's process, and what an idle service costs.

Jobs on the fake engine, one after the other; each is cancelled as soon as its engine's process runs. Beside it the same
for a burst, of which only the first job finds a process that waits with everything imported. Times in milliseconds;
memory is the proportional set size, processor time a share of one core.

    python benchmarks/service_latency.py [--jobs N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from orchestrator.assignment import read_address

PAUSE = 1.5  # seconds after a job, in which the next spare process begins
IDLE = 10.0  # seconds of idleness
BURST = 4


@contextmanager
def service(home: Path) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    env = {**os.environ, "ORCHESTRATOR_HOME": str(home), "ORCHESTRATOR_SERVICE__PORT": "0", "ORCHESTRATOR_GPUS": "8"}
    with (home / "service.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "orchestrator", "serve"], env=env, stdout=log, stderr=log)
    try:
        yield _connected(home, process), process
    finally:
        process.terminate()
        process.wait()


def measure(client: httpx.Client, count: int) -> list[float]:
    """Milliseconds from the request to the start of the engine's process, of each of `count` jobs sent at once."""
    sent = []
    for _ in range(count):
        began = time.time()
        sent.append((str(client.post("/jobs", json=_spec()).raise_for_status().json()["id"]), began))
    found = [1000 * (_engine_began(client, job) - began) for job, began in sent]
    for job, _ in sent:
        client.post(f"/jobs/{job}/cancel")
    for job, _ in sent:
        while client.get(f"/jobs/{job}").json()["state"] != "cancelled":
            time.sleep(0.05)
    time.sleep(PAUSE)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--jobs", type=int, default=10)
    jobs = options.parse_args().jobs
    with tempfile.TemporaryDirectory() as folder, service(Path(folder)) as (client, process):
        time.sleep(PAUSE)
        alone = sorted(one for _ in range(jobs) for one in measure(client, 1))
        burst = sorted(measure(client, BURST))
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        print(f"POST to engine process, alone: p50 {statistics.median(alone):.0f}, max {alone[-1]:.0f}, {jobs} jobs")
        print(f"POST to engine process, {BURST} at once: {', '.join(f'{one:.0f}' for one in burst)}")
        for name, one in (("service", psutil.Process(process.pid)), ("spare", _spare(process.pid))):
            before = one.cpu_times()
            time.sleep(IDLE)
            after = one.cpu_times()
            used = after.user + after.system - before.user - before.system
            print(f"idle {name}: {one.memory_full_info().pss / 2**20:.0f} MB, {100 * used / IDLE:.1f}% of a core")


def _connected(home: Path, process: subprocess.Popen[bytes]) -> httpx.Client:
    while process.poll() is None:
        address = read_address(home)
        try:
            if address and httpx.get(f"{address.url}/readyz", trust_env=False).status_code == httpx.codes.OK:
                return httpx.Client(base_url=address.url, trust_env=False, timeout=30)
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise SystemExit((home / "service.log").read_text())


def _spec() -> dict[str, Any]:
    command = ["{python}", "-m", "orchestrator.fake_engine", "--port", "{port}", "--load-time", "60"]
    return {
        "serve": {"engine": "custom", "model": "fake", "command": command},
        "evaluate": [{"evaluator": "speed"}],
    }


def _engine_began(client: httpx.Client, job: str) -> float:
    with client.stream("GET", f"/jobs/{job}/events") as events:
        for line in events.iter_lines():
            if line.startswith("data: ") and '"pid"' in line:
                return datetime.fromisoformat(line.split('"time":"')[1].split('"')[0]).timestamp()
    raise SystemExit(f"job {job} started no engine: {client.get(f'/jobs/{job}').text}")


def _spare(service: int) -> psutil.Process:
    living = (child for child in psutil.Process(service).children() if child.status() != psutil.STATUS_ZOMBIE)
    return next(child for child in living if "--spare" in child.cmdline())


if __name__ == "__main__":
    main()
