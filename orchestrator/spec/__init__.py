"""The job spec: its models, how it is read, and every error of it reported at once."""

from orchestrator.spec.loading import load_spec, parse_spec
from orchestrator.spec.models import EvaluateSpec, Generation, JobSpec

__all__ = ["EvaluateSpec", "Generation", "JobSpec", "load_spec", "parse_spec"]
