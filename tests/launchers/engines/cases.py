"""Specs, and the exact command line that each must become on a certain version of its engine."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launchers.engine import Launch, Place
from launchers.flags import Flags, known
from launchers.registry import get_engine
from launchers.spec import ServeSpec

PYTHON = Path("/environment/bin/python")
FOLDER = Path("/job/engine-0")
LIGHTLLM = "-m lightllm.server.api_server --model_dir /models/llama"
LMDEPLOY = "-m lmdeploy serve api_server /models/llama"
VLLM = "-m vllm.entrypoints.openai.api_server --model /models/llama --served-model-name llama"
SGLANG = "-m sglang.launch_server --model-path /models/llama --served-model-name llama"


@dataclass(frozen=True)
class Case:
    """`argv` is what follows the interpreter."""

    engine: str
    version: str
    argv: str
    spec: dict[str, Any] = field(default_factory=dict)
    gpus: tuple[int, ...] = (0,)

    @property
    def id(self) -> str:
        return f"{self.engine}-{self.version}-{'-'.join(self.spec) or 'plain'}"

    @property
    def flags(self) -> Flags:
        return known(self.engine, self.version)

    @property
    def serve(self) -> ServeSpec:
        model = "/models/llama.gguf" if self.engine == "llamacpp" else "/models/llama"
        return ServeSpec(**{"engine": self.engine, "model": model, **self.spec})

    @property
    def words(self) -> list[str]:
        return shlex.split(self.argv)

    def launch(self) -> Launch:
        spec = self.serve
        port, nccl_port = spec.port or 13001, spec.nccl_port or 13002
        place = Place(0, spec.host, port, nccl_port, self.gpus, FOLDER, PYTHON, self.flags)
        return get_engine(self.engine).launch(spec, place)


# The accuracy guide's LightLLM server, as one spec.
GUIDE_LIGHTLLM = {
    "host": "0.0.0.0",
    "port": 1030,
    "nccl_port": 2066,
    "tensor_parallel": 2,
    "max_model_len": 8192,
    "max_total_tokens": 120000,
    "trust_remote_code": True,
}
GUIDE_LMDEPLOY = {"host": "0.0.0.0", "port": 23333, "quantization": "hf", "kv_cache_dtype": "none"}
EVERYTHING = {
    "tensor_parallel": 2,
    "dtype": "bfloat16",
    "memory_fraction": 0.85,
    "max_model_len": 4096,
    "max_concurrency": 16,
    "chat_template": "/templates/plain.jinja",
}
ADDRESS = "--host 127.0.0.1 --port 13001"

CASES = (
    Case(
        "lightllm",
        "0.2024.5",
        f"{LIGHTLLM} --host 0.0.0.0 --port 1030 --nccl_port 2066 --max_req_input_len 6144 --max_req_total_len 8192"
        " --tp 2 --trust_remote_code --max_total_token_num 120000",
        {**GUIDE_LIGHTLLM, "max_input_len": 6144},
        (0, 1),
    ),
    Case(
        "lightllm",
        "0.2024.5",
        f"{LIGHTLLM} --host 0.0.0.0 --port 1030 --nccl_port 2066 --max_req_input_len 6144 --max_req_total_len 8192"
        " --tp 2 --trust_remote_code --max_total_token_num 120000 --mode triton_w4a16",
        {**GUIDE_LIGHTLLM, "max_input_len": 6144, "quantization": "w4a16"},
        (0, 1),
    ),
    Case(
        "lightllm",
        "0.2024.11",
        f"{LIGHTLLM} --model_name llama --host 0.0.0.0 --port 1030 --nccl_port 2066 --max_req_total_len 8192 --tp 2"
        " --trust_remote_code --max_total_token_num 120000",
        GUIDE_LIGHTLLM,
        (0, 1),
    ),
    Case(
        "lightllm",
        "1.0.1",
        f"{LIGHTLLM} --model_name llama {ADDRESS} --nccl_port 13002 --mem_fraction 0.8 --running_max_req_size 64"
        " --data_type bfloat16 --quant_type vllm-w8a8 --mode triton_int8kv",
        {"memory_fraction": 0.8, "max_concurrency": 64, "dtype": "bfloat16", "quantization": "w8a8"}
        | {"kv_cache_dtype": "int8"},
    ),
    Case(
        "lightllm",
        "1.0.2025.7",
        f"{LIGHTLLM} --model_name eight-b {ADDRESS} --nccl_port 13002 --max_req_total_len 8192 --tp 4",
        {"served_model_name": "eight-b", "max_model_len": 8192, "tensor_parallel": 4},
        (0, 1, 2, 3),
    ),
    Case(
        "lightllm",
        "1.2.0",
        f"{LIGHTLLM} --model_name llama {ADDRESS} --nccl_port 13002 --max_req_total_len 4096 --tp 2 --mem_fraction 0.85"
        " --running_max_req_size 16 --data_type bfloat16 --quant_type fp8w8a8 --llm_kv_type int8kv"
        " --chat_template /templates/plain.jinja",
        {**EVERYTHING, "quantization": "fp8", "kv_cache_dtype": "int8"},
        (0, 1),
    ),
    Case(
        "lmdeploy",
        "0.2.6",
        f"{LMDEPLOY} --model-format hf --quant-policy 0 --server-name 0.0.0.0 --server-port 23333 --tp 1",
        GUIDE_LMDEPLOY,
    ),
    Case(
        "lmdeploy",
        "0.4.2",
        f"{LMDEPLOY} --model-format awq --server-name 127.0.0.1 --server-port 13001 --tp 1 --model-name llama2"
        " --cache-max-entry-count 0.5 --session-len 4096",
        {"quantization": "awq", "served_model_name": "llama2", "memory_fraction": 0.5, "max_model_len": 4096},
    ),
    Case(
        "lmdeploy",
        "0.7.3",
        f"{LMDEPLOY} --quant-policy 8 --server-name 127.0.0.1 --server-port 13001 --tp 2 --model-name llama"
        " --dtype float16 --max-batch-size 128",
        {"kv_cache_dtype": "int8", "tensor_parallel": 2, "dtype": "float16", "max_concurrency": 128},
        (0, 1),
    ),
    Case(
        "lmdeploy",
        "0.9.2",
        f"{LMDEPLOY} --server-name 127.0.0.1 --server-port 13001 --tp 1 --model-name llama",
    ),
    Case(
        "lmdeploy",
        "0.18.0",
        f"{LMDEPLOY} --model-format hf --quant-policy 0 --server-name 0.0.0.0 --server-port 23333 --tp 1"
        " --model-name llama --generation-config lmdeploy",
        GUIDE_LMDEPLOY,
    ),
    Case(
        "lmdeploy",
        "0.18.0",
        f"{LMDEPLOY} --server-name 127.0.0.1 --server-port 13001 --tp 2 --model-name llama --dtype bfloat16"
        " --cache-max-entry-count 0.85 --session-len 4096 --max-batch-size 16 --chat-template /templates/plain.jinja"
        " --trust-remote-code --generation-config lmdeploy --distributed-executor-backend mp --backend pytorch",
        {**EVERYTHING, "trust_remote_code": True, "extra_args": ["--backend", "pytorch"]},
        (0, 1),
    ),
    Case(
        "vllm",
        "0.6.6.post1",
        f"{VLLM} {ADDRESS} --seed 0 --gpu-memory-utilization 0.9 --max-model-len 32768 --disable-log-requests"
        " --enforce-eager",
        {"memory_fraction": 0.9, "max_model_len": 32768, "extra_args": ["--enforce-eager"]},
    ),
    Case(
        "vllm",
        "0.10.2",
        f"{VLLM} {ADDRESS} --seed 7 --tensor-parallel-size 2 --quantization compressed-tensors --trust-remote-code"
        " --generation-config vllm --disable-uvicorn-access-log",
        {"seed": 7, "tensor_parallel": 2, "quantization": "w8a8", "trust_remote_code": True},
        (0, 1),
    ),
    Case(
        "vllm",
        "0.32.0",
        f"{VLLM} {ADDRESS} --seed 0 --dtype float32 --max-model-len 1024 --max-num-seqs 32 --generation-config vllm"
        " --disable-uvicorn-access-log --enforce-eager",
        {"dtype": "float32", "max_model_len": 1024, "max_concurrency": 32, "extra_args": ["--enforce-eager"]},
        (),
    ),
    Case(
        "vllm",
        "0.33.0",
        f"{VLLM} {ADDRESS} --seed 0 --tensor-parallel-size 2 --dtype bfloat16 --kv-cache-dtype fp8"
        " --gpu-memory-utilization 0.85 --max-model-len 4096 --max-num-seqs 16"
        " --chat-template /templates/plain.jinja --generation-config vllm --disable-uvicorn-access-log",
        {**EVERYTHING, "kv_cache_dtype": "fp8"},
        (0, 1),
    ),
    Case(
        "sglang",
        "0.4.1",
        f"{SGLANG} {ADDRESS} --random-seed 0 --max-total-tokens 50000 --enable-metrics --log-level-http warning",
        {"max_total_tokens": 50000},
    ),
    Case(
        "sglang",
        "0.5.23",
        f"{SGLANG} {ADDRESS} --random-seed 0 --nccl-port 13002 --tp-size 2 --pp-size 2 --dtype bfloat16"
        " --mem-fraction-static 0.85 --context-length 4096 --max-running-requests 16"
        " --chat-template /templates/plain.jinja --sampling-defaults openai --enable-metrics --log-level-http warning",
        {**EVERYTHING, "pipeline_parallel": 2},
        (0, 1, 2, 3),
    ),
    Case(
        "transformers",
        "4.57.6",
        "-m transformers.commands.transformers_cli serve --force_model /models/llama --host 127.0.0.1 --port 13001"
        " --device auto --dtype float32 --default_seed 3 --trust_remote_code",
        {"dtype": "float32", "seed": 3, "trust_remote_code": True},
    ),
    Case(
        "transformers",
        "5.0.0",
        "-m transformers.cli.transformers serve --force-model /models/llama --host 127.0.0.1 --port 13001"
        " --device cpu --dtype auto --default-seed 0",
        gpus=(),
    ),
    Case(
        "transformers",
        "5.23.0",
        "-m transformers.cli.transformers serve /models/llama --host 127.0.0.1 --port 13001 --device cpu --dtype auto"
        " --default-seed 0 --quantization bnb-4bit",
        {"quantization": "int4"},
        (),
    ),
    Case(
        "llamacpp",
        "0.3.36",
        "-m llama_cpp.server --model /models/llama.gguf --model_alias llama.gguf --host 127.0.0.1 --port 13001 --seed 0"
        " --n_gpu_layers 0 --n_ctx 4096 --interrupt_requests false",
        {"max_model_len": 4096},
        (),
    ),
)
