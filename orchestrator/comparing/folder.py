"""The folder of a comparison: its plan, what was found, the flipped answers, the report."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from orchestrator.comparing.model import Comparison, Flip
from orchestrator.comparing.plan import Plan
from orchestrator.comparing.report import markdown
from orchestrator.errors import BadSpec, FieldError, OrchestratorError
from orchestrator.job_folder import replace_text
from orchestrator.reporting.comparison import comparison_page


class ComparisonFolder:
    """`plan.json`, `comparison.json`, `flips.jsonl`, `comparison.md`, `comparison.html`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, home: Path, plan: Plan) -> ComparisonFolder:
        """A new folder below `home`/comparisons, with a name that sorts by time."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        folder = cls(home / "comparisons" / f"{stamp}-{secrets.token_hex(3)}")
        folder.path.mkdir(parents=True)
        replace_text(folder.path / "plan.json", plan.model_dump_json(indent=1, exclude_unset=True))
        return folder

    @classmethod
    def find(cls, home: Path, given: str) -> ComparisonFolder:
        """The comparison with this id, or in this folder. Raises: BadSpec when there is none."""
        for path in (Path(given), home / "comparisons" / given):
            if (path / "plan.json").is_file():
                return cls(path.resolve())
        last = sorted(path.parent.name for path in home.glob("comparisons/*/plan.json"))[-5:]
        message = f"no comparison `{given}`; the last ones: {', '.join(last) or 'none'}"
        raise BadSpec([FieldError("resume", message)], source="the command line")

    @property
    def id(self) -> str:
        """The comparison's id."""
        return self.path.name

    def plan(self) -> Plan:
        """What it consists of. Raises: OrchestratorError when another version wrote it."""
        try:
            return Plan.model_validate_json((self.path / "plan.json").read_text())
        except ValidationError as error:
            raise self._unreadable() from error

    def read(self) -> Comparison | None:
        """What was found so far. Raises: OrchestratorError when another version wrote it."""
        try:
            return Comparison.model_validate_json((self.path / "comparison.json").read_text())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise self._unreadable() from error

    def write(self, comparison: Comparison, flips: Iterable[Flip]) -> None:
        """Replace what was found, for programs and for people."""
        flips = list(flips)
        replace_text(self.path / "comparison.json", comparison.model_dump_json(indent=1))
        replace_text(self.path / "flips.jsonl", "".join(f"{flip.model_dump_json()}\n" for flip in flips))
        replace_text(self.path / "comparison.md", markdown(comparison, flips))
        replace_text(self.path / "comparison.html", comparison_page(comparison, flips))

    def ask_to_cancel(self) -> None:
        """Note, so that it outlives this process, that nothing more of it shall run."""
        (self.path / "cancel").touch()

    @property
    def to_be_cancelled(self) -> bool:
        """Whether somebody asked for that."""
        return (self.path / "cancel").exists()

    def remove(self) -> None:
        """All of its files; those of its jobs stay."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _unreadable(self) -> OrchestratorError:
        hint = f"it was written by another version; compare its jobs again, then remove {self.path}"
        return OrchestratorError(f"comparison {self.id} cannot be read", hint=hint)
