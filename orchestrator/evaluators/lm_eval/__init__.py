"""The lm-evaluation-harness evaluator."""

from orchestrator.evaluators.lm_eval.evaluator import LmEvalEvaluator

__all__ = ["LmEvalEvaluator"]
