"""What the parts of a model's entry come to, without OpenCompass."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import BadSpec
from orchestrator.one_click.asking import asking
from orchestrator.one_click.folder import ModelFolder, model_folder
from orchestrator.one_click.items import Change, Item, Note, Set, Stop
from orchestrator.one_click.loading import loading
from orchestrator.one_click.overrides import overrides
from orchestrator.one_click.reading import DatasetEntry
from orchestrator.one_click.sampling import sampling
from tests.orchestrator.one_click.support import MODEL

LLAMA = ModelFolder({"eos_token_id": [128001]}, {}, {"<|end_of_text|>": 128001, "<|eot_id|>": 128009})


def asked(engine: str = "vllm", folder: ModelFolder | None = None, **model: Any) -> list[Item]:
    return list(sampling(model, folder, engine))


def values(items: list[Item], part: str) -> dict[str, Any]:
    return {item.field: item.value for item in items if isinstance(item, Set) and item.part == part}


def stops(items: list[Item]) -> list[str]:
    return [word for item in items if isinstance(item, Stop) for word in item.words]


def changes(items: list[Item]) -> list[str]:
    return [item.key for item in items if isinstance(item, Change)]


def notes(items: list[Item]) -> str:
    return "\n".join(item.text for item in items if isinstance(item, Note))


def test_without_do_sample_decoding_is_greedy_whatever_else_is_said() -> None:
    items = asked(generation_kwargs={"temperature": 0.7, "top_k": 20, "do_sample": False})
    assert values(items, "generation") == {"temperature": 0.0}
    assert "temperature=0.7" in notes(items)
    assert "top_k=20" in notes(items)


def test_with_do_sample_what_is_left_out_comes_from_the_models_generation_config_then_from_transformers() -> None:
    folder = ModelFolder({"temperature": 0.6, "top_p": 0.9}, {}, {})
    items = asked(folder=folder, generation_kwargs={"do_sample": True, "top_p": 0.8})
    assert values(items, "generation") == {"temperature": 0.6, "top_p": 0.8, "top_k": 50}
    assert "two runs differ" in notes(items)


def test_none_switches_a_way_of_sampling_off() -> None:
    off = {"do_sample": True, "temperature": None, "top_p": None, "top_k": None}
    items = asked(folder=ModelFolder({"temperature": 0.6, "top_p": 0.9}, {}, {}), generation_kwargs=off)
    assert values(items, "generation") == {"temperature": 1.0}


def test_the_models_own_repetition_penalty_is_sent_since_generate_applies_it_to_greedy_decoding_too() -> None:
    items = asked(folder=ModelFolder({"repetition_penalty": 1.05}, {}, {}))
    assert values(items, "generation") == {"temperature": 0.0, "repetition_penalty": 1.05}
    assert "generation_config.json" in notes(items)


def test_what_no_request_can_say_changes_answers() -> None:
    items = asked(generation_kwargs={"num_beams": 4, "no_repeat_ngram_size": 0, "num_return_sequences": 1, "spice": 2})
    assert changes(items) == ["generation_kwargs.num_beams", "generation_kwargs.spice"]


@pytest.mark.parametrize(("engine", "refused"), [("vllm", []), ("lightllm", ["min_out_len"])])
def test_a_shortest_answer_is_carried_over_where_the_engine_knows_one(engine: str, refused: list[str]) -> None:
    items = asked(engine, min_out_len=5)
    assert changes(items) == refused
    assert values(items, "parameters") == ({} if refused else {"min_tokens": 5})


def test_a_stop_word_that_engines_leave_out_of_their_text_is_sent_as_a_token() -> None:
    words = ["<|end_of_text|>", "<|eot_id|>"]
    items = asked("vllm", LLAMA, stop_words=words)
    assert stops(items) == words
    assert values(items, "parameters") == {"stop_token_ids": [128009]}
    told = asked("llamacpp", LLAMA, stop_words=words)
    assert values(told, "parameters") == {}
    assert "<|eot_id|>" in notes(told)


@pytest.mark.parametrize(
    ("engine", "ends", "sent", "refused"),
    [
        ("vllm", [128001, 128009], [128009], False),
        ("vllm", 128001, None, False),
        ("llamacpp", [128001], None, False),
        ("vllm", [128009], [128009], True),
        ("llamacpp", [128001, 128009], None, True),
    ],
)
def test_tokens_that_end_answers_are_sent_beside_the_models_own_which_must_be_among_them(
    engine: str, ends: int | list[int], sent: list[int] | None, refused: bool
) -> None:
    items = asked(engine, LLAMA, generation_kwargs={"eos_token_id": ends})
    assert values(items, "parameters").get("stop_token_ids") == sent
    assert changes(items) == (["generation_kwargs.eos_token_id"] if refused else [])


def test_stop_words_and_end_str_end_answers_alike() -> None:
    assert stops(asked(stop_words=["A"], end_str="B")) == ["A", "B"]


def test_words_at_which_data_sets_end_answers_go_out_with_every_request() -> None:
    sets = [DatasetEntry(abbr=name, max_out_len=None, stopping_criteria=["Q:"]) for name in ("a", "b")]
    assert stops(list(asking({}, "base", sets))) == ["Q:"]
    sets.append(DatasetEntry(abbr="c", max_out_len=None, stopping_criteria=[]))
    assert changes(list(asking({}, "base", sets))) == ["infer_cfg.inferencer.stopping_criteria"]


def test_older_classes_load_float16_unless_they_are_told_otherwise() -> None:
    honoured = {"dtype", "max_model_len"}
    old = list(loading({"path": "p"}, "text", None, "vllm", honoured))
    assert (values(old, "serve")["dtype"], values(old, "serve")["max_model_len"]) == ("float16", 2048)
    new = list(loading({"path": "p"}, "chat", None, "vllm", honoured))
    assert "dtype" not in values(new, "serve")
    told = list(
        loading({"path": "p", "model_kwargs": {"torch_dtype": "torch.bfloat16"}}, "chat", None, "vllm", honoured)
    )
    assert values(told, "serve")["dtype"] == "bfloat16"


def test_adapters_other_tokenizers_and_quantized_loading_change_answers() -> None:
    model = {
        "path": "p",
        "peft_path": "q",
        "tokenizer_path": "t",
        "model_kwargs": {"load_in_8bit": True, "load_in_4bit": False},
    }
    assert changes(list(loading(model, "chat", None, "lightllm", set()))) == [
        "model_kwargs.load_in_8bit",
        "tokenizer_path",
        "peft_path",
    ]


def test_the_demo_model_says_where_its_answers_end() -> None:
    folder = model_folder(MODEL.name, MODEL.parent)
    assert folder is not None
    assert (folder.ends, folder.brings_code) == (frozenset({2}), False)


def test_fields_of_serve_are_read_from_the_command_line() -> None:
    given = ["dtype=float32", "gpus=[0, 1]", "extra_args=--a 'b c'", "extra_args=--d", "env.N=1", "memory_fraction=0.5"]
    assert overrides(given, ["vllm"]) == {
        "vllm": {
            "dtype": "float32",
            "gpus": [0, 1],
            "extra_args": ["--a", "b c", "--d"],
            "env": {"N": "1"},
            "memory_fraction": 0.5,
        }
    }


def test_a_field_with_an_engines_name_is_for_that_engine_alone_and_wins() -> None:
    given = ["vllm.dtype=float16", "dtype=float32", "vllm.extra_args=--enforce-eager", "extra_args=--a", "vllm.env.N=1"]
    assert overrides(given, ["transformers", "vllm"]) == {
        "transformers": {"dtype": "float32", "extra_args": ["--a"]},
        "vllm": {"dtype": "float16", "extra_args": ["--a", "--enforce-eager"], "env": {"N": "1"}},
    }


def test_wrong_fields_of_serve_are_all_reported() -> None:
    with pytest.raises(BadSpec) as refused:
        overrides(["dtpye=float32", "engine=vllm", "gpus", "vllm.dtype=float32", "lmdeploy.dtpye=a"], ["lmdeploy"])
    told = {error.path: error.message for error in refused.value.errors}
    assert "did you mean `dtype`" in told["serve.dtpye"]
    assert told["serve.engine"] == "is given by -a"
    assert "KEY=VALUE" in told["serve.gpus"]
    assert "not among those of -a" in told["serve.vllm.dtype"]
    assert "did you mean `dtype`" in told["serve.lmdeploy.dtpye"]
