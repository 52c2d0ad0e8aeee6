"""A finished job as a run of MLflow."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import Any

from orchestrator.record import State
from orchestrator.reporting.artifacts import artifacts_of
from orchestrator.reporting.document import metrics_of, parameters_of
from orchestrator.reporting.extras import extra
from orchestrator.reporting.job import FinishedJob

_AT_ONCE = 100  # parameters that a server takes in one request
_LONGEST = 6000  # characters of a parameter
_STATUS = {State.SUCCEEDED: "FINISHED", State.INCOMPLETE: "FINISHED", State.CANCELLED: "KILLED"}


def to_mlflow(job: FinishedJob, *, uri: str | None, experiment: str) -> str:
    """Log parameters, metrics and files as a new run of `experiment`, which is made where it is missing; its id.

    `uri`: of the tracking server; None: what MLFLOW_TRACKING_URI says, as for every client of MLflow.
    Raises: OrchestratorError when the client is not installed; the client's own errors.
    """
    tracking, entities = extra("mlflow.tracking", name="mlflow"), extra("mlflow.entities", name="mlflow")
    client = tracking.MlflowClient(tracking_uri=uri)
    record = job.record
    began = _milliseconds(record.created_at)
    tags = {"orchestrator.job": record.id, "orchestrator.state": record.state.value, **record.labels}
    run = client.create_run(_experiment(client, experiment), start_time=began, tags=tags, run_name=record.name).info
    _log(client, entities, run.run_id, job, began)
    for path in artifacts_of(job):
        client.log_artifact(run.run_id, str(path), artifact_path="plots" if path.parent.name == "plots" else None)
    ended = _milliseconds(record.finished_at) if record.finished_at else None
    client.set_terminated(run.run_id, _STATUS.get(record.state, "FAILED"), ended)
    return str(run.run_id)


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _log(client: Any, entities: Any, run: str, job: FinishedJob, when: int) -> None:
    metrics = [entities.Metric(name, value, when, 0) for name, value in metrics_of(job).items()]
    parameters = (entities.Param(name, value[:_LONGEST]) for name, value in parameters_of(job).items())
    for start in range(0, len(metrics), _AT_ONCE):
        client.log_batch(run, metrics=metrics[start : start + _AT_ONCE])
    while some := list(islice(parameters, _AT_ONCE)):
        client.log_batch(run, params=some)


def _milliseconds(stamp: str) -> int:
    return int(1000 * datetime.fromisoformat(stamp).timestamp())
