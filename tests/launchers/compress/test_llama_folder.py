"""Our own conversion takes exactly the models that it gets right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import eval_configs
from launchers.compress.llama_folder import Unfit, pre_tokenizer_of

DEMO = Path(eval_configs.__file__).parent / "models" / "demo-arithmetic"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(DEMO, folder)
    return folder


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_single_digits_before_byte_level_are_what_llama_cpp_calls_smollm(model: Path) -> None:
    assert pre_tokenizer_of(model) == "smollm"


def test_byte_level_alone_is_gpt_2(model: Path) -> None:
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    change(model / "tokenizer.json", pre_tokenizer=level)
    assert pre_tokenizer_of(model) == "gpt-2"


@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        ("config.json", {"model_type": "qwen3"}, "`qwen3`"),
        ("config.json", {"attention_bias": True}, "biases"),
        ("config.json", {"rope_parameters": {"rope_type": "llama3", "factor": 8}}, "scaled"),
        ("config.json", {"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": None}, "scaled"),
        ("config.json", {"quantization_config": {"quant_method": "awq"}}, "quantized already"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}, "splits"),
        ("tokenizer.json", {"normalizer": {"type": "NFC"}}, "normalizer"),
        ("tokenizer.json", {"post_processor": {"type": "TemplateProcessing"}}, "adds tokens"),
        ("tokenizer.json", {"model": {"type": "Unigram"}}, "BPE"),
    ],
)
def test_what_it_would_get_wrong_is_refused(model: Path, file: str, values: dict[str, Any], said: str) -> None:
    change(model / file, **values)
    with pytest.raises(Unfit, match=said):
        pre_tokenizer_of(model)


def test_digits_in_groups_are_another_split(model: Path) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = False
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(Unfit, match=r"no llama\.cpp name"):
        pre_tokenizer_of(model)


def test_a_folder_without_weights_or_tokenizer_is_no_model(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    with pytest.raises(Unfit, match=r"tokenizer\.json"):
        pre_tokenizer_of(model)
    (model / "model.safetensors").unlink()
    with pytest.raises(Unfit, match="safetensors"):
        pre_tokenizer_of(model)
