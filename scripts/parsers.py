"""Install the engines' real argument parsers, without the engines: `python -m scripts.parsers [--lightllm REPO]`.

Two gigabytes and some minutes; no GPU is needed. Afterwards `pytest -m real tests/launchers/engines` holds every
command line that we write against them. Each version gets a folder `ENGINE-VERSION`, for PYTHONPATH; all of them run
on the one environment `venv`, those before 2025 with the transformers of their time in `old`.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
from pathlib import Path

FOLDER = Path("~/.orchestrator/parsers")
LIGHTLLM = "https://github.com/ModelTC/lightllm"
COMMITS = {
    "0.2024.5": "e6452fd2c385a20f80aee13d854f58dac289fda9",
    "1.0.1": "v1.0.1",
    "1.0.2025.7": "fc72ffab9a3455cfb571f22d45ab777cc29de0de",
}
FROM_PYPI = ("lmdeploy==0.2.6", "lmdeploy==0.4.2", "lmdeploy==0.7.3", "lmdeploy==0.9.2", "lmdeploy==0.18.0")
FROM_PYPI_TOO = ("sglang==0.5.23",)
IMPORTED = (
    *("torch==2.13.0", "transformers==5.19.0", "accelerate", "aiohttp", "atomics", "blake3", "blobfile", "cachetools"),
    *("cloudpickle", "compressed-tensors", "datasets", "dill", "easydict", "einops", "fastapi", "fire", "frozendict"),
    *(
        "gguf",
        "gunicorn",
        "hypercorn",
        "interegular",
        "ipython",
        "llguidance",
        "mmengine-lite",
        "modelscope",
        "msgspec",
    ),
    *("numpy", "nvidia-ml-py", "openai", "orjson", "outlines", "pandas", "partial-json-parser", "pillow"),
    *(
        "prometheus_client",
        "protobuf",
        "psutil",
        "pybase64",
        "pydantic",
        "python-multipart",
        "pyzmq",
        "requests",
        "rich",
    ),
    *("rpyc", "safetensors", "sentencepiece", "setproctitle", "shortuuid", "sortedcontainers", "soundfile", "tiktoken"),
    *("torchao", "triton", "ujson", "uvicorn", "uvloop", "websockets", "xxhash"),
)
OLD = ("transformers==4.40.2", "tokenizers<0.20", "huggingface_hub<0.30", "numpy<2", "accelerate<0.34")


def main() -> None:
    """Install what is missing."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, default=FOLDER, help="where (default: %(default)s)")
    options.add_argument("--lightllm", default=LIGHTLLM, help="git repository of LightLLM (default: %(default)s)")
    given = options.parse_args()
    folder = given.folder.expanduser().absolute()
    pip = [str(_environment(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(*pip, *IMPORTED)
    _into(folder / "old", pip, *OLD)
    for requirement in (*FROM_PYPI, *FROM_PYPI_TOO):
        _into(folder / requirement.replace("==", "-"), pip, requirement)
    for version, commit in COMMITS.items():
        _lightllm(folder, given.lightllm, version, commit)


def _environment(folder: Path) -> Path:
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        _run(sys.executable, "-m", "venv", str(folder / "venv"))
    return python


def _into(target: Path, pip: list[str], *requirements: str) -> None:
    if not target.exists():
        _run(*pip, "--no-deps", "--target", str(target), *requirements)


def _lightllm(folder: Path, repository: str, version: str, commit: str) -> None:
    clone, target = folder / "lightllm.git", folder / f"lightllm-{version}"
    if not clone.exists():
        _run("git", "clone", "--quiet", "--bare", repository, str(clone))
    if not target.exists():
        archive = ["git", "-C", str(clone), "archive", commit, "lightllm"]
        packed = subprocess.run(archive, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as files:
            files.extractall(target, filter="data")


def _run(*argv: str) -> None:
    print("$", *argv, flush=True)
    subprocess.run(argv, check=True)


if __name__ == "__main__":
    main()
