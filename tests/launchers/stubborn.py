"""A program of three processes that ignore SIGTERM, each of which writes a line with its pid to a file.

    root ── child                          same group
         ╌╌ grandchild                     own session, two forks away: its parent is not in the tree any more

Usage: stubborn.py PIDFILE [--obey | --exit CODE]
  --obey       all three end at SIGTERM
  --exit CODE  the root ends by itself, the other two stay
"""

import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    pidfile, options = sys.argv[1], sys.argv[2:]
    if "--obey" not in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        stay(pidfile)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            stay(pidfile)
        os._exit(0)
    if "--exit" in options:
        note(pidfile)
        while lines(pidfile) < 3:
            time.sleep(0.01)
        sys.exit(int(options[options.index("--exit") + 1]))
    stay(pidfile)


def stay(pidfile: str) -> None:
    note(pidfile)
    time.sleep(60)  # an end of its own, so that a test that fails does not leave it for ever
    os._exit(0)


def note(pidfile: str) -> None:
    with Path(pidfile).open("a") as file:
        file.write(f"{os.getpid()}\n")


def lines(pidfile: str) -> int:
    with Path(pidfile).open() as file:
        return len(file.readlines())


if __name__ == "__main__":
    main()
