"""Tool `llmc` (ModelTC's LightCompress): compression by a config, for LightLLM, vLLM and SGLang.

It runs under torchrun with NCCL, so a GPU is needed. It lives in an environment of your own, for it comes as a
source tree: `import llmc` must work there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import yaml

from launchers.compress.spec import CompressSpec
from launchers.compress.tool import OFFLINE, Step, Tool, Workshop
from launchers.engine import Refusal
from launchers.environments import Recipe

# What llmc saves under which switch of `save`, as its own program names the folders; quantized weights come first.
SAVED = {
    "save_vllm": "vllm_quant_model",
    "save_lightllm": "lightllm_quant_model",
    "save_sgl": "sgl_quant_model",
    "save_autoawq": "autoawq_quant_model",
    "save_trans": "transformed_model",
    "save_fake": "fake_quant_model",
}
WRITER = Path(__file__).parent / "scripts" / "llmc_config.py"


class Llmc(Tool):
    """`llmc` with the user's config, the model and the place to save put into it."""

    name: ClassVar[str] = "llmc"
    honours: ClassVar[frozenset[str]] = frozenset({"config", "args"})
    needs_gpu: ClassVar[bool] = True

    @property
    def recipe(self) -> Recipe:
        """An environment that the user made: there is no package to install it from."""
        return Recipe(
            name="llmc",
            requirements=None,
            check="import llmc",
            size="6 GB",
            time="10 minutes by hand",
            by_hand="install ModelTC/LightCompress from its git source, then: orchestrator install llmc --python PATH",
        )

    def steps(self, spec: CompressSpec, source: Path, output: Path, workshop: Workshop) -> tuple[Step, ...]:
        """Write the config, then torchrun on it: one process per GPU, a rendezvous port that torchrun picks itself."""
        environment = self.environment(workshop)
        assert environment is not None  # it has a recipe
        config = output / "llmc.yml"
        writing = (sys.executable, str(WRITER), str(spec.config), str(config), str(source), str(output))
        processes = str(self.gpus_needed(spec, workshop.gpus))
        argv = (
            *(str(environment.python), "-m", "torch.distributed.run", "--standalone", "--nnodes", "1"),
            *("--nproc_per_node", processes, "-m", "llmc", "--config", str(config), "--task_id", "compress"),
            *spec.args,
        )
        return Step(writing), Step(argv, OFFLINE)

    def produced(self, spec: CompressSpec, source: Path) -> str:
        """The folder of the first kind that the config saves."""
        switches = _saving(Path(str(spec.config)))
        return next(folder for switch, folder in SAVED.items() if switches.get(switch))

    def inputs(self, spec: CompressSpec) -> tuple[Path, ...]:
        """The config."""
        return (Path(str(spec.config)),)

    def _impossible(self, spec: CompressSpec, source: Path | None, workshop: Workshop) -> Iterator[Refusal]:
        if spec.config is None:
            yield Refusal("config", "is required: the YAML file that llmc runs by")
            return
        try:
            switches = _saving(Path(spec.config))
        except (OSError, yaml.YAMLError, TypeError) as error:
            yield Refusal("config", f"{spec.config} cannot be read: {error}")
            return
        if not any(switches.get(switch) for switch in SAVED):
            yield Refusal(
                "config", f"saves nothing that can be served; set one of these under `save`: {', '.join(SAVED)}"
            )


def _saving(config: Path) -> dict[str, Any]:
    """The `save` part of a config. Raises: OSError, YAMLError, TypeError."""
    document = yaml.safe_load(config.read_text())
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise TypeError("it has no `model` part")
    save = document.get("save")
    return save if isinstance(save, dict) else {}
