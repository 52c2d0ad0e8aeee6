"""The second model that judges answers: where it is, and how the config names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.deployment import DeploymentFolder
from orchestrator.errors import OrchestratorError
from orchestrator.settings import Settings
from orchestrator.spec.opencompass import JudgeSpec


class JudgeRefused(OrchestratorError):
    """A judge that cannot be asked; the message says why."""

    code = "bad_spec"


@dataclass(frozen=True, slots=True)
class Judge:
    """A judge that was found."""

    base_url: str
    """OpenAI-compatible, ending in `/v1`."""
    model: str


def find_judge(spec: JudgeSpec, deployments: Path | None = None) -> Judge:
    """The server that the spec names: a URL, or a deployment that is ready (below `deployments`, default: ours).

    Raises: JudgeRefused.
    """
    if urlsplit(spec.server).scheme in ("http", "https"):
        if spec.model is None:
            raise JudgeRefused("the judge is a URL: say which `model` to ask for")
        return Judge(_versioned(spec.server), spec.model)
    record = DeploymentFolder((deployments or Settings.load().deployments) / spec.server).read()
    if record is None or record.state != "ready":
        state = f"is {record.state}" if record else "does not exist"
        hint = f"`orchestrator up --name {spec.server} ...` first"
        raise JudgeRefused(f"deployment `{spec.server}`, the judge, {state}: {hint}, or give a URL")
    url = record.gateway_url or record.url or ""
    return Judge(_versioned(url), spec.model or record.serve.served_name)


def _versioned(url: str) -> str:
    plain = url.rstrip("/")
    return plain if plain.endswith("/v1") else f"{plain}/v1"
