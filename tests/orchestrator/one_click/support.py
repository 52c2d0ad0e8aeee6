"""OpenCompass configs in the form of the documents, and the command line that runs them."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.settings import Settings
from tests.orchestrator.opencompass.real_opencompass import opencompass_environment
from tests.orchestrator.support import FAKE, Cli

MODEL = Path(__file__).parents[3] / "eval_configs" / "models" / "demo-arithmetic"
LLAMA = """
models = [
    dict(
        type=HuggingFacewithChatTemplate,
        abbr='llama-3-8b-instruct-hf',
        path='meta-llama/Meta-Llama-3-8B-Instruct',
        max_out_len=1024,
        batch_size=8,
        run_cfg=dict(num_gpus=1),
        stop_words=['<|end_of_text|>', '<|eot_id|>'],
    )
]
"""
FROM_PACKAGE = """
from mmengine.config import read_base
from opencompass.models import HuggingFacewithChatTemplate

with read_base():
    from opencompass.configs.datasets.gsm8k.gsm8k_0shot_gen_a58960 import gsm8k_datasets

datasets = gsm8k_datasets
"""
FROM_BESIDE = """
from mmengine.config import read_base

with read_base():
    # Select a dataset list
    from .datasets.gsm8k.gsm8k_0shot_gen_a58960 import gsm8k_datasets as datasets
    # Select an interested model
    from ..models.hf_llama.hf_llama3_8b_instruct import models
"""
DEMO = """
from mmengine.config import read_base
from opencompass.models import {classes}

with read_base():
    from .sets.demo_arithmetic import demo_arithmetic_datasets

datasets = demo_arithmetic_datasets
models = [{models}]
"""
FAILING = f"command={shlex.join(FAKE)} --model {{model}} --fail-prompts {{model}}"
"""For --serve: the path of a model is the share of prompts that fail on it, the probe's among them."""
SETS = Path(__file__).parents[3] / "eval_configs" / "opencompass" / "datasets"


@dataclass(frozen=True)
class Clicks:
    """A folder for configs, and `orchestrator` with the environments that are installed here."""

    cli: Cli
    folder: Path

    def write(self, text: str) -> Path:
        """A config file."""
        (self.folder / "sets").exists() or (self.folder / "sets").symlink_to(SETS)
        file = self.folder / "eval_mine.py"
        file.write_text(text)
        return file

    def demo(self, *models: str, classes: str = "HuggingFacewithChatTemplate", more: str = "") -> Path:
        """A config on our demo data with these entries of `models`."""
        return self.write(DEMO.format(classes=classes, models=", ".join(models)) + more)

    def planned(self, file: Path, *args: str, code: int | None = None) -> dict[str, Any]:
        """What `--dry-run --json` prints; without `code` engine and data may be lacking here."""
        done = self.cli.run("run", str(file), *args, "--dry-run", "--json", timeout=120)
        assert done.returncode in ((0, 1) if code is None else (code,)), done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def refused(self, file: Path, *args: str) -> dict[str, str]:
        """Messages by path of a config that is refused."""
        document = self.planned(file, *args, code=2)
        return {error["path"]: error["message"] for error in document["errors"]}


def entry(kind: str = "HuggingFacewithChatTemplate", **more: str) -> str:
    """One entry of `models` as text; `more`: keys with their Python text."""
    keys = {"abbr": "'mine'", "path": repr(str(MODEL)), "max_out_len": "64", "run_cfg": "dict(num_gpus=1)", **more}
    return f"dict(type={kind}, {', '.join(f'{key}={value}' for key, value in keys.items())})"


def installed(home: Path) -> Cli:
    """A command line with a home of its own and the environments of this machine; skips without OpenCompass."""
    opencompass_environment()
    home.mkdir()
    (home / "environments").symlink_to(Settings.load().environments.resolve())
    cli = Cli(home)
    cli.env["HOME"] = str(home)  # whatever data sets this user has
    cli.env.pop("COMPASS_DATA_CACHE", None)
    return cli
