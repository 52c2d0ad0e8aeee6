"""The logs of a job, through the service."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterable

from clients.service import NotFound, ServiceClient, ServiceError
from orchestrator.cli.output import print_error

JOB_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")


def is_job(name: str) -> bool:
    """Whether it is the id of a job and no name of a deployment."""
    return JOB_ID.fullmatch(name) is not None


def print_logs(client: ServiceClient, job: str, component: str, *, follow: bool, tail: int | None) -> None:
    """Write every log whose name begins with `component` to standard output, one after the other.

    With `follow` all at once, line by line, until the job is over. Raises: ServiceError.
    """
    there = [log.name for log in client.logs(job)]
    names = [name for name in there if name.startswith(component)]
    if not names:
        hint = f"there are: {', '.join(there) or 'none yet'}"
        raise NotFound(f"job {job} has no log of `{component}`", hint=hint)
    if follow and len(names) > 1:
        _together(client, job, names, tail)
        return
    for name in names:
        for piece in client.log(job, name, follow=follow, tail=tail):
            sys.stdout.buffer.write(piece)
            sys.stdout.flush()


def _together(client: ServiceClient, job: str, names: list[str], tail: int | None) -> None:
    writing = threading.Lock()

    def copy(name: str) -> None:
        try:
            for line in _lines(client.log(job, name, follow=True, tail=tail)):
                with writing:
                    sys.stdout.buffer.write(line)
                    sys.stdout.flush()
        except ServiceError as error:
            print_error(error, as_json=False)

    # Daemons: Ctrl-C ends the command, whatever a log still has to say.
    threads = [threading.Thread(target=copy, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _lines(pieces: Iterable[bytes]) -> Iterable[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        if whole:
            yield b"\n".join(whole) + b"\n"
    if rest:
        yield rest + b"\n"
