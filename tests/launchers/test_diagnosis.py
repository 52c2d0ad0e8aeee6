"""Logs of failed starts, in the engines' own words, and what we make of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from launchers.diagnosis import diagnose
from launchers.failures import PATTERNS


@dataclass(frozen=True)
class Excerpt:
    """A piece of a log, and what the diagnosis must say."""

    engine: str
    log: str
    code: str
    says: str
    advises: str


VLLM_SHORT_OF_FREE_MEMORY = """\
(EngineCore pid=4211) ERROR 08-21 10:14:02 [core.py:1144] EngineCore failed to start.
(EngineCore pid=4211) ValueError: Free memory on device cuda:0 (51.38/79.11 GiB) on startup is less than desired GPU \
memory utilization (0.92, 72.78 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.
(APIServer pid=4100) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
VLLM_LONG_CONTEXT = """\
ValueError: To serve at least one request with the model's max seq len (131072), (16.0 GiB KV cache is needed, which \
is larger than the available KV cache memory (10.24 GiB). Based on the available memory, the estimated maximum model \
length is 83872. Try increasing `gpu_memory_utilization` (which also controls CPU memory on the CPU backend) or \
decreasing `max_model_len` when initializing the engine.
"""
VLLM_LONG_CONTEXT_OF_0_6 = """\
ValueError: The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in KV cache \
(17328). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.
"""
TORCH_OUT_OF_MEMORY = """\
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of \
which 1.05 GiB is free. Process 1 has 78.05 GiB memory in use. Of the allocated memory 76.10 GiB is allocated by PyTorch
"""
LIGHTLLM_OUT_OF_MEMORY = """\
ERROR 03-04 11:20:17 [basemodel.py:443] check max len infer fail, you can try:1.Set the --mem_fraction or \
--max_total_token_num startup parameter to a smaller value.2.Set the --max_req_total_len to a smaller value.
"""
LIGHTLLM_HEADS = """\
  File "lightllm/common/basemodel/basemodel.py", line 124, in _verify_params
    assert self.config["num_attention_heads"] % self.tp_world_size_ == 0
AssertionError
"""
LMDEPLOY_HEADS = """\
  File "lmdeploy/pytorch/config.py", line 573, in from_config
    assert model_config.num_attention_heads % tp == 0
AssertionError
"""
UNKNOWN_MODEL_OF_TRANSFORMERS = """\
ValueError: The checkpoint you are trying to load has model type `llamax` but Transformers does not recognize this \
architecture. This could be because of an issue with the checkpoint, or because your version of \
Transformers is out of date.
"""
UNREACHABLE_HUB = """\
OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.
Check your internet connection or see how to run the library in offline mode
"""
SHARED_MEMORY_OF_NCCL = """\
node1:812:900 [0] misc/shmutils.cc:72 NCCL WARN Error: failed to extend /dev/shm/nccl-Rz8ZCx to 9637892 bytes
node1:812:900 [0] include/shm.h:18 NCCL WARN Error while creating shared memory segment \
/dev/shm/nccl-Rz8ZCx (size 9637888)
"""

EXCERPTS = [
    Excerpt("vllm", VLLM_SHORT_OF_FREE_MEMORY, "out_of_memory", "less GPU memory is free", "`memory_fraction` to 0.64"),
    Excerpt("vllm", VLLM_LONG_CONTEXT, "out_of_memory", "one request of the full length", "`max_model_len` to 83872"),
    Excerpt("vllm", VLLM_LONG_CONTEXT_OF_0_6, "out_of_memory", "one request", "`max_model_len` to 17328"),
    Excerpt(
        "vllm",
        "ValueError: No available memory for the cache blocks. Try increasing "
        "`gpu_memory_utilization` when initializing",
        "out_of_memory",
        "nothing is left",
        "raise `memory_fraction`",
    ),
    Excerpt(
        "sglang",
        "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static. Current value: "
        "mem_fraction_static=0.6",
        "out_of_memory",
        "nothing is left",
        "raise `memory_fraction`",
    ),
    Excerpt(
        "lmdeploy", "RuntimeError: No enough gpu memory for kv cache.", "out_of_memory", "nothing is left", "raise"
    ),
    Excerpt(
        "lightllm", TORCH_OUT_OF_MEMORY, "out_of_memory", "out of GPU memory", "0.95 GiB are missing, 0.02 of the GPU"
    ),
    Excerpt("lightllm", LIGHTLLM_OUT_OF_MEMORY, "out_of_memory", "out of memory", "lower `max_total_tokens`"),
    Excerpt(
        "llamacpp",
        "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
        "out_of_memory",
        "out of memory",
        "shorten `max_model_len`",
    ),
    Excerpt(
        "transformers",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:124] err == 0. "
        "DefaultCPUAllocator: can't allocate memory: you tried "
        "to allocate 68719476736 bytes.",
        "out_of_memory",
        "out of memory",
        "16-bit",
    ),
    Excerpt("vllm", SHARED_MEMORY_OF_NCCL, "out_of_memory", "shared memory", "--shm-size"),
    Excerpt(
        "vllm",
        "ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (3).",
        "bad_engine_argument",
        "does not divide",
        "num_attention_heads",
    ),
    Excerpt("lightllm", LIGHTLLM_HEADS, "bad_engine_argument", "does not divide", "num_attention_heads"),
    Excerpt("lmdeploy", LMDEPLOY_HEADS, "bad_engine_argument", "does not divide", "num_attention_heads"),
    Excerpt(
        "vllm",
        "ValueError: World size (8) is larger than the number of available GPUs (4) in "
        "this node. If this is intentional",
        "gpu_unavailable",
        "fewer GPUs",
        "nvidia-smi",
    ),
    Excerpt(
        "lightllm",
        "RuntimeError: CUDA error: invalid device ordinal\nCUDA kernel errors might be asynchronously reported",
        "gpu_unavailable",
        "fewer GPUs",
        "nvidia-smi",
    ),
    Excerpt(
        "vllm",
        "RuntimeError: The NVIDIA driver on your system is too old (found version "
        "11040). Please update your GPU driver",
        "gpu_unavailable",
        "do not fit",
        "update the NVIDIA driver",
    ),
    Excerpt(
        "sglang",
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
        "gpu_unavailable",
        "do not fit",
        "built for",
    ),
    Excerpt(
        "lmdeploy",
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a "
        "driver from http://www.nvidia.com/Download/index.aspx",
        "gpu_unavailable",
        "no usable GPU",
        "processor",
    ),
    Excerpt("vllm", "RuntimeError: Failed to infer device type", "gpu_unavailable", "no usable GPU", "processor"),
    Excerpt(
        "vllm",
        "OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use",
        "port_in_use",
        "port taken",
        "leave it out",
    ),
    Excerpt("lightllm", "AssertionError: port 2066 has been used", "port_in_use", "port taken", "leave it out"),
    Excerpt(
        "lightllm",
        "api_server.py: error: unrecognized arguments: --max_req_input_len 6144",
        "bad_engine_argument",
        "refused an argument",
        "extra_args",
    ),
    Excerpt(
        "lightllm",
        "api_server.py: error: ambiguous option: --mode could match --model_name, --model_owner, --model_dir",
        "bad_engine_argument",
        "refused an argument",
        "extra_args",
    ),
    Excerpt("transformers", "No such option: --nope", "bad_engine_argument", "refused an argument", "extra_args"),
    Excerpt("llamacpp", "error: invalid argument: --nope", "bad_engine_argument", "refused an argument", "extra_args"),
    Excerpt(
        "vllm",
        "User-specified max_model_len (8192) is greater than the derived max_model_len "
        "(max_position_embeddings=2048 or "
        "model_max_length=None in model's config.json).",
        "bad_engine_argument",
        "longer than the model",
        "shorten",
    ),
    Excerpt("transformers", UNKNOWN_MODEL_OF_TRANSFORMERS, "unsupported_model", "architecture", "another engine"),
    Excerpt(
        "vllm",
        "ValueError: Model architectures ['LlamaXForCausalLM'] are not supported for now. Supported architectures: ...",
        "unsupported_model",
        "architecture",
        "another engine",
    ),
    Excerpt(
        "llamacpp",
        "llama_model_load: error loading model: unknown model architecture: 'llamax'",
        "unsupported_model",
        "architecture",
        "another engine",
    ),
    Excerpt(
        "lightllm", "ValueError: Model type llamax is not supported.", "unsupported_model", "architecture", "newer"
    ),
    Excerpt(
        "vllm",
        "OSError: You are trying to access a gated repo.\nMake sure to have access to it at "
        "https://huggingface.co/meta-llama/Meta-Llama-3-8B-Instruct.\n401 Client Error.",
        "model_not_found",
        "agreement",
        "HF_TOKEN",
    ),
    Excerpt("transformers", UNREACHABLE_HUB, "model_not_found", "did not find", "config.json"),
    Excerpt(
        "transformers",
        "OSError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': "
        "'/nonexistent/x'. Use `repo_type` argument",
        "model_not_found",
        "did not find",
        "config.json",
    ),
    Excerpt(
        "transformers",
        "ValueError: Unrecognized processing class in /models/empty. Can't instantiate a "
        "processor, a tokenizer, an image "
        "processor, a video processor or a feature extractor for this model.",
        "model_not_found",
        "did not find",
        "tokenizer",
    ),
    Excerpt(
        "vllm",
        "RuntimeError: Cannot find any model weights with `/models/empty`",
        "model_not_found",
        "did not find",
        "weights",
    ),
    Excerpt(
        "llamacpp",
        "gguf_init_from_file: failed to open GGUF file '/models/none.gguf' (No such file or directory)",
        "model_not_found",
        "did not find",
        "config.json",
    ),
    Excerpt(
        "vllm",
        "ValueError: Available memory on node 0 (18.29/23.54 GiB) on kv cache allocation is less than requested memory "
        "for kv (4000.0 GiB). Decrease --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE, or reduce CPU memory used by "
        "other processes.",
        "out_of_memory",
        "does not fit into this machine's memory",
        "18.29 GiB are free",
    ),
]


@pytest.mark.parametrize("excerpt", EXCERPTS, ids=lambda excerpt: f"{excerpt.engine}-{excerpt.log[-60:].strip()[:40]}")
def test_a_log_becomes_a_code_a_sentence_and_the_next_step(excerpt: Excerpt) -> None:
    found = diagnose(excerpt.log, excerpt.engine)
    assert found is not None
    assert (found.code, excerpt.says in found.message) == (excerpt.code, True), found
    assert excerpt.advises in found.hint


def test_every_pattern_is_met_by_a_log() -> None:
    unmet = [pattern.message for pattern in PATTERNS if not any(pattern.regex.search(one.log) for one in EXCERPTS)]
    assert unmet == []


def test_the_line_that_says_it_is_shown() -> None:
    found = diagnose(VLLM_SHORT_OF_FREE_MEMORY, "vllm")
    assert found is not None
    assert "Free memory on device cuda:0 (51.38/79.11 GiB)" in found.message
    assert "EngineCore failed to start" not in found.message


def test_a_log_without_a_known_failure_is_not_diagnosed() -> None:
    assert diagnose("INFO: Started server process [1]\nTraceback (most recent call last):\nKeyError: 'x'\n") is None
    assert diagnose("") is None


def test_an_engine_that_nobody_knows_gets_general_advice() -> None:
    found = diagnose("torch.cuda.OutOfMemoryError: CUDA out of memory.", "an-engine-of-somebody")
    assert found is not None
    assert "memory_fraction" in found.hint
