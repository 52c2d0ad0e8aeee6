"""Engine `lmdeploy`: `lmdeploy serve api_server`, from 0.2 to 0.18, with the TurboMind or the PyTorch backend.

Facts that shape this module. TurboMind falls back to PyTorch silently for a model that it does not know. The
PyTorch backend on several GPUs starts a Ray cluster unless told otherwise. Up to 0.5 the name of the model
chooses the chat template. Since 0.15 the model's generation config fills in what a request leaves out. TurboMind
at temperature 0 still draws among 50 tokens with equal logits: `top_k: 1` is greedy. Stop strings of more than
one token are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from launchers.engine import Place, Readiness, Refusal
from launchers.environments import Recipe
from launchers.flagged import Default, FlaggedEngine, Option, model_path
from launchers.flags import Flags
from launchers.gpus import discover
from launchers.spec import ServeSpec

NAME_IS_TEMPLATE = "--cap"
"""A flag of the versions in which the name of the model chooses its chat template."""

_FORMATS = {"none": "hf", "hf": "hf", "awq": "awq", "w4a16": "awq", "gptq": "gptq", "fp8": "fp8", "mxfp4": "mxfp4"}
_FORMATS_MORE = {"compressed-tensors": "compressed-tensors", "llama": "llama"}
_POLICIES = {"none": "0", "int4": "4", "int8": "8", "fp8": "16", "fp8_e4m3": "16", "fp8_e5m2": "17"}


class LmdeployEngine(FlaggedEngine):
    """LMDeploy's server; `extra_args: [--backend, pytorch]` chooses the backend."""

    name: ClassVar[str] = "lmdeploy"
    honours: ClassVar[frozenset[str]] = frozenset(
        {"nccl_port", "extra_args", "tensor_parallel", "quantization", "kv_cache_dtype"}
    )
    reasons: ClassVar[Mapping[str, str]] = {
        "pipeline_parallel": "LMDeploy has no pipeline parallelism: raise `tensor_parallel`, or use vllm",
        "max_total_tokens": "LMDeploy sizes its cache by memory: use `memory_fraction`",
        "max_input_len": "LMDeploy limits input and output together: use `max_model_len`",
        "seed": "LMDeploy has no seed of its own: send `seed` with the requests (`generation`)",
    }
    needs_gpu: ClassVar[bool] = True
    needs_nccl_port: ClassVar[bool] = True
    stop_grace: ClassVar[float] = 20.0
    concurrency: ClassVar[int] = 64
    prompt_scores_reason: ClassVar[str] = (
        "its completions accept `echo` and `logprobs` and return neither; use vllm or sglang"
    )
    sampling_defaults: ClassVar[Mapping[str, Any]] = {"top_p": 1.0, "repetition_penalty": 1.0}
    greedy_defaults: ClassVar[Mapping[str, Any]] = {"top_k": 1}

    @property
    def recipe(self) -> Recipe | None:
        """From PyPI, for CUDA; without a GPU it can only be planned with."""
        here = discover(None).driver is not None
        return Recipe(
            name="lmdeploy",
            requirements=Path(__file__).parent.parent / "requirements" / "lmdeploy.txt",
            check="import lmdeploy.cli.serve",
            size="8 GB",
            other="lmdeploy=={version}",
            time="5 to 10 minutes",
            note="" if here else "no NVIDIA driver here: LMDeploy can be installed and planned with, but not started",
        )

    def options(self, flags: Flags) -> tuple[Option, ...]:
        """In the order of LMDeploy's own examples, which the head continues."""
        return (
            Option("dtype", ("--dtype",), "LMDeploy takes the checkpoint's own before 0.5"),
            Option("memory_fraction", ("--cache-max-entry-count",)),
            Option("max_model_len", ("--session-len",)),
            Option("max_concurrency", ("--max-batch-size",)),
            Option("chat_template", ("--chat-template",)),
            *_trust(flags),
        )

    def refusals(self, spec: ServeSpec, flags: Flags | None = None) -> list[Refusal]:
        """Also refuses a number of GPUs that is no power of two, words that it does not know, and float32."""
        found = super().refusals(spec, flags)
        if spec.tensor_parallel & (spec.tensor_parallel - 1):
            found.append(Refusal("tensor_parallel", f"must be a power of two for LMDeploy, not {spec.tensor_parallel}"))
        if spec.dtype == "float32":
            found.append(Refusal("dtype", "LMDeploy computes in float16 or bfloat16; use transformers or vllm"))
        found.extend(_unknown_word("quantization", spec.quantization, {**_FORMATS, **_FORMATS_MORE}))
        if spec.kv_cache_dtype != "auto":
            found.extend(_unknown_word("kv_cache_dtype", spec.kv_cache_dtype, _POLICIES))
        return found

    def head(self, spec: ServeSpec, place: Place, flags: Flags) -> tuple[str, ...]:
        """Model, formats, address, GPUs: as LMDeploy's guide writes it."""
        words = {**_FORMATS, **_FORMATS_MORE}
        format_ = ("--model-format", words[spec.quantization]) if spec.quantization else ()
        policy = ("--quant-policy", _POLICIES[spec.kv_cache_dtype]) if spec.kv_cache_dtype != "auto" else ()
        return (
            *(str(place.python), "-m", "lmdeploy", "serve", "api_server", model_path(spec), *format_, *policy),
            *("--server-name", place.host, "--server-port", str(place.port), "--tp", str(spec.tensor_parallel)),
            *(("--model-name", spec.served_name) if _names(spec, flags) else ()),
        )

    def defaults_for(self, spec: ServeSpec, flags: Flags) -> tuple[Default, ...]:
        """Nothing of the model's generation config, and no Ray behind our back."""
        neutral = Default("--generation-config", "lmdeploy", "the model's generation config changes no request")
        if spec.gpus_per_replica == 1:
            return (neutral,)
        why = "several GPUs with the PyTorch backend start no Ray cluster"
        return (neutral, Default("--distributed-executor-backend", "mp", why))

    def environment(self, spec: ServeSpec, place: Place) -> Mapping[str, str]:
        """Where the PyTorch backend's workers meet, and that they are plain processes in versions without the flag."""
        if spec.gpus_per_replica == 1:
            return super().environment(spec, place)
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(place.nccl_port)} if place.nccl_port else {}
        return {**super().environment(spec, place), **meeting, "LMDEPLOY_EXECUTOR_BACKEND": "mp"}

    def notes(self, spec: ServeSpec, flags: Flags) -> tuple[str, ...]:
        """What this version does that nobody asked for."""
        found = ["stop strings of more than one token are ignored by LMDeploy; they are applied behind it"]
        if not _names(spec, flags):
            found.append(
                f"LMDeploy {flags.version} names the model after its chat template: say which in `served_model_name`"
            )
        if not _trust(flags) and not spec.trust_remote_code:
            found.append(f"LMDeploy {flags.version} runs the model's own code whatever `trust_remote_code` says")
        return tuple(found)

    def readiness_for(self, spec: ServeSpec) -> Readiness:
        """The list of models is looked at only where the user chose the name: old versions choose another."""
        return Readiness(health_path="/health", lists_model=spec.served_model_name is not None)

    def help_command(self, python: Path | None) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """Works without a GPU."""
        return (str(python), "-m", "lmdeploy", "serve", "api_server", "--help"), {}


def _names(spec: ServeSpec, flags: Flags) -> bool:
    return NAME_IS_TEMPLATE not in flags or spec.served_model_name is not None


def _trust(flags: Flags) -> tuple[Option, ...]:
    """Before 0.16 there is no such flag, and the model's code is always run."""
    return (Option("trust_remote_code", ("--trust-remote-code",)),) if "--trust-remote-code" in flags else ()


def _unknown_word(field: str, value: str | None, words: Mapping[str, str]) -> Sequence[Refusal]:
    if value is None or value in words:
        return ()
    return (Refusal(field, f"LMDeploy knows {', '.join(sorted(words))}, not {value!r}"),)
