"""Every error that `launchers` raises.

    LaunchError                  catch this one around anything that starts or stops an engine
    ├── SpecRefused              an engine cannot honour fields of the spec (before anything started)
    ├── PortInUse                a port is taken or leased, nothing answers on it
    ├── ForeignServer            something that is not ours answers on the port
    ├── GpuUnavailable           fewer GPUs than asked for, or the named ones are leased
    ├── EngineMissing            the engine's environment is not installed
    ├── InstallFailed            an isolated environment could not be built
    ├── CompressorMissing        the compression tool is not installed
    ├── CompressFailed           the compression tool did not leave a whole model behind
    ├── StartFailed              the process could not be started at all
    └── EngineFailed             the engine exited or its log says that it never will be ready

Each has a stable `code` (contract section 2), a message that says what happened to what, and a `hint`
that says what to do next.
"""

from __future__ import annotations

from pathlib import Path


class LaunchError(Exception):
    """Something about starting, watching or stopping an engine went wrong."""

    code = "engine_exited"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class SpecRefused(LaunchError):
    """The engine cannot honour a field of the spec."""

    code = "bad_engine_argument"


class PortInUse(LaunchError):
    """The port is leased by another server of ours, or bound by a process that does not answer."""

    code = "port_in_use"


class ForeignServer(LaunchError):
    """A process that is not ours answers on the port."""

    code = "foreign_server"


class GpuUnavailable(LaunchError):
    """The GPUs asked for do not exist here or are leased."""

    code = "gpu_unavailable"


class EngineMissing(LaunchError):
    """The engine is not installed here."""

    code = "engine_missing"


class InstallFailed(LaunchError):
    """An isolated environment could not be built."""

    code = "install_failed"


class CompressorMissing(LaunchError):
    """The compression tool is not installed here."""

    code = "compressor_missing"


class CompressFailed(LaunchError):
    """The compression tool did not leave a whole model behind; `log` and `command` tell more when there are any."""

    code = "compress_failed"

    def __init__(self, message: str, *, hint: str = "", log: Path | None = None, command: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.log = log
        self.command = command


class StartFailed(LaunchError):
    """The operating system refused to start the command."""

    code = "bad_engine_argument"


class EngineFailed(LaunchError):
    """The engine's process ended, or its log says that it will never be ready.

    `code` is the diagnosis (`out_of_memory`, `model_not_found`, ...), `engine_exited` when the log tells nothing.
    """

    code = "engine_exited"
