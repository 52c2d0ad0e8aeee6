"""Engine `transformers`: Hugging Face's own `transformers serve`, the baseline that runs anywhere.

Facts that shape this module: the model is an option `--force_model` in 4.57, `--force-model` in 5.0, positional
in 5.23, and requests must name it exactly as it was given; `/v1/models` lists the hub cache, not the served model;
unknown request fields are refused with 422; requests run strictly one at a time unless `--continuous-batching`
is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from launchers.engine import Launch, Place, Readiness
from launchers.environments import Recipe
from launchers.flagged import FlaggedEngine, Option, local_folder
from launchers.flags import Flags
from launchers.spec import ServeSpec

_ONE = "transformers serve runs one model in one process; use vllm, lmdeploy, lightllm or sglang"
_LIMIT = "transformers serve has no length limit and answers over-long prompts with garbage"
# The server moved between 4.57 and 5.0.
_CHECK = """
import torch
try:
    import transformers.cli.serve
except ModuleNotFoundError:
    import transformers.commands.serving
"""


class TransformersEngine(FlaggedEngine):
    """`transformers serve MODEL` in an isolated environment, on the GPU if one is leased, else on the processor."""

    name: ClassVar[str] = "transformers"
    recipe = Recipe(
        name="transformers",
        requirements=Path(__file__).parent.parent / "requirements" / "transformers.txt",
        check=_CHECK,
        size="1.3 GB",
        other="torch==2.13.0\ntransformers[serving]=={version}\naccelerate",
        time="1 to 3 minutes",
    )
    honours: ClassVar[frozenset[str]] = frozenset({"dtype", "seed", "extra_args"})
    reasons: ClassVar[Mapping[str, str]] = {
        "tensor_parallel": _ONE,
        "pipeline_parallel": _ONE,
        "kv_cache_dtype": "transformers serve keeps the cache in the model's own type; use vllm, lmdeploy or lightllm",
        "memory_fraction": "transformers serve takes what it needs; use vllm, lmdeploy or lightllm to bound it",
        "max_total_tokens": "transformers serve has no such bound; use lightllm or sglang",
        "max_input_len": _LIMIT,
        "max_model_len": _LIMIT,
        "max_concurrency": "one request runs at a time; `extra_args: [--continuous-batching]` batches them",
        "chat_template": "put the template into the model's folder, as chat_template.jinja",
    }
    needs_gpu: ClassVar[bool] = False
    readiness: ClassVar[Readiness] = Readiness(health_path="/health", lists_model=False)
    concurrency: ClassVar[int] = 4
    prompt_scores_reason: ClassVar[str] = "it ignores `echo` and `logprobs`; use vllm or sglang"
    ignored_sampling: ClassVar[Mapping[str, str]] = {
        "temperature": "greedy whatever the temperature, unless the model's generation config samples",
        "top_p": "ignored while decoding is greedy",
        "top_k": "refused by the server with 422",
        "repetition_penalty": "refused by the server with 422",
    }

    def options(self, flags: Flags) -> tuple[Option, ...]:
        """Two fields only."""
        return (
            Option(
                "quantization",
                ("--quantization",),
                "quantize the checkpoint itself, it is recognised",
                words={"int8": "bnb-8bit", "int4": "bnb-4bit", "bnb-8bit": "bnb-8bit", "bnb-4bit": "bnb-4bit"},
                closed=True,
            ),
            Option("trust_remote_code", ("--trust_remote_code", "--trust-remote-code")),
        )

    def head(self, spec: ServeSpec, place: Place, flags: Flags) -> tuple[str, ...]:
        """The three spellings."""
        program = "transformers.cli.transformers" if flags.since("5") else "transformers.commands.transformers_cli"
        option = flags.first("--force_model", "--force-model")
        seed = flags.first("--default_seed", "--default-seed") or "--default-seed"
        return (
            *(str(place.python), "-m", program, "serve", *((option,) if option else ()), self.model_name(spec)),
            *("--host", place.host, "--port", str(place.port), "--device", "auto" if place.gpus else "cpu"),
            *("--dtype", spec.dtype, seed, str(spec.seed)),
        )

    def launch(self, spec: ServeSpec, place: Place) -> Launch:
        """Runs on a link to the model's folder: the link's name is what clients must send."""
        local = local_folder(spec)
        launch = super().launch(spec, place)
        # Threads that wait by spinning starve each other when anything else runs: ten answers took 40 s instead of 2 s.
        patient = {} if place.gpus else {"OMP_WAIT_POLICY": "PASSIVE"}
        return replace(launch, env={**launch.env, **patient}, links={spec.served_name: local} if local else {})

    def model_name(self, spec: ServeSpec) -> str:
        """The served name for a local folder (a link of that name is made); a hub id must be named as it is."""
        return spec.served_name if local_folder(spec) else str(spec.model)

    def help_command(self, python: Path | None) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """Of version 5; of an older one the flags are looked up among those that we know."""
        return (str(python), "-m", "transformers.cli.transformers", "serve", "--help"), {}
