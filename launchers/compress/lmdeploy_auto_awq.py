"""Tool `lmdeploy_auto_awq`: `lmdeploy lite auto_awq`, 4-bit weights for LMDeploy (and whatever else reads AWQ)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from launchers.compress.spec import CompressSpec
from launchers.compress.tool import OFFLINE, Step, Tool, Workshop
from launchers.engine import Refusal
from launchers.environments import Recipe
from launchers.errors import SpecRefused
from launchers.registry import get_engine

_GROUP = 128


class LmdeployAutoAwq(Tool):
    """AWQ with 4 bits in groups of 128; calibrates on a data set that LMDeploy downloads itself."""

    name: ClassVar[str] = "lmdeploy_auto_awq"
    schemes: ClassVar[tuple[str, ...]] = ("w4a16",)
    default_scheme: ClassVar[str | None] = "w4a16"
    honours: ClassVar[frozenset[str]] = frozenset({"calibration", "args"})
    needs_gpu: ClassVar[bool] = True

    @property
    def recipe(self) -> Recipe | None:
        """The environment of the engine `lmdeploy`."""
        try:
            return get_engine("lmdeploy").recipe
        except SpecRefused:
            return None

    def steps(self, spec: CompressSpec, source: Path, output: Path, workshop: Workshop) -> tuple[Step, ...]:
        """`lmdeploy lite auto_awq`; offline unless a data set was named."""
        environment = self.environment(workshop)
        python = str(environment.python) if environment else "python3"
        texts = spec.calibration
        named = ("--calib-dataset", texts.dataset) if texts and texts.dataset else ()
        samples, seqlen = (texts.samples, texts.seqlen) if texts else (0, 1024)
        argv = (
            *(python, "-m", "lmdeploy", "lite", "auto_awq", str(source), *named),
            *("--calib-samples", str(samples), "--calib-seqlen", str(seqlen)),
            *("--w-bits", "4", "--w-group-size", str(_GROUP), "--work-dir", str(output)),
            *spec.args,
        )
        return (Step(argv, {} if named and samples else OFFLINE),)

    def _impossible(self, spec: CompressSpec, source: Path | None, workshop: Workshop) -> Iterator[Refusal]:
        texts = spec.calibration
        if texts is None or (texts.dataset is None and texts.samples):
            said = "name the data set that LMDeploy shall download (wikitext2, c4, pileval, gsm8k; ptb up to 0.11)"
            yield Refusal("calibration.dataset", f"{said}, or set `samples: 0` to do without")
        if texts and texts.path:
            yield Refusal("calibration.path", "LMDeploy calibrates on data sets that it knows by name: use `dataset`")
