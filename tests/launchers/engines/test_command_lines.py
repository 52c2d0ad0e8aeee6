"""One spec on every engine and version: the exact command line, or a refusal that says what works instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from launchers.engine import Place
from launchers.errors import SpecRefused
from launchers.flags import known, known_versions
from launchers.registry import engine_names, get_engine
from launchers.spec import ServeSpec
from tests.launchers.engines.cases import CASES, Case

TAKES_ANY_NAME = {("lightllm", "0.2024.5")}
"""Versions that need not be told the model's name, for they answer to every one."""
REAL_ENGINES = sorted(set(engine_names()) & {"lightllm", "lmdeploy", "vllm", "sglang", "llamacpp", "transformers"})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_spec_becomes_exactly_this_command_line(case: Case) -> None:
    engine = get_engine(case.engine)
    assert engine.refusals(case.serve, case.flags) == []
    assert list(case.launch().argv[1:]) == case.words


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_flag_that_is_written_is_known_to_that_version(case: Case) -> None:
    extra = set(case.serve.extra_args)
    written = {word for word in case.words if word.startswith("--")} - extra
    assert written <= case.flags.names


def test_every_engine_has_a_command_line_for_each_version_that_we_know() -> None:
    for name in REAL_ENGINES:
        versions = {case.version for case in CASES if case.engine == name}
        assert versions >= set(known_versions(name)), name


@pytest.mark.parametrize(
    ("engine", "version", "field", "value", "instead"),
    [
        ("lightllm", "1.2.0", "max_input_len", 6144, "max_model_len"),
        ("lightllm", "0.2024.5", "memory_fraction", 0.9, "max_total_tokens"),
        ("lightllm", "1.0.1", "chat_template", "/templates/plain.jinja", "tokenizer_config.json"),
        ("lightllm", "1.2.0", "pipeline_parallel", 2, "tensor_parallel"),
        ("lightllm", "1.2.0", "seed", 7, "requests"),
        ("lmdeploy", "0.18.0", "tensor_parallel", 3, "power of two"),
        ("lmdeploy", "0.18.0", "dtype", "float32", "float16 or bfloat16"),
        ("lmdeploy", "0.18.0", "quantization", "q8_0", "awq"),
        ("lmdeploy", "0.18.0", "max_total_tokens", 1000, "memory_fraction"),
        ("vllm", "0.33.0", "max_total_tokens", 1000, "memory_fraction"),
        ("vllm", "0.33.0", "max_input_len", 1000, "max_model_len"),
        ("sglang", "0.4.1", "pipeline_parallel", 2, "tensor_parallel"),
        ("sglang", "0.5.23", "max_input_len", 1000, "max_model_len"),
        ("transformers", "5.23.0", "tensor_parallel", 2, "vllm"),
        ("transformers", "5.23.0", "max_model_len", 4096, "no length limit"),
        ("transformers", "5.23.0", "quantization", "awq", "bnb-4bit"),
        ("transformers", "4.57.6", "quantization", "int4", "checkpoint"),
        ("llamacpp", "0.3.36", "tensor_parallel", 2, "vllm"),
        ("llamacpp", "0.3.36", "dtype", "float16", "GGUF"),
        ("llamacpp", "0.3.36", "chat_template", "/templates/plain.jinja", "llama-server"),
    ],
)
def test_what_a_version_cannot_do_is_refused_with_what_works_instead(
    engine: str, version: str, field: str, value: object, instead: str
) -> None:
    model = "/models/llama.gguf" if engine == "llamacpp" else "/models/llama"
    spec = ServeSpec.model_validate({"engine": engine, "model": model, field: value})
    refusals = get_engine(engine).refusals(spec, known(engine, version))
    assert [refusal.field for refusal in refusals] == [field]
    assert instead in refusals[0].message


def test_no_field_is_dropped_silently(tmp_path: Path) -> None:
    """Every field of the spec, on every engine and version, changes the command or is refused."""
    values = {"tensor_parallel": 2, "pipeline_parallel": 2, "dtype": "bfloat16", "quantization": "awq"}
    values |= {"kv_cache_dtype": "int8", "memory_fraction": 0.5, "max_total_tokens": 9999, "max_model_len": 999}
    values |= {"max_input_len": 998, "max_concurrency": 3, "chat_template": "/t.jinja", "seed": 5}
    values |= {"served_model_name": "eight-b", "extra_args": ["--some-flag"]}
    (tmp_path / "llama.gguf").touch()
    for name in REAL_ENGINES:
        for version in known_versions(name):
            for field, value in values.items():
                if field == "served_model_name" and (name, version) in TAKES_ANY_NAME:
                    continue
                assert _changes(name, version, str(tmp_path), field, value), f"{name} {version}: {field} has no effect"


def _changes(name: str, version: str, model: str, field: str, value: object) -> bool:
    engine, flags = get_engine(name), known(name, version)
    plain = {"engine": name, "model": model}
    place = Place(0, "127.0.0.1", 13001, 13002, (0, 1), Path("/job/engine-0"), Path("/python"), flags)
    spec = ServeSpec.model_validate({**plain, field: value})
    if engine.refusals(spec, flags):
        return True
    with_it, without = (engine.launch(one, place) for one in (spec, ServeSpec.model_validate(plain)))
    return with_it.argv != without.argv or dict(with_it.env) != dict(without.env)


def test_a_field_that_the_installed_version_cannot_honour_is_never_left_out_of_the_command() -> None:
    """Checked before with the newest version's flags, started with an older one's."""
    case = Case("lightllm", "1.0.1", "", {"chat_template": "/templates/plain.jinja"})
    assert get_engine("lightllm").refusals(case.serve) == []
    with pytest.raises(SpecRefused, match=r"serve\.chat_template: lightllm 1\.0\.1 has no flag for it"):
        case.launch()


def test_what_we_set_for_the_evaluation_is_told_and_can_be_set_otherwise() -> None:
    ours = Case("vllm", "0.33.0", "").launch()
    assert any(note.startswith("--generation-config vllm: ") for note in ours.notes)
    theirs = Case("vllm", "0.33.0", "", {"extra_args": ["--generation-config", "auto"]}).launch()
    assert list(theirs.argv).count("--generation-config") == 1
    assert theirs.argv[-2:] == ("--generation-config", "auto")
    joined = Case("vllm", "0.33.0", "", {"extra_args": ["--generation_config=auto"]}).launch()
    assert "--generation-config" not in joined.argv


def test_lmdeploy_on_several_gpus_never_starts_ray_by_itself() -> None:
    for version in known_versions("lmdeploy"):
        launch = Case("lmdeploy", version, "", {"tensor_parallel": 2}, (0, 1)).launch()
        assert launch.env["LMDEPLOY_EXECUTOR_BACKEND"] == "mp"


def test_replicas_of_one_spec_differ_in_every_port() -> None:
    """Also in those that reach the workers through a variable."""
    for name in ("lightllm", "lmdeploy", "vllm", "sglang"):
        engine = get_engine(name)
        spec = ServeSpec(engine=name, model="/models/llama", tensor_parallel=2)
        places = (
            Place(n, "127.0.0.1", 13001 + n, 14001 + n, (2 * n, 2 * n + 1), Path(f"/job/engine-{n}"), Path("/python"))
            for n in range(2)
        )
        first, second = (engine.launch(spec, place) for place in places)
        for n, launch in enumerate((first, second)):
            said = " ".join([*launch.argv, *launch.env.values()])
            assert (str(13001 + n) in said, str(14001 + n) in said) == (True, True), f"{name}: {said}"


def test_llama_server_shares_its_context_among_the_slots() -> None:
    spec = ServeSpec(engine="llamacpp", model="/models/llama.gguf", max_model_len=4096, max_concurrency=8)
    place = Place(0, "127.0.0.1", 13001, None, (), Path("/job"), None, known("llama-server"))
    engine = get_engine("llamacpp")
    assert engine.refusals(spec, known("llama-server")) == []
    argv = engine.launch(spec, place).argv
    assert argv[0].endswith("llama-server")
    assert argv[argv.index("--ctx-size") + 1] == str(8 * 4096)
    assert argv[argv.index("--parallel") + 1] == "8"


def test_a_model_that_is_no_gguf_file_is_refused_by_llamacpp(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    engine = get_engine("llamacpp")
    refused = engine.refusals(ServeSpec(engine="llamacpp", model=str(tmp_path)))
    assert [(one.field, "GGUF" in one.message) for one in refused] == [("model", True)]
    (tmp_path / "llama-q8_0.gguf").touch()
    assert engine.refusals(ServeSpec(engine="llamacpp", model=str(tmp_path))) == []
