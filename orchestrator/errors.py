"""Every error that `orchestrator` raises; those of `launchers` and `clients` have trees of their own.

    OrchestratorError            catch this one around anything of the orchestrator
    ├── BadSpec                  the job spec has errors (all of them, with their paths); exit code 2
    ├── EvaluatorMissing         the evaluator's environment is not installed
    ├── EvaluatorFailed          the evaluator did not leave a whole evaluation behind
    ├── DatasetMissing           a data set's data is not on this machine
    ├── JobTimeout               the job's or the evaluator's time limit passed
    ├── Lost                     the process that owned the job is gone
    ├── DeploymentError          `up`, `down`, `logs`: no such deployment, or the name is taken
    ├── DeploymentFailed         the deployment that a job uses could not be started; `code` is the reason's
    ├── NotReady                 the service starts or stops: ask again in a moment
    ├── ExecutorRefused          the executor did not start a runner
    ├── StoreError               the store cannot be opened: not reachable, or written by a newer version
    ├── ServiceRunning           another process serves this store
    ├── NotFound                 the store has no such job, attempt, deployment, comparison, token
    ├── PreconditionFailed       it changed since the version that the caller saw
    ├── QueueFull                no more jobs may be queued
    ├── Unprotected              the service would be open to the network without a token
    ├── Unauthorized             the request carries no token, or one that does not hold
    ├── Forbidden                the token's role, the request's host or its origin does not allow it
    │   └── PolicyRefused        the operator's policy does not allow what the spec asks for
    ├── RateLimited              the token sent more requests than it may
    ├── SecretMissing            a secret that the spec refers to is not there
    └── Conflict                 what is asked for does not fit the state of its target
        ├── IdempotencyConflict  the key was used before with another body
        ├── TerminalState        the job is over
        ├── StaleAttempt         the attempt is not the job's current one, or it is over
        └── LeaseTaken           another holder has one of the GPUs or ports

Each has a stable `code` (contract section 2), a message that says what happened to what, and a `hint`
that says what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class OrchestratorError(Exception):
    """Something about a job went wrong."""

    code = "failed"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class FieldError:
    """One error of a spec: `path` is the dotted path of the key, e.g. `evaluate.0.datasets.1`."""

    path: str
    message: str


class BadSpec(OrchestratorError):
    """The job spec has errors; `errors` holds all of them."""

    code = "bad_spec"

    def __init__(self, errors: Sequence[FieldError], *, source: str = "the job spec") -> None:
        self.errors = tuple(errors)
        count = f"{len(self.errors)} error" + ("s" if len(self.errors) != 1 else "")
        lines = [f"  {error.path or '(document)'}: {error.message}" for error in self.errors]
        super().__init__("\n".join([f"{source} has {count}:", *lines]))


class EvaluatorMissing(OrchestratorError):
    """The evaluator is not installed here."""

    code = "evaluator_missing"


class EvaluatorFailed(OrchestratorError):
    """The evaluator did not leave a whole evaluation behind."""

    code = "evaluator_failed"


class DatasetMissing(OrchestratorError):
    """The data of a data set is not on this machine."""

    code = "dataset_missing"


class JobTimeout(OrchestratorError):
    """A time limit of the spec passed."""

    code = "timeout"


class Lost(OrchestratorError):
    """The process that owned the job is gone."""

    code = "lost"


class DeploymentError(OrchestratorError):
    """No such deployment, or the name is taken."""

    code = "no_deployment"


class DeploymentFailed(OrchestratorError):
    """The deployment that a job uses could not be started; `code` is the reason's."""

    def __init__(self, message: str, *, code: str, hint: str, told: Mapping[str, str | None]) -> None:
        """`told`: `log`, `log_tail` and `command` of what failed there, as far as they are known."""
        super().__init__(message, hint=hint)
        self.code = code
        self.told = dict(told)


class NotReady(OrchestratorError):
    """The service starts or stops."""

    code = "not_ready"


class ExecutorRefused(OrchestratorError):
    """The executor did not start a runner, or there is no such executor."""

    code = "executor_refused"


class StoreError(OrchestratorError):
    """The store cannot be opened."""

    code = "store"


class ServiceRunning(OrchestratorError):
    """Another process serves this store."""

    code = "service_running"


class NotFound(OrchestratorError):
    """The store has no such thing."""

    code = "not_found"


class PreconditionFailed(OrchestratorError):
    """It changed since the version that the caller saw."""

    code = "precondition_failed"


class QueueFull(OrchestratorError):
    """No more jobs may be queued."""

    code = "queue_full"


class Unprotected(OrchestratorError):
    """The service would be open to the network without a token."""

    code = "unauthorized"


class Unauthorized(OrchestratorError):
    """The request carries no token, or one that does not hold."""

    code = "unauthorized"


class Forbidden(OrchestratorError):
    """Who asks may not do that, or the request comes from elsewhere than it says."""

    code = "forbidden"


class PolicyRefused(Forbidden):
    """The operator's policy does not allow what the spec asks for; `errors` holds every refusal."""

    code = "policy"

    def __init__(self, refused: Sequence[tuple[str, FieldError]]) -> None:
        """`refused`: the name of each rule that refuses, and what it refuses."""
        self.errors = tuple(error for _, error in refused)
        rules = ", ".join(dict.fromkeys(f"`{rule}`" for rule, _ in refused))
        hint = f"the operator can allow it in orchestrator.toml; the rules: {rules}"
        super().__init__(f"the operator's policy does not allow this job: {rules}", hint=hint)


class RateLimited(OrchestratorError):
    """The token sent more requests than it may; `retry_after` seconds from now it may again."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, hint=f"wait {retry_after:.1f} s")
        self.retry_after = retry_after


class SecretMissing(OrchestratorError):
    """A secret that the spec refers to is not there."""

    code = "secret_missing"


class Conflict(OrchestratorError):
    """What is asked for does not fit the state of its target."""

    code = "conflict"


class IdempotencyConflict(Conflict):
    """The key was used before with another body."""

    code = "idempotency_conflict"


class TerminalState(Conflict):
    """The job is over; a terminal state never changes."""


class StaleAttempt(Conflict):
    """The attempt is not the job's current one, or it is over: its runner has to stop."""

    code = "stale_attempt"


class LeaseTaken(Conflict):
    """Another holder has one of the GPUs or ports."""

    code = "lease_taken"


def innermost(error: BaseException) -> BaseException:
    """The first error that made a group of tasks fail."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
