"""Takes and gives back leases in a process of its own.

Usage: leaser.py ports FOLDER N        lease N ports and listen, print them, hold them until its input ends
       leaser.py gpus FOLDER GPUS N    N times: lease 2 of GPUS declared GPUs, log the begin and the end
"""

import os
import socket
import sys
import time
from pathlib import Path

from launchers.errors import GpuUnavailable
from launchers.gpus import discover, lease_gpus
from launchers.ports import lease_port


def main() -> None:
    kind, folder, numbers = sys.argv[1], Path(sys.argv[2]), [int(text) for text in sys.argv[3:]]
    if kind == "ports":
        hold_ports(folder, *numbers)
    else:
        use_gpus(folder, *numbers)


def hold_ports(folder: Path, count: int) -> None:
    kept = []
    for _ in range(count):
        # A narrow range, so that the workers meet.
        lease = lease_port(folder, owner="worker", ports=range(17000, 17120))
        server = socket.create_server(("127.0.0.1", lease.port))
        kept.append((lease, server))
    print(*[lease.port for lease, _ in kept], flush=True)
    sys.stdin.read()


def use_gpus(folder: Path, total: int, rounds: int) -> None:
    inventory = discover(total, {})
    done = 0
    with (folder / "uses").open("a") as log:
        while done < rounds:
            try:
                lease = lease_gpus(folder, inventory, owner="worker", count=2)
            except GpuUnavailable:
                time.sleep(0.002)
                continue
            with lease:
                write(log.fileno(), "begin", lease.indices)
                time.sleep(0.003)
                write(log.fileno(), "end", lease.indices)
            done += 1


def write(log: int, event: str, indices: tuple[int, ...]) -> None:
    os.write(log, "".join(f"{event} {index}\n" for index in indices).encode())


if __name__ == "__main__":
    main()
