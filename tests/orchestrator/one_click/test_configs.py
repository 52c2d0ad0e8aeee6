"""OpenCompass configs, resolved by the installed OpenCompass, as the jobs that they become."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.orchestrator.one_click.support import FROM_BESIDE, FROM_PACKAGE, LLAMA, MODEL, Clicks, entry

pytestmark = pytest.mark.real
CHAT = {
    "round": [
        {"role": "HUMAN", "api_role": "HUMAN"},
        {"role": "SYSTEM", "api_role": "HUMAN"},
        {"role": "BOT", "api_role": "BOT", "generate": True},
    ]
}


@pytest.mark.parametrize("text", [FROM_PACKAGE + LLAMA, FROM_BESIDE], ids=["from the package", "from beside it"])
def test_the_config_of_the_documents_becomes_a_job_on_another_engine(clicks: Clicks, text: str) -> None:
    file = clicks.write(text)
    plan = clicks.planned(file, "-a", "vllm", "--limit", "20", code=1)
    assert "dataset_missing" in [lack["code"] for lack in plan["lacking"]]
    assert plan["model"] == "llama-3-8b-instruct-hf"
    spec = plan["spec"]
    stops = ["<|end_of_text|>", "<|eot_id|>"]
    assert spec["serve"] == {"engine": "vllm", "model": "meta-llama/Meta-Llama-3-8B-Instruct", "tensor_parallel": 1}
    (evaluate,) = spec["evaluate"]
    assert (evaluate["evaluator"], evaluate["limit"]) == ("opencompass", 20)
    assert Path(evaluate["datasets"][0]).read_text() == text
    assert evaluate["generation"] == {"temperature": 0.0, "stop": stops}
    assert evaluate["opencompass"] == {"meta_template": CHAT, "max_out_len": 1024}
    assert spec["gateway"] == {"rules": [{"rule": "stop_strings"}]}
    assert any("max_out_len=512 of gsm8k wins" in note for note in plan["notes"])
    assert any("batch_size=8" in note for note in plan["notes"])
    assert file.read_text() == text


def test_a_base_model_is_asked_without_a_chat_template_and_other_models_are_named_and_left_out(clicks: Clicks) -> None:
    models = [
        entry("HuggingFaceBaseModel", abbr="'base'", max_seq_len="512"),
        entry("OpenAISDK", abbr="'gpt'"),
        entry("VLLM", abbr="'in-process'"),
        entry("HuggingFaceChatGLM3", abbr="'glm'"),
        entry("HuggingFaceCausalLM", abbr="'old'", meta_template="dict(round=[dict(role='HUMAN', begin='Q: ')])"),
    ]
    classes = "HuggingFaceBaseModel, HuggingFaceCausalLM, HuggingFaceChatGLM3, OpenAISDK, VLLM"
    planned = clicks.planned(clicks.demo(*models, classes=classes), "-a", "vllm")
    base, old = planned["jobs"]
    assert base["spec"]["serve"]["max_model_len"] == 512
    assert base["spec"]["evaluate"][0]["opencompass"] == {"prompts": "text", "max_out_len": 64}
    template = {"round": [{"role": "HUMAN", "begin": "Q: "}]}
    assert old["spec"]["evaluate"][0]["opencompass"]["meta_template"] == template
    assert old["spec"]["serve"]["dtype"] == "float16"
    skipped = {one["model"]: one["reason"] for one in planned["skipped"]}
    assert "nothing to serve" in skipped["gpt"]
    assert "in its own process" in skipped["in-process"]
    assert "model.chat" in skipped["glm"]
    assert any("model gpt is left out" in note for note in base["notes"])


def test_what_would_change_answers_is_an_error_until_it_is_allowed(clicks: Clicks) -> None:
    model = entry(peft_path="'adapters'", generation_kwargs="dict(num_beams=2)", mode="'mid'")
    file = clicks.demo(model)
    refused = clicks.refused(file, "-a", "transformers", "--allow", "peft_path", "--allow", "pest_path")
    assert set(refused) == {"models.mine.generation_kwargs.num_beams", "allow.pest_path"}
    assert "--allow generation_kwargs.num_beams" in refused["models.mine.generation_kwargs.num_beams"]
    assert "peft_path" in refused["allow.pest_path"]
    allowed = ("--allow", "peft_path", "--allow", "generation_kwargs.num_beams")
    notes = clicks.planned(file, "-a", "transformers", *allowed)["notes"]
    assert any(note.startswith("peft_path is left out, which changes answers") for note in notes)
    assert any(note.startswith("mode=mid is not carried over") for note in notes)


def test_errors_of_the_command_line_and_of_the_config_say_what_to_do(clicks: Clicks, tmp_path: Path) -> None:
    file = clicks.demo(entry(run_cfg="dict(num_gpus=2)"))
    for args in ((), ("-a", "vlmm")):
        assert "lightllm, llamacpp, lmdeploy, sglang, transformers, vllm" in clicks.refused(file, *args)["-a"]
    (gpus,) = clicks.refused(file, "-a", "transformers").items()
    assert gpus[0] == "models.mine: serve.tensor_parallel"
    assert clicks.refused(clicks.write("datasets = []"), "-a", "vllm").keys() == {"models", "datasets"}
    assert "cannot read it" in clicks.refused(clicks.write("datasets = ["), "-a", "vllm")[""]
    spec = tmp_path / "job.yaml"
    spec.write_text("{}")
    assert "for OpenCompass configs" in clicks.refused(spec, "-a", "vllm", "--limit", "3")["-a"]


def test_summarizer_and_number_format_stay_and_what_is_not_taken_is_named(clicks: Clicks) -> None:
    more = "\nimport torch\nsummarizer = dict(dataset_abbrs=['demo_arithmetic'])\ninfer = dict()\n"
    file = clicks.demo(entry(model_kwargs="dict(torch_dtype=torch.float32, device_map='auto')"), more=more)
    file.write_text("import torch\n" + file.read_text())
    plan = clicks.planned(file, "-a", "llamacpp", "--serve", "env.A=b")
    assert plan["spec"]["evaluate"][0]["opencompass"]["summarizer"] == str(file)
    assert plan["spec"]["compress"] == {"tool": "gguf", "scheme": "f32"}
    assert plan["spec"]["serve"] == {"engine": "llamacpp", "model": str(MODEL), "tensor_parallel": 1, "env": {"A": "b"}}
    for said in ("infer is not carried over", "device_map=auto is not needed", "GGUF"):
        assert any(said in note for note in plan["notes"]), said
