"""The runner: owns one job from the first lease to the proof of its teardown.

The happy path is `Runner._sequence`, top to bottom: allocate, start, probe, evaluate; `Runner.run` ends it, whatever
happened, in a teardown and one terminal state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypedDict

from clients.errors import ClientError
from clients.records import write_parquet
from clients.replica import Replica
from clients.spec import GatewaySpec
from launchers.compress.spec import CompressSpec
from launchers.environments import Environments
from launchers.errors import LaunchError
from orchestrator.borrowing import BorrowedServing
from orchestrator.deployment import DeploymentFolder
from orchestrator.errors import DeploymentFailed, EvaluatorMissing, JobTimeout, OrchestratorError, innermost
from orchestrator.evaluation import EvaluatorRun
from orchestrator.evaluators.registry import environment_of, get_evaluator, missing_hint
from orchestrator.fidelity import prove_fidelity
from orchestrator.fingerprint import serving_identity
from orchestrator.history import History, View
from orchestrator.job_folder import JobFolder
from orchestrator.plan import target_of
from orchestrator.record import Failure, JobRecord, State, failure_of, unexpected
from orchestrator.replicas import Tell
from orchestrator.report import write_report
from orchestrator.reporting.examining import examine
from orchestrator.results import DatasetResult, Sample
from orchestrator.serving import Serving
from orchestrator.settings import Settings
from orchestrator.spec.models import JobSpec
from orchestrator.speed import SpeedResult


class _Told(TypedDict):
    """What both kinds of serving are told."""

    owner: str
    folder: Path
    tell: Tell
    gateway: GatewaySpec
    adaptive: bool


class Runner:
    """One job in this process. `run` once; `interrupt` from a signal handler at any time."""

    def __init__(
        self,
        folder: JobFolder,
        record: JobRecord,
        spec: JobSpec,
        base: Path,
        settings: Settings,
        view: View,
        deployment: DeploymentFolder | None = None,
        waits_for: Collection[str] = (),
    ) -> None:
        """`deployment` serves the model where it is given; else the job does.

        `waits_for`: codes of failures before any start after which the job is not over: its owner tries it again.
        """
        self.history = History(folder, record, view)
        self._folder = folder
        self._spec = spec
        self._base = base
        self._settings = settings
        self._waits_for = waits_for
        self._serving = self._server(deployment)
        self._evaluators: list[EvaluatorRun] = []
        self._samples: list[Sample] = []
        self._work: asyncio.Task[None] | None = None
        self._interrupted = ""
        self._short: list[DatasetResult | SpeedResult] = []
        self._hurrying: asyncio.Task[None] | None = None

    async def run(self) -> JobRecord:
        """The whole job; returns its record in a terminal state, with nothing left running."""
        with self._folder.holding():
            return await self.run_held()

    async def run_held(self) -> JobRecord:
        """As `run`, for a caller that owns the folder already."""
        state, failure = await self._ending()
        if failure and failure.code in self._waits_for and failure.log is None:  # with a log something was started
            self.history.fail(self._serving.redacted(failure))
            self.history.detach()
        await self._tear_down(failure)
        self._publish(state)
        return self.history.record

    def interrupt(self, why: str) -> None:
        """End the job as `cancelled`. While it is stopping its outcome stands, and it stops in a hurry."""
        if self.history.record.state is State.STOPPING:
            self._hurrying = asyncio.create_task(self._hurry())
        elif not self._interrupted:
            self._interrupted = why
            if self._work:
                self._work.cancel()

    def abandon(self, why: str) -> None:
        """As `interrupt`, for a job that is another's by now: nothing more is written to its folder."""
        self.history.detach()
        self.interrupt(why)

    def _server(self, deployment: DeploymentFolder | None) -> Serving:
        spec, settings = self._spec, self._settings
        told: _Told = {
            "owner": self._folder.id,
            "folder": self._folder.path,
            "tell": self._tell,
            "gateway": spec.gateway,
            "adaptive": finds_limit(spec),
        }
        if deployment:
            return BorrowedServing(deployment, spec.serve, spec.probe, settings, **told)
        return Serving(spec.serve, spec.probe, settings, **told)

    async def _hurry(self) -> None:
        """No grace for what is being stopped already."""
        await asyncio.gather(
            *(run.stop(0.0) for run in self._evaluators),
            *(server.stop(0.0) for server in self._serving.servers.values()),
        )

    async def _ending(self) -> tuple[State, Failure | None]:
        """Run the sequence; which state it ends in, and why."""
        self._work = asyncio.create_task(self._sequence())
        if self._interrupted:
            self._work.cancel()
        done, _ = await asyncio.wait({self._work}, timeout=self._spec.timeout)
        if not done:
            self._work.cancel()
            await asyncio.wait({self._work})
            hint = "raise `timeout` in the spec"
            late = JobTimeout(f"the job did not end within {self._spec.timeout:g} s", hint=hint)
            return State.FAILED, self._explain(late)
        try:
            self._work.result()
        except asyncio.CancelledError:
            message = f"cancelled by {self._interrupted or 'its owner'}"
            return State.CANCELLED, Failure(code="cancelled", message=message)
        except Exception as error:  # noqa: BLE001 - whatever happens, the job ends in a teardown and a state
            return State.FAILED, self._explain(innermost(error))
        return self._verdict()

    async def _sequence(self) -> None:
        history, serving = self.history, self._serving
        history.enter(State.ALLOCATING, "leasing GPUs and ports")
        made = await self._compress(self._spec.compress) if self._spec.compress else {}
        allocation = serving.allocate()
        history.record.resources = {**allocation.describe(), **made}
        history.record.fingerprint = await asyncio.to_thread(serving_identity, self._spec, serving.spec, allocation)
        url = await serving.open_gateway(journal=self._folder.journal, records=self._folder.requests)
        history.note("allocating", f"gateway listens on {url}", {"url": url})
        await self._start_evaluator(0, url)

        history.enter(State.STARTING, f"starting {allocation.engine.name}")
        await serving.start()

        history.enter(State.PROBING, "asking for a real generation")
        answer = await serving.probe(self._prove)
        history.record.probe = {
            "prompt": self._spec.probe.prompt,
            "text": answer.text,
            "seconds": answer.seconds,
        }

        history.enter(State.EVALUATING, "the evaluator's requests are answered now")
        async with asyncio.TaskGroup() as group:
            guard = group.create_task(serving.guard())

            def release() -> None:
                guard.cancel()
                serving.release()

            await self._evaluate(url, release)
            guard.cancel()

    async def _compress(self, spec: CompressSpec) -> dict[str, Any]:
        self.history.phase("compressing", f"making the model to serve with {spec.tool}")
        made = await self._serving.compress(spec, self._folder.log("compress"))
        self.history.phase(State.ALLOCATING.value, "leasing GPUs and ports")
        return made

    async def _prove(self, replica: Replica) -> None:
        """Nothing else talks to the engine yet: the evaluator waits in the gateway."""
        await prove_fidelity(self._spec, self._serving.allocation.engine, replica, self.history)

    async def _start_evaluator(self, index: int, url: str) -> None:
        """The first one starts with the engine: its imports take as long as the engine's."""
        spec = self._spec.evaluate[index]
        evaluator = get_evaluator(spec.evaluator)
        environment = environment_of(evaluator, Environments(self._settings.environments))
        if environment is None:
            raise EvaluatorMissing(
                f"evaluator `{spec.evaluator}` is not installed here",
                hint=missing_hint(evaluator),
            )
        name = f"{spec.evaluator}-{index}"
        folder = self._folder.path / name
        folder.mkdir()
        target = target_of(spec, self._spec.serve, self._serving.allocation, url)
        command = evaluator.prepare(spec, self._base, environment, target, folder)
        run = EvaluatorRun(evaluator, spec, command, folder, self._folder.log(name), f"{self._folder.id}/{name}")
        self._evaluators.append(run)
        await run.start()
        self.history.record.logs = {**self.history.record.logs, name: str(run.log)}
        self.history.note(self.history.record.state.value, f"{name} starts", {"command": run.shell()})

    async def _evaluate(self, url: str, release: Callable[[], None]) -> None:
        last = len(self._spec.evaluate) - 1
        for index in range(last + 1):
            if index == len(self._evaluators):
                await self._start_evaluator(index, url)
            inference_over = release if index == last else _nothing
            run = self._evaluators[index]
            evaluation = await run.follow(self._serving.ledger, self.history.progress, inference_over)
            self.history.record.results = [*self.history.record.results, *evaluation.datasets]
            self._samples.extend(evaluation.samples)
            least = self._spec.evaluate[index].min_coverage
            self._short.extend(result for result in evaluation.datasets if result.coverage < least)
            if measured := evaluation.speed:
                self.history.record.speed = [*self.history.record.speed, measured]
                self._short.extend([measured] if measured.coverage < least else [])
            self.history.save()

    def _verdict(self) -> tuple[State, Failure | None]:
        if not self._short:
            return State.SUCCEEDED, None
        named = ", ".join(f"{result.dataset} {result.answered}/{result.asked}" for result in self._short)
        causes = dict(self._serving.ledger.failed_by_cause)
        hint = "the scores hold for the answered samples only; the report lists the failed ones"
        message = f"fewer samples were answered than `min_coverage` asks for: {named}; causes: {causes}"
        return State.INCOMPLETE, Failure(code="coverage_too_low", message=message, hint=hint)

    async def _tear_down(self, failure: Failure | None) -> None:
        record = self.history.record
        if failure:
            self.history.fail(self._serving.redacted(failure))
        if record.state is State.QUEUED:
            self.history.enter(State.ALLOCATING, "nothing was started")
        self.history.enter(State.STOPPING, "stopping everything that was started")
        record.gateway = self._serving.observed()
        await asyncio.gather(*(run.stop() for run in self._evaluators))
        record.teardown = await self._serving.stop()
        record.resources = {**record.resources, **self._serving.restarts()}
        await self._examine()

    async def _examine(self) -> None:
        """The requests as a table, and the notes on traps."""
        if not self._folder.requests.exists():
            return
        record = self.history.record
        try:
            await asyncio.to_thread(write_parquet, self._folder.requests, self._folder.path / "requests.parquet")
            examined = await asyncio.to_thread(examine, self._folder, record, self._samples)
        except Exception as error:  # noqa: BLE001 - hours of answers are scored by now: no second look may cost them
            why = f"{type(error).__name__}: {error}"
            record.notes = [*record.notes, f"the answers were not looked through for traps: {why}"]
            return
        record.results, self._samples = examined.results, examined.samples

    def _publish(self, state: State) -> None:
        record = self.history.record
        record.report = str(self._folder.path / "report.md")
        message = record.failure.message if record.failure else "every sample was asked, answered and scored"
        code = record.failure.code if record.failure else None
        self.history.enter(state, message, code=code)
        if not self.history.detached:
            write_report(self._folder, record, self._samples)

    def _explain(self, error: BaseException) -> Failure:
        """The failure with the log that tells most and the command to repeat it."""
        if not isinstance(error, LaunchError | ClientError | OrchestratorError):
            return unexpected(error, self._folder.log("runner"))
        failure = failure_of(error)
        if isinstance(error, DeploymentFailed):  # it tells the log of what failed there
            return failure
        if isinstance(error, OrchestratorError) and self._evaluators:
            run = self._evaluators[-1]
            return failure.model_copy(update={"log": str(run.log), "log_tail": run.tail(), "command": run.shell()})
        server = next(iter(self._serving.servers.values()), None)
        if server is None:
            return failure
        return failure.model_copy(
            update={"log": str(server.log), "log_tail": server.tail(), "command": server.command.shell()}
        )

    def _tell(self, phase: str, message: str, data: Mapping[str, Any]) -> None:
        record = self.history.record
        if "pid" in data:
            name = phase.rsplit("/", 1)[-1]
            record.logs = {**record.logs, name: str(self._folder.log(name))}
        self.history.note(phase, message, data)


def finds_limit(spec: JobSpec) -> bool:
    """Whether the gateway finds how many requests are in flight: not while an evaluator presses as it means to."""
    if any(get_evaluator(evaluate.evaluator).own_pace for evaluate in spec.evaluate):
        return False
    return any(evaluate.concurrency == "auto" for evaluate in spec.evaluate)


def _nothing() -> None:
    """The server is still needed."""
