"""Speed: by context length, of a batch, under rising load; asked by a process of its own, raw over asyncio."""

from orchestrator.evaluators.speed.evaluator import SpeedEvaluator

__all__ = ["SpeedEvaluator"]
