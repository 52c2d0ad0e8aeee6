"""Engine `sglang`: `python -m sglang.launch_server`, which every version has.

Facts that shape this module. `/health` generates a token and answers 503 until the server's own warm-up worked,
so it says more than elsewhere, and takes at least a second. The port of the workers is drawn at random unless it is
given. SIGTERM is noticed within 5 s and lets running requests finish. The model's generation config fills in
what a request leaves out unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from launchers.engine import Place, Readiness
from launchers.environments import Recipe
from launchers.flagged import Default, FlaggedEngine, Option, model_path
from launchers.flags import Flags
from launchers.gpus import discover
from launchers.spec import ServeSpec

_QUANTIZATIONS = {"w4a16": "compressed-tensors", "w8a8": "w8a8_int8"}
_KV_WORDS = {"fp8": "fp8_e5m2"}

OPTIONS = (
    Option("tensor_parallel", ("--tp-size", "--tensor-parallel-size")),
    Option("pipeline_parallel", ("--pp-size", "--pipeline-parallel-size"), "raise `tensor_parallel`"),
    Option("dtype", ("--dtype",)),
    Option("quantization", ("--quantization",), words=_QUANTIZATIONS),
    Option("kv_cache_dtype", ("--kv-cache-dtype",), words=_KV_WORDS),
    Option("memory_fraction", ("--mem-fraction-static",)),
    Option("max_total_tokens", ("--max-total-tokens",)),
    Option("max_model_len", ("--context-length",)),
    Option("max_concurrency", ("--max-running-requests",)),
    Option("chat_template", ("--chat-template",)),
    Option("trust_remote_code", ("--trust-remote-code",)),
)


class SglangEngine(FlaggedEngine):
    """SGLang from 0.4 on, on GPUs."""

    name: ClassVar[str] = "sglang"
    honours: ClassVar[frozenset[str]] = frozenset({"seed", "nccl_port", "extra_args"})
    reasons: ClassVar[Mapping[str, str]] = {
        "max_input_len": "SGLang limits input and output together: use `max_model_len`",
    }
    needs_gpu: ClassVar[bool] = True
    needs_nccl_port: ClassVar[bool] = True
    readiness: ClassVar[Readiness] = Readiness(health_path="/health", lists_model=True)
    stop_grace: ClassVar[float] = 40.0
    concurrency: ClassVar[int] = 64
    sampling_defaults: ClassVar[Mapping[str, Any]] = {"top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0}

    @property
    def recipe(self) -> Recipe | None:
        """From PyPI, for CUDA; without a GPU it can only be planned with."""
        here = discover(None).driver is not None
        return Recipe(
            name="sglang",
            requirements=Path(__file__).parent.parent / "requirements" / "sglang.txt",
            check="import sglang.srt.server_args",
            size="14 GB",
            other="sglang=={version}",
            time="5 to 15 minutes",
            note="" if here else "no NVIDIA driver here: SGLang can be installed and planned with, but not started",
        )

    def options(self, flags: Flags) -> tuple[Option, ...]:
        """The same names since 0.4."""
        return OPTIONS

    def head(self, spec: ServeSpec, place: Place, flags: Flags) -> tuple[str, ...]:
        """Model, address, seed (random at each start unless given), the port between the workers."""
        nccl = ("--nccl-port", str(place.nccl_port)) if place.nccl_port and "--nccl-port" in flags else ()
        return (
            *(str(place.python), "-m", "sglang.launch_server", "--model-path", model_path(spec)),
            *("--served-model-name", spec.served_name, "--host", place.host, "--port", str(place.port)),
            *("--random-seed", str(spec.seed), *nccl),
        )

    def defaults_for(self, spec: ServeSpec, flags: Flags) -> tuple[Default, ...]:
        """Nothing of the model's generation config; figures about the load; no log line per request."""
        return (
            Default("--sampling-defaults", "openai", "the model's generation config changes no request"),
            Default("--enable-metrics", None, "the server tells how many requests run and wait"),
            Default("--log-level-http", "warning", "no log line per request"),
        )

    def help_command(self, python: Path | None) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """Works without a GPU."""
        return (str(python), "-m", "sglang.launch_server", "--help"), {}
