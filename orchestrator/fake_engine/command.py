"""`orchestrator fake-engine`: from the command line to what the engine is told, and what makes no sense."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.fake_engine.answers import AnswerBook, AnswersError, read_book
from orchestrator.fake_engine.arguments import parser_of
from orchestrator.fake_engine.faults import Fault, Faults, Lies, Options, Pace, Processes, Startup
from orchestrator.fake_engine.startup import live

_RATES = {
    "error_rate": Fault.ERROR,
    "empty_rate": Fault.EMPTY,
    "error_body_rate": Fault.ERROR_BODY,
    "truncate_rate": Fault.TRUNCATE,
    "finish_error_rate": Fault.FINISH_ERROR,
    "reset_rate": Fault.RESET,
}


def main(argv: Sequence[str], prog: str = "orchestrator fake-engine") -> int:
    """Run the command with `argv` (without the program's name). Returns the exit code.

    Raises: SystemExit(2) for a bad command line, SystemExit(0) after `--help`.
    """
    parser = parser_of(prog)
    given = parser.parse_args(argv)
    problems = list(_problems(given))
    if problems:
        parser.error("; ".join(problems))
    options = _options(given)
    try:
        return live(options, _book(options))
    except AnswersError as error:
        parser.error(f"--answers: {error}")


def _book(options: Options) -> AnswerBook:
    if options.answers is None:
        return AnswerBook()
    return read_book(options.answers, wrong_rate=options.wrong_rate, seed=options.seed)


def _options(given: argparse.Namespace) -> Options:
    log = given.load_log or ""
    return Options(
        host=given.host,
        port=given.port,
        model=given.model,
        answers=given.answers,
        wrong_rate=given.wrong_rate,
        seed=given.seed,
        pace=Pace(given.slots, given.latency, given.latency_sigma, given.tokens_per_second, given.prefix_cache),
        startup=Startup(
            load_time=given.load_time,
            early=given.listen == "early",
            health_early=given.health_early,
            noise=given.noise,
            exit_code=given.exit_on_load,
            load_log=_text_or_file(log),
            hang=given.hang_on_load,
            bind_only=given.bind_only,
        ),
        faults=Faults(
            fail_first=given.fail_first,
            error_status=500 if given.error_status is None else given.error_status,
            fail_prompts=given.fail_prompts,
            empty_prompts=given.empty_prompts,
            rates=tuple((fault, getattr(given, name)) for name, fault in _RATES.items()),
            hang_after=given.hang_after,
            crash_after=given.crash_after,
            crash_signal=given.crash_signal,
            close_idle=given.close_idle,
        ),
        lies=Lies(
            ignore_stop=given.ignore_stop,
            one_token_stops=given.one_token_stops,
            keep_stop=given.keep_stop,
            ignore_max_tokens=given.ignore_max_tokens,
            nondeterministic=given.nondeterministic,
            extra_bos=given.extra_bos,
            max_model_len=given.max_model_len,
            answer_overlong=given.answer_overlong,
        ),
        logprobs=given.logprobs,
        processes=Processes(given.workers, given.detached_worker, given.ignore_sigterm, given.ignore_first_sigterm),
        timings=given.timings,
    )


def _problems(given: argparse.Namespace) -> Iterator[str]:
    """Everything that is wrong with the combination, not only the first."""
    ends = [name for name in ("exit_on_load", "hang_on_load", "bind_only") if _set(given, name)]
    if len(ends) > 1:
        yield f"{_flags(ends)} exclude each other: a start-up ends in one way"
    if given.listen == "early" and {"hang_on_load", "bind_only"} & set(ends):
        yield f"{_flags(ends)} keeps the port closed: not with --listen early"
    if given.bind_only and (given.load_time or given.noise):
        yield "--bind-only never loads: not with --load-time or --noise"
    if given.health_early and not (given.listen == "early" and given.load_time):
        yield "--health-early needs --listen early and a --load-time"
    if given.load_log and not {"exit_on_load", "hang_on_load"} & set(ends):
        yield "--load-log needs --exit-on-load or --hang-on-load"
    if given.ignore_sigterm and given.ignore_first_sigterm:
        yield "--ignore-sigterm and --ignore-first-sigterm exclude each other"
    if given.ignore_stop and given.keep_stop:
        yield "--ignore-stop and --keep-stop exclude each other"
    if given.answer_overlong and given.max_model_len is None:
        yield "--answer-overlong needs --max-model-len"
    if given.latency_sigma and not given.latency:
        yield "--latency-sigma needs --latency"
    if given.wrong_rate and given.answers is None:
        yield "--wrong-rate needs --answers"
    if given.crash_signal is not None and given.crash_after is None:
        yield "--crash-signal needs --crash-after"
    if given.error_status is not None and not (given.fail_first or given.error_rate or given.fail_prompts):
        yield "--error-status needs --error-rate, --fail-first or --fail-prompts"
    for names in (tuple(_RATES), ("fail_prompts", "empty_prompts")):
        if sum(getattr(given, name) for name in names) > 1 + 1e-9:
            yield f"{_flags([name for name in names if _set(given, name)])} add up to more than 1"


def _set(given: argparse.Namespace, name: str) -> bool:
    return getattr(given, name) not in (None, False, 0.0) or (name == "exit_on_load" and given.exit_on_load is not None)


def _flags(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _text_or_file(text: str) -> str:
    """The file's text if there is such a file. (A text that cannot be a file's name is an OSError too.)"""
    try:
        return Path(text).read_text(errors="replace").rstrip("\n") if text else ""
    except (OSError, ValueError):
        return text
