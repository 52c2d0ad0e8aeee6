"""`guard.py REPORT COMMAND...`: run a command without a network and within limits, and say what of it holds.

REPORT becomes `{"network": false, "memory_bytes": ..., "processes": ..., ...}`: `network` is true where the kernel does
not let us take it away, `processes` null where nothing holds their number (for root). The command may write wherever
its user may: nothing is hidden from it but the network.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from pathlib import Path

MEMORY = 8 << 30
"""Bytes of data that each process may hold."""
FILE_SIZE = 1 << 30
"""Bytes of each file that may be written."""
PROCESSES = 512
"""Processes and threads; the scoring itself takes a few dozen."""
_NEW_USER = 0x10000000
_NEW_NETWORK = 0x40000000


def main(report: str, *command: str) -> None:
    """Become the command."""
    network = not without_network()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    root = os.getuid() == 0
    if not root:
        resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
    held = {"network": network, "memory_bytes": MEMORY, "file_bytes": FILE_SIZE}
    Path(report).write_text(json.dumps({**held, "processes": None if root else PROCESSES}))
    os.execvp(command[0], command)


def without_network() -> bool:
    """Move this process into a network of its own, where there is nothing; whether that was allowed."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NETWORK) == 0:
        return True
    if libc.unshare(_NEW_USER | _NEW_NETWORK) != 0:
        return False
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
