"""Engine `transformers`: Hugging Face's own `transformers serve`, the baseline that runs anywhere.

Facts of version 5.23 that shape this module: the model is positional and requests must name it exactly as it
was given; `/v1/models` lists the hub cache, not the served model; unknown request fields are refused with 422;
requests run strictly one at a time unless `--continuous-batching` is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from launchers.engine import Engine, Launch, Place, Readiness
from launchers.environments import Recipe
from launchers.spec import ServeSpec

_ONE = "transformers serve runs one model in one process; use vllm, lmdeploy, lightllm or sglang"


class TransformersEngine(Engine):
    """`transformers serve MODEL` in an isolated environment, on the GPU if one is leased, else on the processor."""

    name: ClassVar[str] = "transformers"
    recipe: ClassVar[Recipe | None] = Recipe(
        name="transformers",
        requirements=Path(__file__).parent.parent / "requirements" / "transformers.txt",
        check="import torch, transformers.cli.serve",
        size="1.3 GB",
        time="1 to 3 minutes",
    )
    honours: ClassVar[frozenset[str]] = frozenset({"dtype", "seed", "extra_args"})
    reasons: ClassVar[Mapping[str, str]] = {
        "tensor_parallel": _ONE,
        "pipeline_parallel": _ONE,
        "quantization": "not mapped yet; pass `extra_args: [--quantization, bnb-4bit]` on a machine that has it",
        "max_concurrency": "one request runs at a time; `extra_args: [--continuous-batching]` batches them",
        "max_model_len": "transformers serve has no length limit and answers over-long prompts with garbage",
    }
    needs_gpu: ClassVar[bool] = False
    readiness: ClassVar[Readiness] = Readiness(health_path="/health", lists_model=False)
    concurrency: ClassVar[int] = 4
    ignored_sampling: ClassVar[Mapping[str, str]] = {
        "temperature": "greedy whatever the temperature, unless the model's generation config samples",
        "top_p": "ignored while decoding is greedy",
        "top_k": "refused by the server with 422",
        "repetition_penalty": "refused by the server with 422",
    }

    def launch(self, spec: ServeSpec, place: Place) -> Launch:
        """`transformers serve`, offline, on a link to the model's folder: the link's name is what clients must send."""
        device = "auto" if place.gpus else "cpu"
        argv = (
            *(str(place.python), "-m", "transformers.cli.transformers", "serve", self.model_name(spec)),
            *("--host", place.host, "--port", str(place.port)),
            *("--device", device, "--dtype", spec.dtype, "--default-seed", str(spec.seed)),
            *(("--trust-remote-code",) if spec.trust_remote_code else ()),
            *spec.extra_args,
        )
        local = _local_folder(spec)
        links = {spec.served_name: local} if local else {}
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"} if local else {}
        # Threads that wait by spinning starve each other when anything else runs: ten answers took 40 s instead of 2 s.
        patient = {} if place.gpus else {"OMP_WAIT_POLICY": "PASSIVE"}
        return Launch(argv=argv, env={**offline, **patient, "HF_HUB_DISABLE_TELEMETRY": "1"}, links=links)

    def model_name(self, spec: ServeSpec) -> str:
        """The served name for a local folder (a link of that name is made); a hub id must be named as it is."""
        return spec.served_name if _local_folder(spec) else str(spec.model)


def _local_folder(spec: ServeSpec) -> Path | None:
    folder = Path(str(spec.model)).expanduser()
    return folder.resolve() if folder.is_dir() else None
