"""A fake engine whose faults depend on which replica it is (its working folder tells) and on which start this is.

Replica 1 hangs after a while and replica 3 answers with 500s and half answers, both on their first start only; replica
2 is slow for ever; replica 0 is sound, until the test kills it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

SLOW = {2: ["--latency", "1.0"]}
FIRST = {
    1: ["--hang-after", "150"],
    # The seed spares the generation with which the orchestrator makes sure that it works.
    3: ["--error-rate", "0.5", "--truncate-rate", "0.45", "--seed", "81"],
}


def main() -> None:
    replica = int(Path.cwd().name.rpartition("-")[2])
    been_here = Path("been-here")
    more = SLOW.get(replica, ["--latency", "0.12"])
    if not been_here.exists():
        more = [*more, *FIRST.get(replica, [])]
    been_here.touch()
    os.execv(sys.executable, [sys.executable, "-m", "orchestrator.fake_engine", *sys.argv[1:], *more])


if __name__ == "__main__":
    main()
