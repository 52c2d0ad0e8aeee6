"""Many servers that start at once on one machine share no port and no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from launchers.flags import known

SERVERS = 4
ROUNDS = 20
ALLOCATOR = """
import json, sys
from pathlib import Path
from launchers.spec import ServeSpec
from orchestrator.allocation import allocate
from orchestrator.leases import Leases
from orchestrator.settings import Settings

home, number = Path(sys.argv[1]), sys.argv[2]
settings = Settings(home=home, gpus=16)
spec = ServeSpec(engine="lightllm", model="/models/llama", tensor_parallel=2, replicas=2)
for line in sys.stdin:
    with Leases(settings, f"server-{number}") as leases:
        allocation = allocate(spec, leases, home / number)
        print(json.dumps(allocation.describe()), flush=True)
        sys.stdin.readline()
"""


def test_four_servers_of_two_replicas_and_two_gpus_each_never_clash_in_twenty_starts(tmp_path: Path) -> None:
    """16 declared GPUs, all of them taken every time; each server allocates in a process of its own."""
    adopt_an_engine(tmp_path)
    servers = [start_allocator(tmp_path, number) for number in range(SERVERS)]
    try:
        for _ in range(ROUNDS):
            check(round_of(servers))
    finally:
        for server in servers:
            server.communicate("", timeout=20)
    assert [server.returncode for server in servers] == [0] * SERVERS


def adopt_an_engine(home: Path) -> None:
    """An environment that stands for one with LightLLM: nothing is started, its interpreter is only named."""
    folder = home / "environments" / "lightllm-adopted"
    folder.mkdir(parents=True)
    ready = {"name": "lightllm", "created": "", "requirements_hash": "", "packages": {"lightllm": "1.2.0"}}
    (folder / "READY.json").write_text(json.dumps({**ready, "python": sys.executable}))
    (folder / "flags-lightllm.json").write_text(
        json.dumps({"version": "1.2.0", "flags": sorted(known("lightllm", "1.2.0").names)})
    )
    (folder.parent / "lightllm").symlink_to(folder.name)


def start_allocator(home: Path, number: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", ALLOCATOR, str(home), str(number)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def round_of(servers: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """Let all of them allocate at once, and give everything back when the last one has."""
    tell(servers)
    found = [json.loads(read(server)) for server in servers]
    tell(servers)
    return found


def tell(servers: list[subprocess.Popen[str]]) -> None:
    for server in servers:
        assert server.stdin
        server.stdin.write("\n")
        server.stdin.flush()


def read(server: subprocess.Popen[str]) -> str:
    assert server.stdout
    return server.stdout.readline()


def check(found: list[dict[str, Any]]) -> None:
    replicas = [replica for one in found for replica in one["replicas"]]
    gpus = [gpu for replica in replicas for gpu in replica["gpus"]]
    assert sorted(gpus) == list(range(16))
    ports = [one["gateway_port"] for one in found]
    ports += [replica[name] for replica in replicas for name in ("port", "nccl_port")]
    assert len(set(ports)) == len(ports) == SERVERS * (1 + 2 * 2)
    for replica in replicas:
        argv = replica["argv"]
        assert argv[argv.index("--port") + 1] == str(replica["port"])
        assert argv[argv.index("--nccl_port") + 1] == str(replica["nccl_port"])
        assert replica["env"]["CUDA_VISIBLE_DEVICES"] == ",".join(map(str, replica["gpus"]))
