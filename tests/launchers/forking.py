"""A tree that never holds still: every 20 ms a sleeper in a session of its own, every 200 ms it moves on.

Usage: forking.py PIDFILE. Ends by itself after about 30 s, so that a failing test does not leave it for ever.
"""

import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for _ in range(10):
            if os.fork() == 0:
                os.setsid()
                note()
                time.sleep(max(0.0, end - time.monotonic()))
                os._exit(0)
            time.sleep(0.02)
        if os.fork() != 0:
            os._exit(0)
        os.setsid()
        note()


def note() -> None:
    with Path(sys.argv[1]).open("a") as file:
        file.write(f"{os.getpid()}\n")


if __name__ == "__main__":
    main()
