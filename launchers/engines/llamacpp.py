"""Engine `llamacpp`: llama.cpp's own `llama-server` where there is one, else the server of llama-cpp-python.

Facts that shape this module. Both serve one GGUF file. llama-server opens its port before the model is loaded
and answers 503 on `/health` until then; llama-cpp-python has no health path and loads first. llama-cpp-python
runs one request at a time and by default cuts a streaming answer short when the next request comes. Both fill
in a temperature of 0.8, top_k 40, top_p 0.95; llama-cpp-python also a repeat penalty of 1.1.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from launchers.engine import Place, Readiness, Refusal
from launchers.environments import Environment, Recipe
from launchers.flagged import Default, FlaggedEngine, Option, local_folder
from launchers.flags import Flags, asked
from launchers.spec import ServeSpec

PROGRAM = "llama-server"
SERVER_ONLY = "--ctx-size"
"""A flag by which the two programs are told apart."""

SLOTS = 4
"""Requests that llama-server runs at once when the spec says how long one may get, but not how many."""

_ONE = "llama.cpp runs one process here; use vllm, lmdeploy, lightllm or sglang for several GPUs"
_IN_FILE = "is a property of the GGUF file: quantize it when it is made and name that file in `model`"
_KV_WORDS = {"fp16": "f16", "float16": "f16", "float32": "f32", "bfloat16": "bf16", "q8_0": "q8_0", "q4_0": "q4_0"}


class LlamaCppEngine(FlaggedEngine):
    """One GGUF file on GPUs when some are leased, else on the processor."""

    name: ClassVar[str] = "llamacpp"
    honours: ClassVar[frozenset[str]] = frozenset({"seed", "extra_args", "max_model_len", "max_concurrency"})
    reasons: ClassVar[Mapping[str, str]] = {
        "tensor_parallel": _ONE,
        "pipeline_parallel": _ONE,
        "dtype": _IN_FILE,
        "quantization": _IN_FILE,
        "memory_fraction": "llama.cpp takes what `max_model_len` needs; lower that",
        "max_total_tokens": "use `max_model_len` times `max_concurrency`",
        "max_input_len": "llama.cpp limits input and output together: use `max_model_len`",
        "nccl_port": "llama.cpp has no such communication",
    }
    needs_gpu: ClassVar[bool] = False
    stop_grace: ClassVar[float] = 10.0
    concurrency: ClassVar[int] = 4
    sampling_defaults: ClassVar[Mapping[str, Any]] = {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
    }

    @property
    def recipe(self) -> Recipe | None:
        """None where `llama-server` is on the PATH: nothing needs to be installed."""
        if shutil.which(PROGRAM):
            return None
        return Recipe(
            name="llamacpp",
            requirements=Path(__file__).parent.parent / "requirements" / "llamacpp.txt",
            check="import llama_cpp.server.app",
            size="0.2 GB",
            other="llama-cpp-python[server]=={version}",
            time="8 to 15 minutes, it is compiled",
            distribution="llama-cpp-python",
            note="" if shutil.which("c++") or shutil.which("g++") else "needs a C++ compiler, which is not here",
        )

    def refusals(self, spec: ServeSpec, flags: Flags | None = None) -> list[Refusal]:
        """Also refuses a model that is not a GGUF file, and several requests at once where only one can run."""
        found = super().refusals(spec, flags)
        server = SERVER_ONLY in flags if flags else shutil.which(PROGRAM) is not None
        if (spec.max_concurrency or 1) > 1 and not server:
            found.append(
                Refusal("max_concurrency", "llama-cpp-python runs one request at a time; install llama-server")
            )
        path = local_folder(spec)
        if path is None or path.suffix == ".gguf" or _only_gguf(path):
            return found
        return [*found, Refusal("model", f"llama.cpp serves a GGUF file, and {path} is none; convert the model first")]

    def options(self, flags: Flags) -> tuple[Option, ...]:
        """Of llama-server; llama-cpp-python has neither a word for the cache's type nor for a template's file."""
        instead = "install llama-server"
        return (
            Option("kv_cache_dtype", ("--cache-type-k",), instead, words=_KV_WORDS),
            Option("chat_template", ("--chat-template-file",), instead),
        )

    def flags(self, environment: Environment | None) -> Flags | None:
        """Of `llama-server`, which answers at once, or of the installed environment."""
        if program := _program(environment.python if environment else None):
            return asked(PROGRAM, "0", (program, "--help"), {})
        return super().flags(environment)

    def head(self, spec: ServeSpec, place: Place, flags: Flags) -> tuple[str, ...]:
        """The two programs' words for the same."""
        layers = "999" if place.gpus else "0"
        address = ("--host", place.host, "--port", str(place.port))
        if SERVER_ONLY in flags:
            return (
                *(_program(place.python) or PROGRAM, "--model", _file(spec), "--alias", spec.served_name),
                *(*address, "--seed", str(spec.seed), "--n-gpu-layers", layers, *_server_sizes(spec)),
            )
        length = str(spec.max_model_len or 0)  # 0: as long as the model was trained for
        return (
            *(str(place.python), "-m", "llama_cpp.server", "--model", _file(spec), "--model_alias", spec.served_name),
            *(*address, "--seed", str(spec.seed), "--n_gpu_layers", layers, "--n_ctx", length),
        )

    def defaults_for(self, spec: ServeSpec, flags: Flags) -> tuple[Default, ...]:
        """No answer cut short by the next request; figures about the load."""
        return (
            Default("--interrupt_requests", "false", "a streaming answer is not cut short when a request arrives"),
            Default("--metrics", None, "the server tells how many requests run and wait"),
            Default("--no-webui", None, "no web page"),
        )

    def notes(self, spec: ServeSpec, flags: Flags) -> tuple[str, ...]:
        """Which of the two it is, and what it cannot do."""
        if SERVER_ONLY in flags:
            return ("llama-server: prompts are not scored (`echo` is refused)",)
        return ("llama-cpp-python: one request runs at a time, whatever the concurrency",)

    def readiness_for(self, spec: ServeSpec) -> Readiness:
        """llama-server answers on `/health`; for llama-cpp-python the list of models is all there is."""
        return Readiness(health_path="/v1/models", lists_model=True)

    def no_prompt_scores(self, spec: ServeSpec, flags: Flags | None = None) -> str:
        """llama-cpp-python scores prompts when it keeps the logits of all tokens; llama-server refuses `echo`."""
        if flags and SERVER_ONLY in flags:
            return "llama-server refuses `echo`; use llama-cpp-python, vllm or sglang"
        if any(argument.startswith("--logits_all") for argument in spec.extra_args):
            return ""
        return 'llama-cpp-python does with `extra_args: [--logits_all, "true"]`; without, use vllm or sglang'

    def help_command(self, python: Path | None) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """Of llama-cpp-python."""
        return (str(python), "-m", "llama_cpp.server", "--help"), {}


def _server_sizes(spec: ServeSpec) -> tuple[str, ...]:
    """Slots share the context evenly, so it is made as many times as large as one request may need."""
    slots = spec.max_concurrency or (SLOTS if spec.max_model_len else 1)
    length = (spec.max_model_len or 0) * slots
    return (*("--parallel", str(slots)), *("--ctx-size", str(length)))


def _program(python: Path | None) -> str | None:
    beside = python.parent / PROGRAM if python else None
    return str(beside) if beside and os.access(beside, os.X_OK) else shutil.which(PROGRAM)


def _file(spec: ServeSpec) -> str:
    path = local_folder(spec)
    return str((_only_gguf(path) if path and path.is_dir() else path) or spec.model)


def _only_gguf(folder: Path) -> Path | None:
    found = sorted(folder.glob("*.gguf")) if folder.is_dir() else []
    return found[0] if len(found) == 1 else None
