"""The `serve` part of a job spec: what to start, in words that every engine shares.

It lives here, not with the job, because it is all that a launcher needs to know.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class ServeSpec(BaseModel):
    """One model served by one engine, in one or more replicas behind one URL."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    engine: str
    """Which engine serves: `transformers`, `vllm`, `lightllm`, ..., `custom` (your own command) or `external`."""
    model: str | None = None
    """Path of the model's folder, or its hub id. Not needed for `external`."""
    served_model_name: str | None = None
    """Name that clients send as `model`. Default: the last part of `model`."""
    url: str | None = None
    """Engine `external` only: base URL of the server that runs already, with or without `/v1`."""
    tensor_parallel: Count = 1
    """GPUs that share each layer of one replica."""
    pipeline_parallel: Count = 1
    """Groups of GPUs that each hold a part of the layers of one replica."""
    replicas: Count = 1
    """Independent copies behind one URL. GPUs needed = tensor_parallel x pipeline_parallel x replicas."""
    gpus: list[Annotated[int, Field(ge=0)]] | None = None
    """Indices of exactly the GPUs to use; `[]` means none. Default: leased."""
    host: str = "127.0.0.1"
    """Address that the engine listens on."""
    port: Port | None = None
    """Port that clients talk to: the engine's with one replica, the gateway's with several. Default: leased."""
    nccl_port: Port | None = None
    """Port of the collective communication of the first replica, the next ones follow it. Default: leased."""
    dtype: str = "auto"
    """Number format of the weights and activations: `auto`, `float32`, `float16`, `bfloat16`."""
    quantization: str | None = None
    """Engine-neutral scheme: `awq`, `gptq`, `w4a16`, `w8a8`, `fp8`, ... Refused where the engine has none."""
    kv_cache_dtype: str = "auto"
    """Number format of the key-value cache."""
    memory_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of GPU memory (vLLM, SGLang) or of the free memory for the key-value cache (LMDeploy, LightLLM)."""
    max_total_tokens: Count | None = None
    """Tokens in flight over all requests."""
    max_model_len: Count | None = None
    """Longest input plus output of one request, in tokens."""
    max_input_len: Count | None = None
    """Longest input of one request, in tokens."""
    max_concurrency: Count | None = None
    """Requests that the engine may run at once."""
    chat_template: str | None = None
    """Path of a chat template that replaces the model's own."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Refused unless the operator allows it."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the engine's own random numbers."""
    extra_args: list[str] = []
    """Arguments passed through to the engine, for what the spec does not name."""
    env: dict[str, str] = {}
    """Environment variables added to the engine's."""
    command: list[str] | None = None
    """Engine `custom` only: argv with {port} {host} {model} {nccl_port} {tp} {gpus}."""
    health_path: str | None = None
    """Engine `custom` only: path that answers 200 once the server listens. Default: `/health`."""
    startup_timeout: Seconds = 1800.0
    """Seconds that the engine may take until it answers."""
    stall_timeout: Seconds = 600.0
    """Seconds without a new log line or a change of state, while starting, after which it counts as stuck."""
    max_restarts: Annotated[int, Field(ge=0)] = 3
    """Times that a replica which died or hangs in the middle of a job is started again. Not for `external`."""

    @property
    def served_name(self) -> str:
        """The name that clients send as `model`."""
        return self.served_model_name or PurePosixPath(self.model or "model").name

    @property
    def gpus_per_replica(self) -> int:
        """GPUs that one replica needs."""
        return self.tensor_parallel * self.pipeline_parallel
