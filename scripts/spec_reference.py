"""Print the reference page of the job spec, made from the spec's own models: `python -m scripts.spec_reference`."""

from __future__ import annotations

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from clients.fidelity import FidelitySpec
from clients.spec import GatewaySpec, ProbeSpec
from launchers.compress.spec import CalibrationSpec, CompressSpec
from launchers.spec import ServeSpec
from orchestrator.spec import EvaluateSpec, Generation, JobSpec
from orchestrator.spec.lm_eval import LmEvalSpec
from orchestrator.spec.opencompass import JudgeSpec, OpenCompassSpec
from orchestrator.spec.speed import ContextSpec, LoadSpec, Objective, SpeedSpec, ThroughputSpec

PARTS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The job", JobSpec),
    ("`serve`: what to start", ServeSpec),
    ("`compress`: what to make of the model first", CompressSpec),
    ("`compress.calibration`: the texts to calibrate on", CalibrationSpec),
    ("`probe`: the real generation", ProbeSpec),
    ("`probe.fidelity`: what is checked about its answers", FidelitySpec),
    ("`gateway`: what stands between the evaluator and the replicas", GatewaySpec),
    ("`evaluate[]`: one evaluator", EvaluateSpec),
    ("`evaluate[].generation`: how the model is asked", Generation),
    ("`evaluate[].opencompass`: how OpenCompass asks and sums up", OpenCompassSpec),
    ("`evaluate[].opencompass.judge`: the model that judges", JudgeSpec),
    ("`evaluate[].lm_eval`: how lm-eval asks", LmEvalSpec),
    ("`evaluate[].speed`: what evaluator `speed` measures", SpeedSpec),
    ("`evaluate[].speed.context`: by context length", ContextSpec),
    ("`evaluate[].speed.throughput`: all prompts at once", ThroughputSpec),
    ("`evaluate[].speed.load`: under rising load", LoadSpec),
    ("`evaluate[].speed.load.objective`: what counts as good", Objective),
)
HEAD = """\
# The job spec

One document, YAML or JSON. Unknown keys are refused with the nearest valid name; all errors are reported at once,
before anything is started. `orchestrator schema` prints it as JSON schema for editors. Relative paths start from the
spec's folder, then from the current one.

This page is made by `python -m scripts.spec_reference > docs/spec.md`.
"""


def page() -> str:
    """The whole page, Markdown."""
    return "\n".join([HEAD, *(_section(title, model) for title, model in PARTS)])


def _section(title: str, model: type[BaseModel]) -> str:
    rows = [_row(name, info) for name, info in model.model_fields.items()]
    return "\n".join([f"## {title}\n", "| key | default | meaning |", "|---|---|---|", *rows, ""])


def _row(name: str, info: FieldInfo) -> str:
    meaning = (info.description or "").replace("\n", " ").replace("|", "\\|")
    return f"| `{name}` | {_default(info)} | {meaning} |"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    default = info.get_default(call_default_factory=True)
    return "see below" if isinstance(default, BaseModel) else f"`{'null' if default is None else default}`"


if __name__ == "__main__":
    print(page(), end="")
