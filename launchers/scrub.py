"""The environment that engines and evaluators inherit: ours, without what would leak into their configuration."""

from __future__ import annotations

from collections.abc import Mapping

# Variables that engines read as settings of their own, or that a scheduler or another server left behind
# (vLLM's VLLM_PORT, llama.cpp's LLAMA_ARG_*, llama-cpp-python's HOST and PORT, torch's rendezvous).
DROPPED = frozenset(
    {"MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK"}
    | {"HOST", "PORT", "CONFIG_FILE", "RAY_ADDRESS", "CUDA_VISIBLE_DEVICES", "ORCHESTRATOR_MARK"}
    # Left set, it would make every start compile all modules again.
    | {"PYTHONDONTWRITEBYTECODE"}
    | {"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV"}
)
DROPPED_PREFIXES = ("VLLM_", "LLAMA_ARG_", "LMDEPLOY_", "LIGHTLLM_", "SGLANG_", "TORCHELASTIC_")
LOOPBACK = "127.0.0.1,localhost,::1"


def scrubbed(inherited: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """`inherited` without the dropped variables, proxies kept off the loopback, then `added`."""
    kept = {
        name: value
        for name, value in inherited.items()
        if name not in DROPPED and not name.startswith(DROPPED_PREFIXES)
    }
    for name in ("no_proxy", "NO_PROXY"):
        kept[name] = f"{kept[name]},{LOOPBACK}" if kept.get(name) else LOOPBACK
    return {**kept, "PYTHONUNBUFFERED": "1", **added}
