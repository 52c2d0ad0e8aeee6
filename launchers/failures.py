"""The table of failures: how each reads in an engine's log, what it means, what to do.

The wordings are those of the engines' own sources and logs (vLLM 0.6 to 0.33, SGLang 0.5, LMDeploy 0.2 to 0.18,
LightLLM 1.0, llama.cpp of 2026, transformers 4.57 to 5.23, PyTorch 2). Particular ones first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from launchers.knobs import Knobs

Hint = Callable[[re.Match[str], Knobs], str]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of failure."""

    code: str
    """Failure code of the contract."""
    regex: re.Pattern[str]
    message: str
    hint: str | Hint


def _pattern(code: str, regex: str, message: str, hint: str | Hint) -> Pattern:
    return Pattern(code, re.compile(regex, re.IGNORECASE), message, hint)


def _fits_free_memory(found: re.Match[str], knobs: Knobs) -> str:
    free, total = float(found[1]), float(found[2])
    share = math.floor(100 * free / total) / 100
    return f"{free:g} of {total:g} GiB are free: set `memory_fraction` to {share:g} or less, or stop what uses the GPU"


def _fits_machine(found: re.Match[str], knobs: Knobs) -> str:
    return f"{found[1]} GiB are free, {found[2]} were asked for: set `env: {{VLLM_CPU_KVCACHE_SPACE: GiB}}` to less"


def _fits_cache(found: re.Match[str], knobs: Knobs) -> str:
    length = found["length"] or found["old"]
    return f"set `max_model_len` to {length} or less, or {knobs.cache_too_small}" if length else knobs.cache_too_small


def _missing_memory(found: re.Match[str], knobs: Knobs) -> str:
    units = {"MiB": 1 / 1024, "GiB": 1.0}
    asked = float(found["asked"]) * units[found["asked_unit"]]
    total = float(found["total"]) * units[found["total_unit"]]
    free = float(found["free"]) * units[found["free_unit"]]
    missing = max(asked - free, 0.0)
    share = math.ceil(100 * missing / total) / 100
    return f"{missing:.2f} GiB are missing, {share:.2f} of the GPU: {knobs.too_little}"


def _too_little(found: re.Match[str], knobs: Knobs) -> str:
    return knobs.too_little


def _cache_too_small(found: re.Match[str], knobs: Knobs) -> str:
    return knobs.cache_too_small


MEMORY = (
    _pattern(
        "out_of_memory",
        r"Available memory on node \d+ \(([\d.]+)/[\d.]+ GiB\) on kv cache allocation is less than requested memory "
        r"for kv \(([\d.]+) GiB\)",
        "the key-value cache that was asked for does not fit into this machine's memory",
        _fits_machine,
    ),
    _pattern(
        "out_of_memory",
        r"Free memory on device \S* ?\(([\d.]+)/([\d.]+) GiB\) on startup is less than desired",
        "less GPU memory is free than the engine was told to use",
        _fits_free_memory,
    ),
    _pattern(
        "out_of_memory",
        r"To serve at least one request with the model'?s'? max seq len"
        r"(?:(?!\n\n)[\s\S]){0,300}?(?:maximum model length is (?P<length>\d+)|Try (?:in|de)creasing)"
        r"|stored in KV cache \((?P<old>\d+)\)",
        "the key-value cache does not hold one request of the full length",
        _fits_cache,
    ),
    _pattern(
        "out_of_memory",
        r"No available memory for the cache blocks|Not enough memory\. Please try to increase --mem-fraction-static"
        r"|No enough gpu memory for (?:kv|state) cache",
        "nothing is left for the key-value cache",
        _cache_too_small,
    ),
    _pattern(
        "out_of_memory",
        r"Tried to allocate (?P<asked>[\d.]+) (?P<asked_unit>[MG]iB)\. GPU \d+ has a total capacity of "
        r"(?P<total>[\d.]+) (?P<total_unit>[MG]iB) of which (?P<free>[\d.]+) (?P<free_unit>[MG]iB) is free",
        "the engine ran out of GPU memory",
        _missing_memory,
    ),
    _pattern(
        "out_of_memory",
        r"out of shared memory|Error while creating shared memory segment|No space left on device: '/(?:dev/shm/)?psm"
        r"|insufficient shared memory|Bus error.{0,80}shm",
        "the shared memory of this machine is too small",
        "enlarge /dev/shm: in a container `--shm-size 16g` or `--ipc host`",
    ),
    _pattern(
        "out_of_memory",
        r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|DefaultCPUAllocator: can't allocate"
        r"|\bMemoryError\b|std::bad_alloc|unable to allocate \S+ buffer|check max len infer fail"
        r"|No enough gpu memory for runtime|\[TM\].{0,80}out of memory",
        "the engine ran out of memory",
        _too_little,
    ),
)

GPUS = (
    _pattern(
        "bad_engine_argument",
        r"attention heads \(\d+\) must be divisible by tensor parallel size"
        r"|(?:attention_heads|KV heads|num_heads.{0,8}) must be divisible by (?:attention TP|tp_size)"
        r"|assert .{0,60}heads.{0,4} % (?:self\.(?:tp_)?world_size_|tp) == 0|not divisible by tp=\d+",
        "`tensor_parallel` does not divide the model's attention heads",
        "choose a `tensor_parallel` that divides `num_attention_heads` of the model's config.json",
    ),
    _pattern(
        "gpu_unavailable",
        r"World size \(\d+\) is larger than the number of available GPUs|invalid device ordinal"
        r"|Tensor parallel size \(\d+\) exceeds available GPUs",
        "the engine sees fewer GPUs than it was told to use",
        "lower `tensor_parallel` or `pipeline_parallel`; `nvidia-smi -L` lists what this user may see",
    ),
    _pattern(
        "gpu_unavailable",
        r"NVIDIA driver on your system is too old|driver version is insufficient for CUDA runtime"
        r"|no kernel image is available for execution|provided PTX was compiled with an unsupported toolchain"
        r"|system has unsupported display driver / cuda driver combination|CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "the GPU's driver and the engine's CUDA do not fit together",
        "update the NVIDIA driver, or install a version of the engine that was built for the driver's CUDA",
    ),
    _pattern(
        "gpu_unavailable",
        r"Found no NVIDIA driver|No CUDA GPUs are available|Torch not compiled with CUDA enabled"
        r"|Failed to infer device type|no CUDA-capable device is detected|libcuda\.so\.1: cannot open shared object",
        "the engine found no usable GPU",
        "use an engine that runs on the processor (transformers, llamacpp, vllm), or mend the driver: `nvidia-smi`",
    ),
)

OTHERS = (
    _pattern(
        "port_in_use",
        r"address already in use|port \d+ has been used|errno 98|EADDRINUSE",
        "the engine found its port taken",
        "choose another `port` or leave it out so that a free one is leased",
    ),
    _pattern(
        "bad_engine_argument",
        r"unrecognized arguments|error: argument|no such option|invalid choice|ambiguous option"
        r"|error: invalid argument|error: unknown argument|the following arguments are required",
        "the engine refused an argument of its command line",
        "check `extra_args` and the engine's version: `orchestrator doctor`",
    ),
    _pattern(
        "bad_engine_argument",
        r"max_model_len \(\d+\) is greater than the derived max_model_len"
        r"|context[_ ]length.{0,40}is (?:longer|greater) than the derived|max_req_total_len <= .*max_total_token_num",
        "`max_model_len` is longer than the model or the cache allows",
        "shorten `max_model_len` to what the model was trained for, or leave it out",
    ),
    _pattern(
        "unsupported_model",
        r"does not recognize this architecture|unsupported (?:model )?architecture|unknown model architecture"
        r"|model architectures? .{0,200} (?:is|are) not supported|Model type \S+ is not supported"
        r"|Unrecognized configuration class|Unrecognized model in",
        "the engine does not support this model's architecture",
        "use another engine, or a newer version of this one",
    ),
    _pattern(
        "model_not_found",
        r"Cannot access gated repo|GatedRepoError|gated repo|401 Client Error|403 Client Error",
        "the model is behind an agreement on its hub",
        "accept it there and set HF_TOKEN in `env`, or name a folder on this machine",
    ),
    _pattern(
        "model_not_found",
        r"Repository Not Found|is not a valid model identifier|is not a local folder|Repo id must be in the form"
        r"|We couldn't connect to|LocalEntryNotFoundError|OfflineModeIsEnabled|Unrecognized processing class"
        r"|does not appear to have a file named|no file named|Cannot find any model weights|No safetensors"
        r"|failed to open GGUF file|invalid magic characters|Model path does not exist",
        "the engine did not find the model or a file of it",
        "check `model`: a folder with config.json, weights and tokenizer, or a hub id that this machine has cached",
    ),
)

PATTERNS = (*MEMORY, *GPUS, *OTHERS)
"""All of them, in the order in which they are tried."""
