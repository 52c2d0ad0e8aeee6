"""The OpenCompass evaluator."""

from orchestrator.evaluators.opencompass.evaluator import OpenCompassEvaluator

__all__ = ["OpenCompassEvaluator"]
