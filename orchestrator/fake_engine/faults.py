"""What the fake engine is told to do, and which request meets which fault.

Everything is decided by hashes, never by a generator with a state: the same options give the same run,
whatever the order in which requests overtake each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path


class Fault(StrEnum):
    """What happens to one generation request."""

    ERROR = "error"
    """`Faults.error_status` with an error body."""
    EMPTY = "empty"
    """200 with an empty text."""
    ERROR_BODY = "error_body"
    """200 whose body is `{"error": ...}`."""
    TRUNCATE = "truncate"
    """Half of the answer, then the connection is closed."""
    FINISH_ERROR = "finish_error"
    """200 with half of the text and `finish_reason` "error"."""
    RESET = "reset"
    """The connection is reset, nothing is answered."""
    HANG = "hang"
    """No answer, ever; the connection stays open."""
    CRASH = "crash"
    """The process ends on the spot."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast it answers."""

    slots: int = 256
    """Generations at once; the others wait."""
    latency: float = 0.0
    """Seconds before the first token (the median, with a sigma)."""
    latency_sigma: float = 0.0
    """Sigma of the log-normal latency; 0: always the same."""
    tokens_per_second: float = 0.0
    """Tokens per second of one generation; 0: all at once."""
    prefix_cache: int = 0
    """How many prefixes of prompts are remembered, which makes the first token come sooner; 0: none."""

    def delay(self, seed: int, number: int) -> float:
        """Seconds that generation `number` waits before its first token."""
        if not self.latency_sigma:
            return self.latency
        # Box-Muller: a standard normal from two uniform shares.
        radius = math.sqrt(-2.0 * math.log(1.0 - share(seed, "radius", number)))
        return self.latency * math.exp(self.latency_sigma * radius * math.cos(math.tau * share(seed, "angle", number)))


@dataclass(frozen=True, slots=True)
class Startup:
    """What happens before it is ready."""

    load_time: float = 0.0
    """Seconds of loading."""
    early: bool = False
    """True: the port opens at once and `/health` is 503 until loaded. False: the port opens after loading."""
    health_early: str | None = None
    """`/health` is 200 while loading, and generations meanwhile `fail` (503) or `hang` (until loaded)."""
    noise: int = 0
    """Bytes of log written while loading."""
    exit_code: int | None = None
    """Instead of becoming ready, exit with this code."""
    load_log: str = ""
    """Text logged just before `exit_code` or `hang`."""
    hang: bool = False
    """Instead of becoming ready, log a traceback and stay for ever, port closed."""
    bind_only: bool = False
    """Instead of becoming ready, stay for ever with the port bound and nobody listening."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong while serving. Generation requests are counted from 1, in order of arrival."""

    fail_first: int = 0
    """The first N generations fail."""
    error_status: int = 500
    """HTTP status of failures."""
    fail_prompts: float = 0.0
    """Share of prompts that fail every time."""
    empty_prompts: float = 0.0
    """Share of prompts that are answered with nothing every time."""
    rates: tuple[tuple[Fault, float], ...] = ()
    """Share of requests that meet each fault."""
    hang_after: int | None = None
    """From this generation on, no generation is ever answered."""
    crash_after: int | None = None
    """At this generation, the process ends."""
    crash_signal: int | None = None
    """End by this signal; None: by exit code 1."""
    close_idle: float | None = None
    """Seconds after which an idle keep-alive connection is closed."""


@dataclass(frozen=True, slots=True)
class Lies:
    """Where answers are not what was asked for, with status 200."""

    ignore_stop: bool = False
    one_token_stops: bool = False
    """Only stop strings that are one token end a text; the others are dropped, as LMDeploy does."""
    keep_stop: bool = False
    """The text ends with the stop string."""
    ignore_max_tokens: bool = False
    nondeterministic: bool = False
    """The same prompt gets another text each time."""
    extra_bos: bool = False
    """Every prompt is one token longer than it should be."""
    max_model_len: int | None = None
    """Tokens of the longest prompt; longer ones are refused. None: no limit."""
    answer_overlong: bool = False
    """They are answered all the same."""


@dataclass(frozen=True, slots=True)
class Processes:
    """The process tree, and how it takes SIGTERM."""

    workers: int = 0
    """Child processes that only sleep."""
    detached_worker: bool = False
    """One more, outside the session and the process group, that ignores SIGTERM."""
    ignore_sigterm: bool = False
    """The root ignores every SIGTERM."""
    ignore_first_sigterm: bool = False
    """The root ignores the first SIGTERM."""


@dataclass(frozen=True, slots=True)
class Options:
    """Everything the fake engine is told."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0: any free one; the ready line says which."""
    model: str = "fake"
    """Served model name."""
    answers: Path | None = None
    """JSON lines with `question` and `answer`."""
    wrong_rate: float = 0.0
    """Share of the questions in `answers` that are answered with a wrong number."""
    seed: int = 0
    pace: Pace = field(default_factory=Pace)
    startup: Startup = field(default_factory=Startup)
    faults: Faults = field(default_factory=Faults)
    lies: Lies = field(default_factory=Lies)
    logprobs: bool = False
    """Give log-probabilities where they are asked for; else refuse."""
    processes: Processes = field(default_factory=Processes)
    timings: Path | None = None
    """File to write when each answer's tokens really left; None: none."""


def fault_of(faults: Faults, seed: int, number: int, prompt: str) -> Fault | None:
    """The fault that generation `number` (from 1) with `prompt` meets; None: it is answered."""
    if faults.crash_after is not None and number >= faults.crash_after:
        return Fault.CRASH
    if faults.hang_after is not None and number >= faults.hang_after:
        return Fault.HANG
    if number <= faults.fail_first:
        return Fault.ERROR
    of_prompt = ((Fault.ERROR, faults.fail_prompts), (Fault.EMPTY, faults.empty_prompts))
    return _drawn(of_prompt, seed, "prompt", prompt) or _drawn(faults.rates, seed, "request", number)


def share(seed: int, what: str, key: object) -> float:
    """A number in [0, 1) that depends on nothing but the arguments."""
    digest = blake2b(f"{seed}:{what}:{key}".encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return int.from_bytes(digest, "big") / (1 << 56)


def _drawn(rates: tuple[tuple[Fault, float], ...], seed: int, what: str, key: object) -> Fault | None:
    """One draw over all rates, so that their shares add up instead of hiding each other."""
    if not any(rate for _, rate in rates):
        return None
    drawn, upper = share(seed, what, key), 0.0
    for fault, rate in rates:
        upper += rate
        if drawn < upper:
            return fault
    return None
