"""Compression for real: the demo model as GGUF read back tensor by tensor, and quantized by llm-compressor."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import eval_configs
from launchers.compress.cache import ModelCache, Produced
from launchers.compress.compression import Leased, compress, plan_compression
from launchers.compress.registry import get_tool
from launchers.compress.spec import CompressSpec
from launchers.compress.tool import Workshop
from launchers.environments import Environments
from orchestrator.settings import Settings

pytestmark = pytest.mark.heavy
CONFIGS = Path(eval_configs.__file__).parent
DEMO = CONFIGS / "models" / "demo-arithmetic"
TRAIN = CONFIGS / "data" / "demo_arithmetic" / "train.jsonl"

# Runs in the environment of the tool: the largest difference of a tensor, as a share of its largest weight, by type.
READ_BACK = """
import json, sys
import gguf, numpy as np
model, file = sys.argv[1:]
raw = open(model + "/model.safetensors", "rb").read()
start = 8 + int.from_bytes(raw[:8], "little")
source = json.loads(raw[8:start])
reader = gguf.GGUFReader(file)
stored = {tensor.name: tensor for tensor in reader.tensors}
names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 4)
worst = {}
for name, entry in source.items():
    if name == "__metadata__":
        continue
    begin, end = (start + offset for offset in entry["data_offsets"])
    assert entry["dtype"] == "BF16"
    wide = np.frombuffer(raw[begin:end], "<u2").astype(np.uint32) << 16
    wanted = wide.view(np.float32).reshape(entry["shape"])
    tensor = stored.pop(names.get_name(name, try_suffixes=(".weight",)))
    found = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(wanted.shape)
    if "q_proj" in name or "k_proj" in name:
        heads = 4 if "q_proj" in name else 2
        found = found.reshape(heads, -1, 2, wanted.shape[1]).swapaxes(1, 2).reshape(wanted.shape)
    share = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    worst[tensor.tensor_type.name] = max(share, worst.get(tensor.tensor_type.name, 0.0))
texts = ["tokenizer.ggml.pre", "tokenizer.chat_template"]
print(json.dumps({"worst": worst, "left": list(stored), "texts": [reader.fields[text].contents() for text in texts]}))
"""

# Runs in the environment of llm-compressor: what the quantized model answers.
ANSWER = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
answers = []
for question in json.loads(sys.argv[2]):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, max_new_tokens=96, do_sample=False)
    answers.append(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
print("ANSWERS", json.dumps(answers))
"""


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    """The machine's installed tools."""
    environments = Environments(Settings.load().environments)
    for tool in ("gguf", "llm_compressor"):
        recipe = get_tool(tool).recipe
        assert recipe
        assert environments.find(recipe), f"first: orchestrator install {recipe.name}"
    return Workshop(environments, gpus=0)


def made(workshop: Workshop, root: Path, **fields: Any) -> Produced:
    """Compress the demo model, from scratch."""
    cache = ModelCache(root / "models")
    work = plan_compression(CompressSpec.model_validate(fields), DEMO, cache, workshop)
    mark = f"test-{root.name}/compress"
    running = compress(
        work, cache, leased=Leased(), log=root / "compress.log", mark=mark, tell=lambda phase, said, data: None
    )
    produced, cached = asyncio.run(running)
    assert not cached
    return produced


def python_of(workshop: Workshop, tool: str) -> str:
    environment = get_tool(tool).environment(workshop)
    assert environment
    return str(environment.python)


@pytest.mark.parametrize(
    ("scheme", "exact", "tolerance"), [("f32", "F32", 0.0), ("bf16", "BF16", 0.0), ("q8_0", "Q8_0", 0.005)]
)
def test_a_gguf_file_holds_the_models_own_tensors_and_tokenizer(
    workshop: Workshop, tmp_path: Path, scheme: str, exact: str, tolerance: float
) -> None:
    produced = made(workshop, tmp_path, tool="gguf", scheme=scheme)
    argv = [python_of(workshop, "gguf"), "-c", READ_BACK, str(DEMO), produced.produced]
    found = json.loads(subprocess.check_output(argv, text=True))
    assert found["worst"].keys() == {"F32", exact}
    assert found["worst"]["F32"] == 0.0
    assert found["worst"][exact] <= tolerance
    assert found["left"] == []
    assert found["texts"] == ["smollm", (DEMO / "chat_template.jinja").read_text()]


def test_q8_0_is_half_of_bf16(workshop: Workshop, tmp_path: Path) -> None:
    produced = made(workshop, tmp_path, tool="gguf", scheme="q8_0")
    assert 0.5 < produced.bytes_after / produced.bytes_before < 0.6
    assert produced.version
    assert produced.produced.endswith("demo-arithmetic-Q8_0.gguf")


@pytest.mark.parametrize("calibration", [None, {"path": str(TRAIN), "samples": 16, "seqlen": 256}])
def test_a_model_in_w8a8_is_smaller_loads_and_still_knows_its_sums(
    workshop: Workshop, tmp_path: Path, calibration: dict[str, Any] | None
) -> None:
    produced = made(workshop, tmp_path, tool="llm_compressor", scheme="w8a8", calibration=calibration)
    folder = Path(produced.produced)
    quantized = json.loads((folder / "config.json").read_text())["quantization_config"]
    group = quantized["config_groups"]["group_0"]
    assert [group[part]["num_bits"] for part in ("weights", "input_activations")] == [8, 8]
    assert produced.bytes_after < 0.7 * produced.bytes_before
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (folder / name).read_bytes() == (DEMO / name).read_bytes()
    rows = [json.loads(line) for line in TRAIN.read_text().splitlines()][:6]
    questions = json.dumps([row["question"] for row in rows])
    argv = [python_of(workshop, "llm_compressor"), "-c", ANSWER, str(folder), questions]
    patient = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    printed = subprocess.check_output(argv, text=True, stderr=subprocess.DEVNULL, env=patient)
    answers = json.loads(printed.split("ANSWERS ")[1])
    right = sum(row["answer"].split("#### ")[1] in answer for row, answer in zip(rows, answers, strict=True))
    assert right >= 5
