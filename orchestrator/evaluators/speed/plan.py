"""What the measuring process is told, and the files by which it answers."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from orchestrator.job_folder import replace_text
from orchestrator.spec.speed import SpeedSpec


class Plan(BaseModel):
    """All that is known before the engine runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str
    """Of the gateway, ending in `/v1`."""
    model: str
    """Name to send as `model`."""
    tokenizer: str | None
    """Folder with a `tokenizer.json`; None: the engine's own counts are all there is."""
    max_model_len: int | None
    """As the spec says; None: as the engine or the model's config says."""
    config_len: int | None
    """As the model's config says."""
    spec: SpeedSpec


class Step(BaseModel):
    """How far the process is."""

    done: int = 0
    total: int | None = None
    over: bool = False


class Trouble(BaseModel):
    """Why nothing was measured."""

    message: str
    hint: str = ""


class Files:
    """`plan.json`, `progress.json`, and at the end `result.json` or `trouble.json`."""

    def __init__(self, folder: Path) -> None:
        self.plan = folder / "plan.json"
        self.progress = folder / "progress.json"
        self.result = folder / "result.json"
        self.trouble = folder / "trouble.json"

    def write(self, path: Path, document: BaseModel) -> None:
        """Replace the file in one step."""
        replace_text(path, document.model_dump_json())


class SpeedFailed(Exception):
    """Nothing can be measured; the message says why, `hint` what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
