"""A finished job as a run of Weights & Biases."""

from __future__ import annotations

from pathlib import Path

from orchestrator.reporting.artifacts import artifacts_of
from orchestrator.reporting.document import metrics_of, parameters_of
from orchestrator.reporting.extras import extra
from orchestrator.reporting.job import FinishedJob


def to_wandb(job: FinishedJob, *, project: str, folder: Path) -> str:
    """Log configuration, summary and files as a new run of `project`; the folder in which the client kept it.

    Where to, and whether at all (`WANDB_MODE=offline`), the client's own variables say.
    Raises: OrchestratorError when the client is not installed; the client's own errors.
    """
    wandb = extra("wandb", name="wandb")
    record = job.record
    tags = [f"state: {record.state.value}"]
    config = {**parameters_of(job), **{f"label {name}": value for name, value in record.labels.items()}}
    run = wandb.init(
        project=project, name=record.name, dir=str(folder), tags=tags, config=config, job_type="evaluation"
    )
    run.summary.update(metrics_of(job))
    files = wandb.Artifact(f"job-{record.id}", type="evaluation")
    for path in artifacts_of(job):
        files.add_file(str(path), name=str(path.relative_to(job.folder.path)))
    run.log_artifact(files)
    kept = str(Path(run.dir).parent)
    run.finish(exit_code=0)
    return kept
