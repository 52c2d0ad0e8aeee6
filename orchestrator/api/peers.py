"""Which user of this machine is at the other end of a loopback connection, as the kernel knows it. Linux."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path

Address = tuple[str, int]
_UID, _INODE = 7, 9


def user_of(client: Address, server: Address, tables: Path = Path("/proc/net")) -> int | None:
    """User id behind `client` of a connection to `server`, both on this machine; None when the kernel does not tell.

    It does not once the client has closed its end: the table then says 0, which is no user but would read as root.
    """
    table = tables / ("tcp6" if ":" in client[0] else "tcp")
    wanted = (_coded(client), _coded(server))
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return None
    fields = (line.split() for line in lines)
    found = next((parts for parts in fields if (parts[1], parts[2]) == wanted), None)
    return None if found is None or found[_INODE] == "0" else int(found[_UID])


def is_this_user(uid: int | None) -> bool:
    """Whether `uid` may do what this process may: our own user, or root."""
    return uid is not None and uid in (os.getuid(), 0)


def _coded(address: Address) -> str:
    """As the kernel prints it: 32-bit words in the machine's own byte order, then the port, in hex."""
    packed = ipaddress.ip_address(address[0]).packed
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{address[1]:04X}"
