"""What the operator allows, and secrets that are in no place but the engine's environment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from launchers import marker
from launchers.spec import ServeSpec
from orchestrator.api.rules import Rules
from orchestrator.errors import PolicyRefused, SecretMissing
from orchestrator.policy import Policy
from orchestrator.secrets import Vault, check_secrets, references
from orchestrator.spec.models import JobSpec
from tests.orchestrator.api.support import (
    Running,
    exposed_to_the_network,
    job_spec,
    problem,
    running,
    variables,
    wait_for,
)

VALUE = "s3cr3t-value-of-the-test"
module_loop = pytest.mark.asyncio(loop_scope="module")


def rules(*, exposed: bool = True, **policy: Any) -> Rules:
    return Rules(Policy(**policy), exposed=exposed, trust_remote_code=False, made_models=Path("/made"))


def refused(rules: Rules, **changes: Any) -> list[str]:
    """Paths that the rules refuse of a harmless job with these changes."""
    serve = {"engine": "vllm", "model": "org/model"}
    whole: dict[str, Any] = {"serve": serve, "evaluate": [{"evaluator": "opencompass", "datasets": ["gsm8k"]}]}
    for path, value in changes.items():
        part, _, field = path.partition("__")
        if part == "evaluate":
            whole["evaluate"][0][field] = value
        elif field:
            whole.setdefault(part, {})[field] = value
        else:
            whole[part] = value
    spec = JobSpec.model_validate(whole)
    try:
        rules.check(spec.serve, spec.compress, spec.evaluate)
    except PolicyRefused as error:
        return [one.path for one in error.errors]
    return []


REFUSED_OVER_THE_NETWORK: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"serve__engine": "custom"}, "serve.engine", {"custom_commands": True}),
    ({"serve__extra_args": ["--x"]}, "serve.extra_args", {"extra_args": True}),
    ({"serve__env": {"LD_PRELOAD": "x"}}, "serve.env.LD_PRELOAD", {"env": ["LD_*"]}),
    ({"serve__model": "/data/model"}, "serve.model", {"models": ["/data"]}),
    ({"serve__model": "/made/../etc/model"}, "serve.model", {"models": ["/etc"]}),
    ({"serve__chat_template": "/etc/passwd"}, "serve.chat_template", {"files": ["/etc"]}),
    ({"serve__host": "0.0.0.0"}, "serve.host", {"engine_hosts": ["0.0.0.0"]}),
    (
        {"serve__engine": "external", "serve__url": "http://10.0.0.1:80"},
        "serve.url",
        {"external_urls": ["http://10.*"]},
    ),
    ({"evaluate__datasets": ["/data/x.jsonl"]}, "evaluate.0.datasets.0", {"files": ["/data"]}),
    ({"evaluate__datasets": ["x/../config.py"]}, "evaluate.0.datasets.0", {"files": ["*"]}),
    ({"evaluate__datasets": ["srv/secret.csv"]}, "evaluate.0.datasets.0", {"files": ["*"]}),
    ({"evaluate__datasets": ["srv/task.yml"]}, "evaluate.0.datasets.0", {"files": ["*"]}),
    ({"evaluate__lm_eval": {"include_path": "srv/tasks"}}, "evaluate.0.lm_eval.include_path", {"files": ["*"]}),
    ({"serve__chat_template": "etc/passwd"}, "serve.chat_template", {"files": ["*"]}),
    (
        {"compress": {"tool": "command", "command": ["sh"]}},
        "compress.command",
        {"custom_commands": True},
    ),
    ({"compress": {"tool": "gguf", "args": ["--x"]}}, "compress.args", {"extra_args": True}),
    ({"compress": {"tool": "llmc", "config": "/x.yaml"}}, "compress.config", {"files": ["/"]}),
    ({"compress": {"tool": "llmc", "config": "etc/x"}}, "compress.config", {"files": ["*"]}),
    (
        {"compress": {"tool": "llm_compressor", "calibration": {"path": "/x.jsonl"}}},
        "compress.calibration.path",
        {"files": ["/"]},
    ),
]


@pytest.mark.parametrize(("changes", "path", "allowing"), REFUSED_OVER_THE_NETWORK)
def test_over_the_network_only_what_the_operator_allows(
    changes: dict[str, Any], path: str, allowing: dict[str, Any]
) -> None:
    assert refused(rules(), **changes) == [path]
    assert refused(rules(**allowing), **changes) == []
    assert refused(rules(exposed=False), **changes) == []


def test_code_that_comes_with_a_model_is_the_operators_to_allow_even_on_the_loopback() -> None:
    assert refused(rules(exposed=False), serve__trust_remote_code=True) == ["serve.trust_remote_code"]


def test_hub_models_are_free_unless_the_operator_names_some() -> None:
    assert refused(rules()) == []
    assert refused(rules(hub_models=["Qwen/*"])) == ["serve.model"]
    assert refused(rules(hub_models=["org/*"])) == []


def test_no_link_leads_out_of_the_allowed_folders(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "link").symlink_to("/etc")
    allowing = rules(models=[str(models)])
    assert refused(allowing, serve__model=f"{models}/mine") == []
    assert refused(allowing, serve__model=f"{models}/link/x") == ["serve.model"]
    assert refused(allowing, serve__model=f"{models}-other/x") == ["serve.model"]
    assert refused(rules(files=["/"]), evaluate__datasets=["here.py"]) == ["evaluate.0.datasets.0"]


def test_the_text_of_a_template_is_no_path() -> None:
    template = {"round": [{"role": "HUMAN", "begin": "../a/b/c: "}]}
    assert refused(rules(), evaluate__opencompass={"meta_template": template}) == []
    assert refused(rules(), evaluate__opencompass={"summarizer": "../a.py"}) == ["evaluate.0.opencompass.summarizer"]


def test_variables_of_the_service_are_named_one_by_one() -> None:
    env = {"A": "${env:HF_TOKEN} ${env:HOME}"}
    assert refused(rules(env=["*"]), serve__env=env) == ["serve.env.A", "serve.env.A"]
    assert refused(rules(env=["*"], secret_env=["HF_*", "HOME"]), serve__env=env) == []


@pytest.mark.parametrize("name", ["HF_TOKEN", "OPENAI_API_KEY", "db_password", "SECRET"])
def test_a_secret_that_is_written_out_is_refused(name: str) -> None:
    [error] = check_secrets({"serve": {"env": {name: "abc"}}})
    assert error.path == f"serve.env.{name}"
    assert not check_secrets({"serve": {"env": {name: "${env:X}"}}})
    assert not check_secrets({"serve": {"env": {name: ""}}})


def test_a_reference_elsewhere_than_in_the_variables_is_refused() -> None:
    document = {"name": "${env:A}", "serve": {"extra_args": ["--key", "${file:k}"], "env": {"TOKENIZERS": "1"}}}
    assert [error.path for error in check_secrets(document)] == ["name", "serve.extra_args.1"]


def test_references_are_resolved_and_their_values_found_again(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file\n")
    vault = Vault(tmp_path, {"TOKEN": VALUE, "SHORT": "ab"})
    given = {"A": "x ${env:TOKEN} y", "B": "${file:key}", "C": "plain", "D": "${env:SHORT}"}
    assert vault.resolve(given) == {"A": f"x {VALUE} y", "B": "from-a-file", "C": "plain", "D": "ab"}
    assert vault.redact(f"told {VALUE} and from-a-file, ab") == "told ${env:TOKEN} and ${file:key}, ab"
    assert [str(one) for one in references(given["A"])] == ["${env:TOKEN}"]


@pytest.mark.parametrize("text", ["${env:NONE}", "${file:none}", "${file:../x}", "${file:/etc/hostname}", "${file:}"])
def test_what_is_not_there_or_not_allowed_is_told_without_a_value(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (tmp_path / "x").write_text(VALUE)
    with pytest.raises(SecretMissing) as missing:
        Vault(folder, {}).resolve({"A": text})
    assert VALUE not in str(missing.value)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def closed(new_home: Callable[[], Path]) -> AsyncIterator[Running]:
    """A service that the network reaches and whose operator said nothing."""
    async with exposed_to_the_network(new_home()) as service:
        yield service


@module_loop
async def test_a_job_that_is_not_allowed_names_the_rules(closed: Running) -> None:
    answer = await closed.client.post("/jobs", json=job_spec(), headers=closed.token("a", "submit"))
    told = problem(answer, 403, "policy")
    assert [error["path"] for error in told["errors"]] == ["serve.engine", "evaluate.0.datasets.0"]
    assert "`custom_commands`, `files`" in told["detail"]


@module_loop
async def test_what_is_not_allowed_tells_nothing_about_the_machine(closed: Running) -> None:
    token = closed.token("b", "submit")
    told = []
    for model in ("/etc", "/no/such/folder"):
        spec = job_spec(serve={"engine": "vllm", "model": model}, evaluate=[{"evaluator": "speed", "datasets": ["x"]}])
        answer = await closed.client.post("/jobs?dry_run=true", json=spec, headers=token)
        told.append(problem(answer, 403, "policy")["detail"])
    assert told[0] == told[1]


@module_loop
async def test_deployments_and_comparisons_are_held_against_the_policy_too(closed: Running) -> None:
    token, spec = closed.token("c", "submit"), job_spec()
    problem(await closed.client.post("/deployments", json={"serve": spec["serve"]}, headers=token), 403, "policy")
    compared = {"serve": {"a": spec["serve"], "b": spec["serve"]}, "evaluate": spec["evaluate"]}
    problem(await closed.client.post("/comparisons", json=compared, headers=token), 403, "policy")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def knowing(new_home: Callable[[], Path]) -> AsyncIterator[Running]:
    """A service on the loopback that has secrets."""
    home = new_home()
    (home / "secrets").mkdir()
    (home / "secrets" / "key").write_text(VALUE + "-file")
    with variables(OF_THE_TEST=VALUE):
        async with running(home) as service:
            yield service


@module_loop
async def test_a_secret_is_in_the_engines_environment_and_nowhere_else(knowing: Running) -> None:
    spec = job_spec("--load-time", "1")
    spec["serve"]["env"] = {"HF_TOKEN": "${env:OF_THE_TEST}", "A_KEY": "${file:key}"}
    job = (await knowing.submit(spec))["id"]

    async def engine() -> Mapping[str, str] | None:
        found = [psutil.Process(process.pid) for process in marker.find(f"{job}/engine-0")]
        return next((one.environ() for one in found if "orchestrator.fake_engine" in one.cmdline()), None)

    environment = await wait_for(engine, "engine of the job")
    done = await knowing.over(job)
    assert (environment["HF_TOKEN"], environment["A_KEY"]) == (VALUE, VALUE + "-file")
    assert done["state"] == "succeeded", done["failure"]
    assert done["spec"]["serve"]["env"] == spec["serve"]["env"]
    assert done["resources"]["replicas"][0]["env"]["HF_TOKEN"] == "${env:OF_THE_TEST}"
    assert [path.name for path in holding(knowing.settings.root)] == ["key"]


def holding(home: Path) -> list[Path]:
    """Files with the secret in them, the store's among those looked at."""
    return [path for path in home.rglob("*") if path.is_file() and VALUE.encode() in path.read_bytes()]


@module_loop
async def test_an_engine_that_prints_its_secret_is_not_quoted(knowing: Running) -> None:
    spec = job_spec()
    spec["serve"]["command"] = ["sh", "-c", "echo on {port} the token is $HF_TOKEN; exit 3"]
    spec["serve"]["env"] = {"HF_TOKEN": "${env:OF_THE_TEST}"}
    done = await knowing.over((await knowing.submit(spec))["id"])
    assert done["state"] == "failed"
    assert "the token is ${env:OF_THE_TEST}" in done["failure"]["log_tail"]
    assert VALUE not in str(done)


@pytest.mark.slow
@module_loop
async def test_a_secret_that_is_missing_fails_the_job_by_name(knowing: Running) -> None:
    spec = job_spec()
    spec["serve"]["env"] = {"HF_TOKEN": "${env:NOT_SET_ANYWHERE}"}
    done = await knowing.over((await knowing.submit(spec))["id"])
    assert (done["state"], done["failure"]["code"]) == ("failed", "secret_missing")
    assert "NOT_SET_ANYWHERE" in done["failure"]["message"]


def test_the_serve_part_has_no_path_that_the_policy_does_not_know() -> None:
    """A new field of `serve` must be looked at here: whether it runs, reads or reaches something."""
    harmless = {
        *("served_model_name", "tensor_parallel", "pipeline_parallel", "replicas", "gpus", "port", "nccl_port"),
        *("dtype", "quantization", "kv_cache_dtype", "memory_fraction", "max_total_tokens", "max_model_len"),
        *("max_input_len", "max_concurrency", "seed", "health_path", "startup_timeout", "stall_timeout"),
        "max_restarts",
    }
    ruled = {"engine", "model", "url", "host", "chat_template", "trust_remote_code", "extra_args", "env", "command"}
    assert set(ServeSpec.model_fields) == harmless | ruled
