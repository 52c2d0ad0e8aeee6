"""The command lines of every tool, and what each of them refuses."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import eval_configs
from launchers.compress.registry import get_tool
from launchers.compress.spec import CompressSpec
from launchers.compress.tool import Workshop
from launchers.environments import Environments
from launchers.errors import CompressorMissing

DEMO = Path(eval_configs.__file__).parent / "models" / "demo-arithmetic"
OUTPUT = Path("/models/out")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A machine with one GPU on which the environment of every tool is installed, as far as its files tell."""
    for tool in ("gguf", "llm_compressor", "lmdeploy_auto_awq", "llmc"):
        recipe = get_tool(tool).recipe
        assert recipe
        text = recipe.requirements.read_bytes() if recipe.requirements else b""
        name = f"{recipe.name}-{hashlib.sha256(text).hexdigest()[:12]}"
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / "python").symlink_to(sys.executable)
        ready = {"name": recipe.name, "packages": {recipe.name: "1.0"}, "created": "today"}
        ready["requirements_hash"] = hashlib.sha256(text).hexdigest()
        (tmp_path / name / "READY.json").write_text(json.dumps(ready))
        (tmp_path / recipe.name).symlink_to(name)
    return Workshop(Environments(tmp_path), gpus=1)


def spec_of(**fields: Any) -> CompressSpec:
    return CompressSpec.model_validate(fields)


def argv_of(workshop: Workshop, source: Path = DEMO, **fields: Any) -> list[list[str]]:
    """The commands without their first word, which is an interpreter."""
    spec = spec_of(**fields)
    return [list(step.argv[1:]) for step in get_tool(spec.tool).steps(spec, source, OUTPUT, workshop)]


def refused(workshop: Workshop, source: Path = DEMO, **fields: Any) -> dict[str, str]:
    spec = spec_of(**fields)
    return {one.field: one.message for one in get_tool(spec.tool).refusals(spec, source, workshop)}


def test_lmdeploys_awq_is_the_command_line_of_its_guide(workshop: Workshop) -> None:
    calibration = {"dataset": "ptb", "samples": 128, "seqlen": 1024}
    [argv] = argv_of(workshop, Path("/m"), tool="lmdeploy_auto_awq", calibration=calibration)
    told = "--calib-dataset ptb --calib-samples 128 --calib-seqlen 1024 --w-bits 4 --w-group-size 128 --work-dir"
    assert " ".join(argv) == f"-m lmdeploy lite auto_awq /m {told} {OUTPUT}"


def test_without_data_nothing_may_be_downloaded(workshop: Workshop) -> None:
    tool = get_tool("lmdeploy_auto_awq")
    free = spec_of(tool="lmdeploy_auto_awq", calibration={"samples": 0}, args=["--search-scale"])
    [step] = tool.steps(free, DEMO, OUTPUT, workshop)
    assert step.env["HF_HUB_OFFLINE"] == "1"
    assert "--calib-dataset" not in step.argv
    assert step.argv[-1] == "--search-scale"
    named = spec_of(tool="lmdeploy_auto_awq", calibration={"dataset": "c4"})
    [step] = tool.steps(named, DEMO, OUTPUT, workshop)
    assert "HF_HUB_OFFLINE" not in step.env


def test_llm_compressor_gets_scheme_and_calibration(workshop: Workshop) -> None:
    [argv] = argv_of(workshop, tool="llm_compressor", scheme="fp8")
    assert argv[1:] == [str(DEMO), str(OUTPUT), "--scheme", "fp8"]
    calibration = {"path": "/texts.jsonl", "samples": 32, "seqlen": 256}
    [argv] = argv_of(workshop, tool="llm_compressor", scheme="w8a8", calibration=calibration)
    assert argv[3:] == ["--scheme", "w8a8", "--calibration", "/texts.jsonl", "--samples", "32", "--seqlen", "256"]


def test_llmc_runs_under_torchrun_with_our_model_and_place_in_its_config(workshop: Workshop, tmp_path: Path) -> None:
    config = tmp_path / "awq.yml"
    document: dict[str, Any] = {
        "base": {"seed": 42},
        "model": {"type": "Llama", "path": "theirs"},
        "save": {"save_trans": True},
    }
    config.write_text(yaml.safe_dump(document))
    writing, running = argv_of(workshop, tool="llmc", config=str(config))
    assert writing[1:] == [str(config), f"{OUTPUT}/llmc.yml", str(DEMO), str(OUTPUT)]
    told = "-m torch.distributed.run --standalone --nnodes 1 --nproc_per_node 1 -m llmc --config"
    assert " ".join(running) == f"{told} {OUTPUT}/llmc.yml --task_id compress"
    spec = spec_of(tool="llmc", config=str(config))
    assert get_tool("llmc").produced(spec, DEMO) == "transformed_model"
    written = tmp_path / "written.yml"
    subprocess.run([sys.executable, writing[0], str(config), str(written), "/m", "/out"], check=True)
    document["model"]["path"], document["save"]["save_path"] = "/m", "/out"
    assert yaml.safe_load(written.read_text()) == document


def test_llmc_must_save_something_that_can_be_served(workshop: Workshop, tmp_path: Path) -> None:
    config = tmp_path / "awq.yml"
    config.write_text(yaml.safe_dump({"model": {"type": "Llama"}, "save": {"save_trtllm": True}}))
    assert "save_vllm" in refused(workshop, tool="llmc", config=str(config))["config"]
    config.write_text("[1, 2]")
    assert "no `model` part" in refused(workshop, tool="llmc", config=str(config))["config"]
    assert "cannot be read" in refused(workshop, tool="llmc", config="/no/such.yml")["config"]


def test_a_plain_llama_is_converted_by_our_script(workshop: Workshop) -> None:
    [argv] = argv_of(workshop, tool="gguf", scheme="q8_0")
    assert argv[0].endswith("convert_gguf.py")
    assert argv[1:] == [str(DEMO), f"{OUTPUT}/demo-arithmetic-Q8_0.gguf", "--scheme", "q8_0", "--pre", "smollm"]


@pytest.fixture
def llama_cpp(tmp_path: Path) -> Path:
    """A folder laid out as a built llama.cpp."""
    folder = tmp_path / "llama.cpp"
    (folder / "build" / "bin").mkdir(parents=True)
    (folder / "convert_hf_to_gguf.py").touch()
    (folder / "build" / "bin" / "llama-quantize").touch()
    return folder


def test_a_k_quant_goes_through_llama_quantize(workshop: Workshop, llama_cpp: Path) -> None:
    there = Workshop(workshop.environments, 0, llama_cpp=llama_cpp)
    assert refused(there, tool="gguf", scheme="q4_k_m") == {}
    convert, quantize, remove = argv_of(there, tool="gguf", scheme="q4_k_m")
    assert convert[1:] == [str(DEMO), f"{OUTPUT}/whole.gguf", "--scheme", "bf16", "--pre", "smollm"]
    assert quantize == [f"{OUTPUT}/whole.gguf", f"{OUTPUT}/demo-arithmetic-Q4_K_M.gguf", "Q4_K_M"]
    assert remove[-1] == f"{OUTPUT}/whole.gguf"


def test_another_architecture_is_converted_by_llama_cpps_script(
    workshop: Workshop, llama_cpp: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "qwen3"}')
    assert "`qwen3`" in refused(workshop, other, tool="gguf", scheme="f16")["tool"]
    with pytest.raises(CompressorMissing):
        argv_of(workshop, other, tool="gguf", scheme="f16")
    there = Workshop(workshop.environments, 0, llama_cpp=llama_cpp)
    assert refused(there, other, tool="gguf", scheme="f16") == {}
    [argv] = argv_of(there, other, tool="gguf", scheme="f16")
    assert argv[0] == str(llama_cpp / "convert_hf_to_gguf.py")
    assert argv[1:] == [str(other), "--outfile", f"{OUTPUT}/other-F16.gguf", "--outtype", "f16"]


def test_gpus_are_leased_only_for_tools_that_use_them() -> None:
    needed = {
        tool: [get_tool(tool).gpus_needed(spec_of(tool=tool), available) for available in (0, 2)]
        for tool in ("command", "gguf", "llm_compressor", "llmc", "lmdeploy_auto_awq")
    }
    assert needed == {
        "command": [0, 0],
        "gguf": [0, 0],
        "llm_compressor": [0, 1],
        "llmc": [1, 1],
        "lmdeploy_auto_awq": [1, 1],
    }
    assert get_tool("gguf").gpus_needed(spec_of(tool="gguf", gpus=2), 4) == 2
