"""What a well-formed spec may still ask that cannot be done here: checked before anything is taken or started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from launchers.compress.registry import get_tool
from launchers.compress.spec import CompressSpec
from launchers.engine import Engine
from launchers.environments import Environments
from launchers.errors import SpecRefused
from launchers.gpus import Inventory, discover
from launchers.registry import get_engine
from launchers.spec import ServeSpec
from orchestrator.compressing import expected, source_of, workshop_of
from orchestrator.errors import DatasetMissing, EvaluatorMissing, FieldError
from orchestrator.evaluators.registry import environment_of, get_evaluator
from orchestrator.settings import Settings
from orchestrator.spec.models import EvaluateSpec, JobSpec

RESERVED_VARIABLES = {
    "CUDA_VISIBLE_DEVICES": "set by the lease; name GPUs in `gpus`",
    "ORCHESTRATOR_MARK": "used to find the processes of this job",
}


def check_job(spec: JobSpec, base: Path, settings: Settings, inventory: Inventory | None = None) -> list[FieldError]:
    """Every error of a job that its form does not show. `base` is where relative paths start.

    `inventory`: the GPUs here, where the caller knows them; else they are looked up, which may take the driver a while.
    """
    errors = check_serve(spec.serve, settings, spec.compress, inventory)
    for index, evaluate in enumerate(spec.evaluate):
        errors.extend(_check_evaluate(evaluate, f"evaluate.{index}", spec.serve, base, settings))
    return errors


def check_alone(spec: JobSpec) -> list[FieldError]:
    """Errors of a job that runs without the service."""
    wrong = {"keep_alive": spec.keep_alive, "priority": spec.priority}
    message = "needs the service; remove it, or `orchestrator submit` the job"
    return [FieldError(path, message) for path, value in wrong.items() if value]


def require_data(spec: JobSpec, base: Path, settings: Settings) -> None:
    """Data of every evaluation, before anything is taken.

    Raises: DatasetMissing with all that is absent and how to get it.
    """
    absent = [line for evaluate in spec.evaluate for line in _absent(evaluate, base, settings)]
    if absent:
        raise DatasetMissing("\n".join(absent), hint="run these commands, or name other data sets")


def check_serve(
    spec: ServeSpec, settings: Settings, compress: CompressSpec | None = None, inventory: Inventory | None = None
) -> list[FieldError]:
    """Every error of the `serve` part, and of what is made of its model first; `inventory` as in `check_job`."""
    try:
        engine = get_engine(spec.engine)
    except SpecRefused as unknown:
        return [FieldError("serve.engine", unknown.message), *_under("serve", _model(spec, None))]
    wrong = check_compress(compress, spec, settings) if compress else []
    # The engine gets the model that will be made, in a format of its own.
    offered = expected(spec, compress, settings) if compress and not wrong else spec
    environment = Environments(settings.environments).find(engine.recipe) if engine.recipe else None
    refused = [(one.field, one.message) for one in engine.refusals(offered, engine.flags(environment))]
    if wrong:
        refused = [(field, message) for field, message in refused if field != "model"]
    found = [*refused, *_model(spec, engine), *_policy(spec, settings), *_variables(spec), *_ports(spec)]
    if not any(field in ("tensor_parallel", "pipeline_parallel", "gpus") for field, _ in refused):
        found.extend(_gpus(spec, engine, inventory or discover(settings.gpus)))
    return [*_under("serve", found), *wrong]


def check_compress(spec: CompressSpec, serve: ServeSpec, settings: Settings) -> list[FieldError]:
    """Every error of the `compress` part."""
    if serve.engine == "external":
        return [FieldError("compress", "engine `external` serves a model of its own; remove it")]
    source = source_of(serve)
    found = [
        (refusal.field, refusal.message)
        for refusal in get_tool(spec.tool).refusals(spec, source, workshop_of(settings))
    ]
    if source is None:
        found.append(("tool", f"needs `serve.model` to be the folder of a model here, not {serve.model!r}"))
    return _under("compress", found)


def _under(prefix: str, found: list[tuple[str, str]]) -> list[FieldError]:
    return [FieldError(f"{prefix}.{field}", message) for field, message in found]


def _model(spec: ServeSpec, engine: Engine | None) -> list[tuple[str, str]]:
    if spec.model is None:
        optional = spec.engine == "external" or spec.served_model_name is not None
        return [] if optional and engine and engine.recipe is None else [("model", "is required")]
    path = Path(spec.model).expanduser()
    is_path = spec.model.startswith(("/", "~", "./", "../")) or spec.model.count("/") > 1
    if path.exists() or not is_path:
        return _incomplete_model(path, engine) if path.is_dir() else []
    return [
        (
            "model",
            f"{path} does not exist; give the folder with config.json, weights and tokenizer, or a hub id",
        )
    ]


def _incomplete_model(folder: Path, engine: Engine | None) -> list[tuple[str, str]]:
    if engine is None or engine.recipe is None or (folder / "config.json").is_file():
        return []
    return [("model", f"{folder} has no config.json, so it is not the folder of a model")]


def _policy(spec: ServeSpec, settings: Settings) -> Iterator[tuple[str, str]]:
    if spec.trust_remote_code and not settings.allow_trust_remote_code:
        yield (
            "trust_remote_code",
            "the operator does not allow it; set ORCHESTRATOR_ALLOW_TRUST_REMOTE_CODE=true to allow it",
        )


def _variables(spec: ServeSpec) -> Iterator[tuple[str, str]]:
    for name in RESERVED_VARIABLES.keys() & spec.env.keys():
        yield f"env.{name}", f"cannot be set: {RESERVED_VARIABLES[name]}"


def _ports(spec: ServeSpec) -> Iterator[tuple[str, str]]:
    if spec.port is not None and spec.port == spec.nccl_port:
        yield "nccl_port", f"is the same as `port` ({spec.port}); every server needs two different ports"


def _gpus(spec: ServeSpec, engine: Engine, inventory: Inventory) -> Iterator[tuple[str, str]]:
    needed = spec.gpus_per_replica * spec.replicas
    have = len(inventory.gpus)
    where = f"this machine has {have}" + (f" ({inventory.reason})" if inventory.reason and not have else "")
    if spec.gpus is not None:
        yield from _explicit_gpus(spec, engine, inventory, needed)
    elif engine.gpus_needed(spec, have) > have:
        field = "tensor_parallel" if spec.gpus_per_replica > 1 else "replicas"
        parts = f"{spec.tensor_parallel} tensor x {spec.pipeline_parallel} pipeline x {spec.replicas} replicas"
        yield field, f"needs {needed} GPUs ({parts}), {where}"


def _explicit_gpus(spec: ServeSpec, engine: Engine, inventory: Inventory, needed: int) -> Iterator[tuple[str, str]]:
    wanted = spec.gpus or []
    known = {gpu.index for gpu in inventory.gpus}
    if len(set(wanted)) != len(wanted):
        yield "gpus", "names a GPU twice"
    if missing := sorted(set(wanted) - known):
        yield "gpus", f"GPU {', '.join(map(str, missing))} does not exist here; there are {sorted(known)}"
    on_processor = not wanted and not engine.needs_gpu and spec.gpus_per_replica == 1
    if len(wanted) != needed and not on_processor:
        yield (
            "gpus",
            f"names {len(wanted)} GPUs, but tensor_parallel x pipeline_parallel x replicas is {needed}",
        )


def _check_evaluate(
    spec: EvaluateSpec, path: str, serve: ServeSpec, base: Path, settings: Settings
) -> Iterator[FieldError]:
    try:
        evaluator = get_evaluator(spec.evaluator)
    except EvaluatorMissing as missing:
        yield FieldError(f"{path}.evaluator", missing.message)
        return
    if evaluator.asks_datasets and not spec.datasets:
        yield FieldError(f"{path}.datasets", "is required: a list of at least 1 name or path")
    if spec.speed and spec.evaluator != "speed":
        yield FieldError(f"{path}.speed", f"is for evaluator `speed`, not for `{spec.evaluator}`; remove it")
    if spec.opencompass and spec.evaluator != "opencompass":
        yield FieldError(
            f"{path}.opencompass", f"is for evaluator `opencompass`, not for `{spec.evaluator}`; remove it"
        )
    if spec.lm_eval and spec.evaluator != "lm_eval":
        yield FieldError(f"{path}.lm_eval", f"is for evaluator `lm_eval`, not for `{spec.evaluator}`; remove it")
    environment = environment_of(evaluator, Environments(settings.environments))
    refused = evaluator.refusals(spec, base, environment)
    yield from (FieldError(f"{path}.{refusal.field}", refusal.message) for refusal in refused)
    if not refused and evaluator.scored_by_likelihood(spec, base, environment):
        yield from _check_scores(evaluator.scored_by_likelihood(spec, base, environment), path, serve, settings)
    yield from _check_sampling(spec, f"{path}.generation", serve)


def _absent(spec: EvaluateSpec, base: Path, settings: Settings) -> list[str]:
    evaluator = get_evaluator(spec.evaluator)
    environment = environment_of(evaluator, Environments(settings.environments))
    return list(dict.fromkeys(lack.message for lack in evaluator.missing_data(spec, base, environment)))


def _check_scores(fields: list[str], path: str, serve: ServeSpec, settings: Settings) -> Iterator[FieldError]:
    try:
        engine = get_engine(serve.engine)
    except SpecRefused:
        return  # reported at serve.engine
    environment = Environments(settings.environments).find(engine.recipe) if engine.recipe else None
    if reason := engine.no_prompt_scores(serve, engine.flags(environment)):
        message = f"is scored by log-likelihoods of given texts, and engine `{serve.engine}` cannot tell them: {reason}"
        yield from (FieldError(f"{path}.{field}", message) for field in fields)


def _check_sampling(spec: EvaluateSpec, path: str, serve: ServeSpec) -> Iterator[FieldError]:
    try:
        ignored = get_engine(serve.engine).ignored_sampling
    except SpecRefused:
        return  # reported at serve.engine
    for field, instead in ignored.items():
        value = getattr(spec.generation, field)
        if value is not None and value != 0:
            yield FieldError(f"{path}.{field}", f"engine `{serve.engine}` does not honour it: {instead}")
