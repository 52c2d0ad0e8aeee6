"""A runner of its own: starts ARGV as a process tree, prints what it knows as JSON lines, waits for its end.

Usage: runner_child.py FOLDER MARK LEASED_PORT ARGV...   (LEASED_PORT 0: no lease)
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from launchers.ports import lease_port
from launchers.process import ProcessTree


async def main() -> None:
    folder, mark, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    leases = [lease_port(folder, owner="runner_child", wanted=port)] if port else []
    tree = await ProcessTree.start(
        sys.argv[4:],
        env=dict(os.environ),
        cwd=folder,
        log=folder / "log",
        mark=mark,
        held=[lease.fileno() for lease in leases],
    )
    print(json.dumps({"root": tree.pid}), flush=True)
    print(json.dumps({"exit_code": await tree.wait()}), flush=True)
    await tree.stop(0.5)


if __name__ == "__main__":
    asyncio.run(main())
