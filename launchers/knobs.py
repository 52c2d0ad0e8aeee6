"""Which fields of the spec change how much memory an engine needs, and which way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Knobs:
    """What to turn, as the end of a sentence."""

    too_little: str
    """The engine asked the GPU for more than there is."""
    cache_too_small: str
    """The GPU has room, but the engine may not use enough of it for its key-value cache."""


_GENERAL = Knobs(
    "lower `memory_fraction` or `max_total_tokens`, shorten `max_model_len`, or raise `tensor_parallel`",
    "raise `memory_fraction`, shorten `max_model_len`, or raise `tensor_parallel`",
)
_BY_ENGINE: Mapping[str, Knobs] = {
    "lightllm": Knobs(
        "lower `max_total_tokens` or `memory_fraction`, shorten `max_model_len`, or raise `tensor_parallel`",
        "raise `max_total_tokens` or `memory_fraction`, or shorten `max_model_len`",
    ),
    "lmdeploy": Knobs(
        "lower `memory_fraction` (a share of the memory that is free after loading), `max_concurrency`,"
        " or raise `tensor_parallel`",
        "raise `memory_fraction`, lower `max_concurrency`, or raise `tensor_parallel`",
    ),
    "vllm": Knobs(
        "lower `memory_fraction`, `max_concurrency` or `max_model_len`, or raise `tensor_parallel`",
        "raise `memory_fraction` (on a processor: `env: {VLLM_CPU_KVCACHE_SPACE: GiB}`),"
        " shorten `max_model_len`, or raise `tensor_parallel`",
    ),
    "sglang": Knobs(
        "lower `memory_fraction` or `max_concurrency`, or raise `tensor_parallel`",
        "raise `memory_fraction` or `tensor_parallel`",
    ),
    "transformers": Knobs(
        "choose a 16-bit `dtype` or `quantization: int4`, or an engine that spreads over several GPUs",
        "choose an engine with a paged cache",
    ),
    "llamacpp": Knobs(
        "shorten `max_model_len`, lower `max_concurrency`, or use a file with fewer bits",
        "shorten `max_model_len`",
    ),
}


def knobs_of(engine: str) -> Knobs:
    """The knobs of an engine, in general terms for one that we do not know."""
    return _BY_ENGINE.get(engine, _GENERAL)
