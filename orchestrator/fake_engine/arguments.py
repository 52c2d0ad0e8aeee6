"""The options of `orchestrator fake-engine`, as users meet them in `--help`."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable
from pathlib import Path

from orchestrator.fake_engine.prefixes import LENGTH


def parser_of(prog: str) -> argparse.ArgumentParser:
    """The parser, its options in groups. It refuses bad values; bad combinations are the caller's."""
    parser = argparse.ArgumentParser(
        prog=prog,
        usage="%(prog)s [options]",
        allow_abbrev=False,
        description="A server that looks like an inference engine and is none: it answers the OpenAI API and "
        "LightLLM's /generate with made-up or planted texts. For trying the tool without a GPU, and for "
        "seeing what happens when an engine misbehaves. The same options give the same run: faults are drawn "
        "from --seed and the number of the request, or its prompt.",
        epilog="R is a share from 0 to 1; S are seconds; BYTES takes KB and MB (1000, 1000000).",
    )
    for add in (_add_server, _add_answers, _add_pace, _add_startup, _add_faults, _add_lies, _add_processes):
        add(parser)
    return parser


def _add_server(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("server").add_argument
    add("--host", default="127.0.0.1", metavar="IP", help="address to listen on (default: %(default)s)")
    add(
        "--port",
        type=_whole(0, 65535),
        default=8000,
        metavar="N",
        help="port; 0 takes a free one, which the ready line names (default: %(default)s)",
    )
    add("--model", default="fake", metavar="NAME", help="served model name (default: %(default)s)")
    add("--tp", type=_whole(1), metavar="N", help="accepted and ignored")
    add("--nccl-port", type=_whole(0, 65535), metavar="P", help="accepted and ignored")


def _add_answers(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("answers").add_argument
    add(
        "--answers",
        type=Path,
        metavar="FILE.jsonl",
        help="rows with `question` and `answer`: a prompt that holds a question gets its answer, so a known "
        "score can be planted; of several questions the last one counts",
    )
    add("--logprobs", action="store_true", help="give log-probabilities (without it asking for them is a 400)")
    add(
        "--wrong-rate",
        type=_share,
        default=0.0,
        metavar="R",
        help="share of these questions with a wrong number",
    )
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="what is drawn is drawn from this (default: %(default)s)",
    )


def _add_pace(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("pace").add_argument
    add(
        "--slots",
        type=_whole(1),
        default=256,
        metavar="N",
        help="generations at once, the others wait (default: %(default)s)",
    )
    add("--latency", type=_seconds, default=0.0, metavar="S", help="time before the first token")
    add(
        "--latency-sigma",
        type=_seconds,
        default=0.0,
        metavar="X",
        help="sigma of a log-normal around --latency",
    )
    add("--tokens-per-second", type=_seconds, default=0.0, metavar="X", help="per generation; 0: all at once")
    add(
        "--prefix-cache",
        type=_whole(0),
        default=0,
        metavar="N",
        help=f"remember the last N different prefixes ({LENGTH} characters) of prompts: a known one takes a tenth of "
        "--latency; counted in /metrics",
    )
    add(
        "--timings",
        type=Path,
        metavar="FILE.jsonl",
        help="write when each request arrived and each of its tokens left, by the machine's monotonic clock",
    )


def _add_startup(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("start-up").add_argument
    add("--load-time", type=_seconds, default=0.0, metavar="S", help="time until it is ready")
    add(
        "--listen",
        choices=("early", "late"),
        default="late",
        help="early: the port opens at once, /health is 503 until loaded; late (default): opens when loaded",
    )
    add(
        "--health-early",
        nargs="?",
        const="fail",
        choices=("fail", "hang"),
        help="/health and /v1/models say 200 while loading; generations meanwhile fail (503, the default) or "
        "hang until loaded",
    )
    add("--noise", type=_size, default=0, metavar="BYTES", help="log that much to stdout before it is ready")
    add("--exit-on-load", type=_whole(0, 255), metavar="CODE", help="exit instead of becoming ready")
    add(
        "--hang-on-load",
        action="store_true",
        help="log a traceback instead of becoming ready and stay, port closed, for ever (as LightLLM does)",
    )
    add("--load-log", metavar="TEXT|FILE", help="what the two above write, e.g. an out-of-memory traceback")
    add("--bind-only", action="store_true", help="bind the port and never listen (as vLLM does while loading)")


def _add_faults(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group(
        "faults while serving",
        "Generations are counted from 1, the probe's included. One request meets one fault.",
    ).add_argument
    add("--fail-first", type=_whole(0), default=0, metavar="N", help="the first N generations fail")
    add("--error-rate", type=_share, default=0.0, metavar="R", help="share of requests that fail")
    add("--fail-prompts", type=_share, default=0.0, metavar="R", help="share of prompts that fail every time")
    add(
        "--error-status",
        type=_whole(400, 599),
        metavar="CODE",
        help="status of the three above (default: 500)",
    )
    add("--empty-rate", type=_share, default=0.0, metavar="R", help="200 with an empty text")
    add(
        "--empty-prompts",
        type=_share,
        default=0.0,
        metavar="R",
        help="share of prompts that always get an empty text",
    )
    add("--error-body-rate", type=_share, default=0.0, metavar="R", help='200 with {"error": ...}')
    add(
        "--truncate-rate",
        type=_share,
        default=0.0,
        metavar="R",
        help="half of the answer, then the connection closes",
    )
    add(
        "--finish-error-rate",
        type=_share,
        default=0.0,
        metavar="R",
        help='half of the text, finish_reason "error"',
    )
    add("--reset-rate", type=_share, default=0.0, metavar="R", help="the connection is reset")
    add("--hang-after", type=_whole(1), metavar="N", help="no answer from generation N on; /health stays 200")
    add(
        "--crash-after",
        type=_whole(1),
        metavar="N",
        help="the process ends at generation N; its workers stay",
    )
    add(
        "--crash-signal",
        type=_signal,
        metavar="N",
        help="... by this signal, 9 for instance (default: exit code 1)",
    )
    add("--close-idle", type=_seconds, metavar="S", help="close keep-alive connections that were idle so long")


def _add_lies(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("answers that are not what was asked for").add_argument
    add("--ignore-stop", action="store_true", help="stop strings end nothing")
    add("--one-token-stops", action="store_true", help="stop strings of several tokens end nothing")
    add("--keep-stop", action="store_true", help="a text ends with its stop string")
    add("--ignore-max-tokens", action="store_true", help="texts are as long as they come")
    add("--nondeterministic", action="store_true", help="the same prompt gets another text each time")
    add("--extra-bos", action="store_true", help="every prompt counts one token more")
    add("--max-model-len", type=_whole(1), metavar="N", help="listed; longer prompts are refused with 400")
    add("--answer-overlong", action="store_true", help="... or answered all the same")


def _add_processes(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("processes").add_argument
    add("--workers", type=_whole(0), default=0, metavar="N", help="child processes that only sleep")
    add(
        "--detached-worker",
        action="store_true",
        help="a worker in a session of its own that ignores SIGTERM; its pid is logged, only SIGKILL ends it",
    )
    add("--ignore-sigterm", action="store_true", help="the root ignores SIGTERM")
    add("--ignore-first-sigterm", action="store_true", help="the root ignores the first SIGTERM")


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if value < least or (most is not None and value > most):
            limits = f"at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"must be {limits}, not {value}")
        return value

    read.__name__ = "whole number"  # argparse names the type by it
    return read


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a share from 0 to 1, not {text}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return value


def _size(text: str) -> int:
    number = text.upper().removesuffix("B").strip()
    unit = {"K": 1_000, "M": 1_000_000}.get(number[-1:], 1)
    value = float(number.rstrip("KM"))
    if not 0 <= value * unit < 1e12:
        raise argparse.ArgumentTypeError(f"must be a size such as 300KB or 1MB, not {text}")
    return int(value * unit)


def _signal(text: str) -> int:
    try:
        return signal.Signals(int(text)).value
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"no such signal: {text}") from error
