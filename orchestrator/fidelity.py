"""The fidelity probe within a job: what it finds is recorded, and what falsifies scores ends the job before them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from clients.fidelity import Fidelity, falsified
from clients.fidelity.checks import fidelity
from clients.fidelity.spec import FidelitySpec
from clients.replica import Replica
from launchers.engine import Engine
from launchers.spec import ServeSpec
from orchestrator.history import History
from orchestrator.spec.models import JobSpec


async def prove_fidelity(spec: JobSpec, engine: Engine, replica: Replica, history: History) -> None:
    """Probe one replica, past the gateway, while no other request runs; nothing when it is not enabled.

    Raises: ProbeFailed when a finding falsifies and is not tolerated.
    """
    wanted = spec.probe.fidelity
    if not wanted.enabled:
        return
    sampling = _sampling(engine) if spec.gateway.sampling_in_full else {}
    checked = history.record.fidelity = await _probe(wanted, spec.serve, sampling, replica)
    history.save()
    for finding in checked.findings:
        if finding.verdict != "ok":
            history.note("probing/fidelity", f"{finding.name}: {finding.fact}", asdict(finding))
    if stopping := checked.stopping(wanted.tolerate):
        raise falsified(stopping)


async def _probe(wanted: FidelitySpec, serve: ServeSpec, sampling: dict[str, Any], replica: Replica) -> Fidelity:
    return await fidelity(
        replica.base_url,
        model=replica.model or serve.served_name,
        tokenizer=_folder(serve.model),
        chat_template=_file(serve.chat_template),
        context=serve.max_input_len or serve.max_model_len,
        sampling=sampling,
        timeout=wanted.timeout,
        headers={name.decode(): value.decode() for name, value in replica.headers},
    )


def _sampling(engine: Engine) -> dict[str, Any]:
    """What the gateway adds to greedy requests, which say the temperature themselves."""
    return {**engine.sampling_defaults, **engine.greedy_defaults, "temperature": 0}


def _folder(model: str | None) -> Path | None:
    """The model's folder; a hub id has none here, and nothing is downloaded to count tokens."""
    folder = Path(model).expanduser() if model else None
    return folder if folder and folder.is_dir() else None


def _file(path: str | None) -> Path | None:
    return Path(path).expanduser() if path else None
