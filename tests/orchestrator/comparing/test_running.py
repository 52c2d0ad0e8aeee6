"""Conducting a comparison: what an error of one job does to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.comparing.folder import ComparisonFolder
from orchestrator.comparing.model import Mode
from orchestrator.comparing.plan import Plan, PlannedJob
from orchestrator.comparing.running import conduct
from orchestrator.errors import NotFound
from orchestrator.record import JobRecord
from orchestrator.spec.models import JobSpec
from tests.orchestrator.comparing.support import EVALUATE


class _Gone:
    """Jobs that are deleted while they are waited for."""

    async def run(self, variant: str, job: PlannedJob) -> JobRecord:
        raise NotFound(f"job {variant} was deleted")


@pytest.mark.parametrize("mode", ["in_turn", "side_by_side"])
async def test_the_error_of_a_job_is_the_same_in_both_modes(tmp_path: Path, mode: Mode) -> None:
    spec = JobSpec.model_validate({"serve": {"engine": "custom", "command": ["x"], "model": "m"}, "evaluate": EVALUATE})
    jobs = {name: PlannedJob(spec=spec, base=str(tmp_path)) for name in ("a", "b")}
    plan = Plan(name="two", baseline="a", mode=mode, order=["a", "b"], jobs=jobs)
    with pytest.raises(NotFound, match="was deleted"):
        await conduct(plan, ComparisonFolder.create(tmp_path, plan), _Gone())
