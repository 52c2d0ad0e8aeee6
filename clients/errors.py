"""Every error that `clients` raises.

    ClientError                  catch this one around anything that talks to an engine
    ├── NotReady                 the engine did not become ready
    │   ├── StartupTimeout       not ready within `startup_timeout`
    │   ├── StartupStalled       no new log line and no change for `stall_timeout`
    │   ├── ForeignListener      something that is not ours listens on the port
    │   └── ProbeFailed          it listens, but a real generation did not come back
    ├── EngineUnresponsive       it was ready, and now neither traffic nor a generation succeeds
    ├── NoReplica                no replica is ready and none will come
    ├── UpstreamError            one request to one replica failed below HTTP (refused, reset, cut, timed out)
    ├── ServiceError             the service did not do what it was asked; its tree: clients/service/errors.py
    ├── TokenizerUnusable        a model's tokenizer or chat template cannot be used here
    └── JournalError             the answer journal cannot be read or written

Each has a stable `code` (contract section 2), a message that says what happened to what, and a `hint`
that says what to do next.
"""

from __future__ import annotations

from typing import Literal

Cause = Literal["refused", "reset", "cut", "timeout"]


class ClientError(Exception):
    """Something about talking to an engine went wrong."""

    code = "engine_unresponsive"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotReady(ClientError):
    """The engine did not become ready."""

    code = "startup_timeout"


class StartupTimeout(NotReady):
    """Not ready within `startup_timeout`."""

    code = "startup_timeout"


class StartupStalled(NotReady):
    """No new log line and no change of state for `stall_timeout`."""

    code = "startup_stalled"


class ForeignListener(NotReady):
    """Something that is not ours listens on the port."""

    code = "foreign_server"


class ProbeFailed(NotReady):
    """The server answers, but a real generation did not come back."""

    code = "probe_failed"


class EngineUnresponsive(ClientError):
    """The engine was ready, and now neither traffic nor a generation succeeds."""

    code = "engine_unresponsive"


class NoReplica(ClientError):
    """No replica is ready and none will come."""

    code = "engine_unresponsive"


class UpstreamError(ClientError):
    """One request to one replica failed below HTTP.

    `cause` says how: `refused` (no connection), `reset` (closed before a byte of the answer), `cut` (closed
    or garbled in the middle of it) or `timeout` (open, but not a byte for the time allowed).
    """

    code = "engine_unresponsive"

    def __init__(self, message: str, *, cause: Cause, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.cause: Cause = cause


class TokenizerUnusable(ClientError):
    """A model's tokenizer or chat template cannot be used here."""

    code = "tokenizer_unusable"


class JournalError(ClientError):
    """The answer journal cannot be read or written."""

    code = "journal_unusable"
