"""Tool `llm_compressor`: vLLM's own quantization library; what it makes is served by vLLM, SGLang and transformers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from launchers.compress.spec import CompressSpec
from launchers.compress.tool import OFFLINE, Step, Tool, Workshop
from launchers.engine import Refusal
from launchers.environments import Recipe

SCRIPT = Path(__file__).parent / "scripts" / "oneshot.py"


class LlmCompressor(Tool):
    """Int8 weights and activations, int4 weights, or FP8; with or without calibration, on a processor too."""

    name: ClassVar[str] = "llm_compressor"
    schemes: ClassVar[tuple[str, ...]] = ("w8a8", "w4a16", "fp8")
    honours: ClassVar[frozenset[str]] = frozenset({"calibration", "args"})
    takes_gpu: ClassVar[bool] = True

    @property
    def recipe(self) -> Recipe:
        """llmcompressor, with torch and transformers."""
        return Recipe(
            name="llmcompressor",
            requirements=Path(__file__).parent.parent / "requirements" / "llmcompressor.txt",
            check="import torch, llmcompressor",
            size="1.5 GB",
            other="llmcompressor=={version}",
            time="1 to 3 minutes",
        )

    def steps(self, spec: CompressSpec, source: Path, output: Path, workshop: Workshop) -> tuple[Step, ...]:
        """Our script, in its environment."""
        environment = self.environment(workshop)
        assert environment is not None  # it has a recipe
        argv = [str(environment.python), str(SCRIPT), str(source), str(output), "--scheme", str(spec.scheme)]
        if (texts := spec.calibration) and texts.path:
            argv += ["--calibration", texts.path, "--samples", str(texts.samples), "--seqlen", str(texts.seqlen)]
        # Threads that wait by spinning starve each other when anything else runs.
        quiet = {"TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}
        return (Step((*argv, *spec.args), {**OFFLINE, **quiet}),)

    def inputs(self, spec: CompressSpec) -> tuple[Path, ...]:
        """Our script and the calibration texts."""
        texts = spec.calibration.path if spec.calibration else None
        return (SCRIPT, *((Path(texts),) if texts else ()))

    def _impossible(self, spec: CompressSpec, source: Path | None, workshop: Workshop) -> Iterator[Refusal]:
        texts = spec.calibration
        if texts is None:
            return
        if spec.scheme == "fp8":
            yield Refusal("calibration", "`fp8` needs none: its activations are measured while serving; remove it")
        if texts.dataset:
            yield Refusal("calibration.dataset", "nothing is downloaded here; give a file of texts in `path`")
        if texts.path is None:
            yield Refusal("calibration.path", "is required: a file of JSON lines")
        elif not Path(texts.path).is_file():
            yield Refusal("calibration.path", f"there is no file {texts.path}")
        if texts.samples == 0:
            yield Refusal("calibration.samples", "is 0; leave `calibration` out to quantize without texts")
