"""Engine `lightllm`: `python -m lightllm.server.api_server`, from the versions of early 2024 to those of 2026.

Facts that shape this module. When the model cannot be loaded the launcher stays for ever, its port closed: only
the log tells. Its shared memory and sockets lie in /dev/shm and /tmp under a name that it prints, and stay there
after an abnormal end. Up to 1.1 every server used port 28765 between its workers unless told otherwise. SIGTERM
lets requests finish for up to 60 s. `/v1/models` came late in 2025, and any name is taken for the model. The
model's generation config fills in what a request leaves out, and no flag turns that off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from launchers.engine import Diagnosis, Place, Readiness
from launchers.environments import Recipe
from launchers.flagged import FlaggedEngine, Option, model_path
from launchers.flags import Flags
from launchers.spec import ServeSpec

_FAILED_LOAD = re.compile(r"init func (start_\w+) : (?!init ok)(.*)")
_NAME = re.compile(r"zmq mode head: ipc:///tmp/_(\w+?)_?\s*$", re.MULTILINE)

# The modes of 2024, which quantize while loading; the kernels of 1.0 and 1.1; today's, whose int4 needs an AWQ
# checkpoint.
_MODES = {"w4a16": "triton_w4a16", "int4": "triton_w4a16", "w8a16": "triton_w8a16", "w8a8": "ppl_w8a8"}
_KERNELS = {"w4a16": "ao-int4wo-128", "int4": "ao-int4wo-128", "w8a16": "ao-int8wo", "w8a8": "vllm-w8a8"}
_KERNELS_FP8 = {"fp8": "vllm-fp8w8a8", "none": "none"}
_TODAY = {"awq": "awq", "w4a16": "awq", "awq_marlin": "awq_marlin", "w8a8": "w8a8", "fp8": "fp8w8a8", "none": "none"}
_KV_MODES = {"int8": "triton_int8kv", "fp8": "triton_fp8kv"}
_KV_TODAY = {"int8": "int8kv", "int4": "int4kv", "fp8": "fp8kv_sph", "none": "None"}


class LightllmEngine(FlaggedEngine):
    """LightLLM; it is not on PyPI, so an environment that has it is adopted."""

    name: ClassVar[str] = "lightllm"
    honours: ClassVar[frozenset[str]] = frozenset({"nccl_port", "extra_args"})
    reasons: ClassVar[Mapping[str, str]] = {
        "pipeline_parallel": "LightLLM has no pipeline parallelism: raise `tensor_parallel`, or use vllm",
        "seed": "LightLLM has no seed of its own: send `seed` with the requests (`generation`)",
    }
    needs_gpu: ClassVar[bool] = True
    needs_nccl_port: ClassVar[bool] = True
    readiness: ClassVar[Readiness] = Readiness(health_path="/health", lists_model=False)
    stop_grace: ClassVar[float] = 70.0
    concurrency: ClassVar[int] = 64
    prompt_scores_reason: ClassVar[str] = "its completions give null for the prompt's tokens; use vllm or sglang"
    sampling_defaults: ClassVar[Mapping[str, Any]] = {"top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0}
    greedy_defaults: ClassVar[Mapping[str, Any]] = {"do_sample": False}

    @property
    def recipe(self) -> Recipe | None:
        """Nothing that pip could install: PyPI's `lightllm` is an empty placeholder."""
        return Recipe(
            name="lightllm",
            requirements=None,
            check="import lightllm.server",
            size="20 GB",
            time="by hand",
            note="not on PyPI: install it from its git source, or start its image with engine `custom`",
            by_hand="install LightLLM from https://github.com/ModelTC/lightllm into an environment of its own and name"
            " its interpreter: orchestrator install lightllm --python PATH;"
            " or start the image ghcr.io/modeltc/lightllm with engine `custom`",
        )

    def options(self, flags: Flags) -> tuple[Option, ...]:
        """In the order of LightLLM's own examples; the words for quantization depend on the version."""
        return (
            Option(
                "max_input_len",
                ("--max_req_input_len",),
                "since November 2024 only input plus output is limited: use `max_model_len`",
            ),
            Option("max_model_len", ("--max_req_total_len",)),
            Option("tensor_parallel", ("--tp",)),
            Option("trust_remote_code", ("--trust_remote_code",)),
            Option("max_total_tokens", ("--max_total_token_num",)),
            Option("memory_fraction", ("--mem_fraction",), "use `max_total_tokens`"),
            Option("max_concurrency", ("--running_max_req_size",)),
            Option("dtype", ("--data_type",)),
            *_quantization(flags),
            Option("chat_template", ("--chat_template",), "put the template into the model's tokenizer_config.json"),
        )

    def head(self, spec: ServeSpec, place: Place, flags: Flags) -> tuple[str, ...]:
        """Model, address, the port between the workers."""
        named = ("--model_name", spec.served_name) if "--model_name" in flags else ()
        return (
            *(str(place.python), "-m", "lightllm.server.api_server", "--model_dir", model_path(spec), *named),
            *("--host", place.host, "--port", str(place.port), "--nccl_port", str(place.nccl_port)),
        )

    def environment(self, spec: ServeSpec, place: Place) -> Mapping[str, str]:
        """Weights loaded by several threads, a log that can be read; a file of it beside the others."""
        return {
            **super().environment(spec, place),
            "LOADWORKER": "8",
            "LIGHTLLM_LOG_LEVEL": "info",
            "LIGHTLLM_LOG_DIR": str(place.folder),
        }

    def notes(self, spec: ServeSpec, flags: Flags) -> tuple[str, ...]:
        """What cannot be turned off."""
        clipped = "a request whose `max_tokens` does not fit is shortened silently"
        cached = "prefix caching is on: a shared prefix is computed once (`--disable_dynamic_prompt_cache`)"
        return (
            "`/v1/completions` adds no BOS token",
            *((cached,) if "--disable_dynamic_prompt_cache" in flags else ()),
            *((clipped,) if "--llm_kv_type" in flags else ()),
        )

    def help_command(self, python: Path | None) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """Works without a GPU."""
        return (str(python), "-m", "lightllm.server.api_server", "--help"), {}

    def hopeless(self, log: str) -> Diagnosis | None:
        """A part of the server failed to start, and the launcher now waits for ever."""
        failed = _FAILED_LOAD.search(log)
        if failed is None:
            return None
        return Diagnosis(
            "engine_exited",
            f"LightLLM's {failed[1]} failed and its launcher waits for ever: {failed[2][:200]}",
            "read the traceback in the log",
        )

    def leftovers(self, log: str) -> frozenset[Path]:
        """Shared memory, sockets and locks that carry the name which this server printed."""
        patterns = [
            (folder, f"{prefix}{name}_*")
            for name in set(_NAME.findall(log))
            for folder, prefix in (("/dev/shm", ""), ("/tmp", "_"), ("/tmp", ""))
        ]
        return frozenset(found for folder, pattern in patterns for found in Path(folder).glob(pattern))


def _quantization(flags: Flags) -> tuple[Option, ...]:
    """Weights and cache: one flag `--mode` for both in 2024, `--quant_type` and `--mode`, then two flags."""
    if "--llm_kv_type" in flags:
        return (
            Option("quantization", ("--quant_type",), words=_TODAY),
            Option("kv_cache_dtype", ("--llm_kv_type",), words=_KV_TODAY),
        )
    kv = Option("kv_cache_dtype", ("--mode",), words=_KV_MODES)
    if "--quant_type" in flags:
        return (Option("quantization", ("--quant_type",), words={**_KERNELS, **_KERNELS_FP8}), kv)
    return (Option("quantization", ("--mode",), words=_MODES), kv)
