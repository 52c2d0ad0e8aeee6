"""Tool `gguf`: a Hugging Face folder as one GGUF file for llama.cpp, quantized on the way.

Plain Llama models are converted by a script of our own, which needs numpy and no torch; other architectures by
llama.cpp's `convert_hf_to_gguf.py`. The k-quants go through `llama-quantize` after either of them.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from launchers.compress.llama_folder import Unfit, pre_tokenizer_of
from launchers.compress.llm_compressor import LlmCompressor
from launchers.compress.spec import CompressSpec
from launchers.compress.tool import OFFLINE, Step, Tool, Workshop
from launchers.engine import Refusal
from launchers.environments import Recipe
from launchers.errors import CompressorMissing

SCRIPT = Path(__file__).parent / "scripts" / "convert_gguf.py"
CONVERTED = ("f32", "f16", "bf16", "q8_0")
"""What a conversion writes by itself; the rest goes through `llama-quantize`."""
QUANTIZED = (
    *("q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_0", "q4_1", "q4_k_s", "q4_k_m"),
    *("q5_0", "q5_1", "q5_k_s", "q5_k_m", "q6_k", "iq4_nl", "iq4_xs"),
)
BETWEEN = "bf16"
"""What is converted to before it is quantized."""
_BUILD = "build llama.cpp and set ORCHESTRATOR_LLAMA_CPP to its folder"


class GgufTool(Tool):
    """One `.gguf` file: weights, tokenizer, chat template."""

    name: ClassVar[str] = "gguf"
    schemes: ClassVar[tuple[str, ...]] = (*CONVERTED, *QUANTIZED)
    honours: ClassVar[frozenset[str]] = frozenset({"args"})

    @property
    def recipe(self) -> Recipe:
        """The `gguf` package and numpy."""
        return Recipe(
            name="gguf",
            requirements=Path(__file__).parent.parent / "requirements" / "gguf.txt",
            check="import gguf",
            size="110 MB",
            time="seconds",
        )

    def steps(self, spec: CompressSpec, source: Path, output: Path, workshop: Workshop) -> tuple[Step, ...]:
        """The conversion, then the quantization where the scheme is one."""
        scheme, file = str(spec.scheme), output / self.produced(spec, source)
        if scheme in CONVERTED:
            return (self._conversion(scheme, source, file, spec.args, workshop),)
        whole = output / "whole.gguf"
        _, quantize = _llama_cpp(workshop.llama_cpp)
        if quantize is None:
            raise CompressorMissing(f"`llama-quantize`, which scheme `{scheme}` needs, is not here", hint=_BUILD)
        remove = "import os, sys; os.unlink(sys.argv[1])"
        return (
            self._conversion(BETWEEN, source, whole, [], workshop),
            Step((str(quantize), *spec.args, str(whole), str(file), scheme.upper())),
            Step((sys.executable, "-c", remove, str(whole))),
        )

    def produced(self, spec: CompressSpec, source: Path) -> str:
        """The file, named after the model and the scheme as the files on the hub are."""
        return f"{source.name}-{str(spec.scheme).upper()}.gguf"

    def inputs(self, spec: CompressSpec) -> tuple[Path, ...]:
        """Our script."""
        return (SCRIPT,)

    def identity(self, spec: CompressSpec, source: Path, workshop: Workshop) -> dict[str, object]:
        """The environment of our script, and llama.cpp's programs as far as they are used."""
        convert, quantize = _llama_cpp(workshop.llama_cpp)
        used = [convert if _unfit(source) else None, None if spec.scheme in CONVERTED else quantize]
        programs = {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in used if path}
        return {**(super().identity(spec, source, workshop) if _unfit(source) is None else {}), **programs}

    def version(self, workshop: Workshop) -> str | None:
        """Of the `gguf` package; None where only llama.cpp's programs are used."""
        found = workshop.environments.find(self.recipe)
        return found.packages.get(self.name) if found else None

    def _impossible(self, spec: CompressSpec, source: Path | None, workshop: Workshop) -> Iterator[Refusal]:
        if source is None or spec.scheme not in self.schemes:
            return
        convert, quantize = _llama_cpp(workshop.llama_cpp)
        if (reason := _unfit(source)) and convert is None:
            yield Refusal(
                "tool", f"our own conversion does not fit this model: {reason}; {_BUILD}, or serve a GGUF file"
            )
        if spec.scheme not in CONVERTED and quantize is None:
            done = ", ".join(CONVERTED)
            yield Refusal("scheme", f"`{spec.scheme}` needs llama.cpp's `llama-quantize`: {_BUILD}; without it: {done}")

    def _conversion(self, scheme: str, source: Path, file: Path, args: list[str], workshop: Workshop) -> Step:
        if _unfit(source):
            return _their_conversion(scheme, source, file, args, workshop)
        environment = self.environment(workshop)
        assert environment is not None  # it has a recipe
        splits = pre_tokenizer_of(source)
        argv = (str(environment.python), str(SCRIPT), str(source), str(file), "--scheme", scheme, "--pre", splits)
        return Step((*argv, *args))


def _unfit(source: Path) -> str | None:
    """Why our own conversion does not do, None when it does."""
    try:
        pre_tokenizer_of(source)
    except Unfit as unfit:
        return str(unfit)
    return None


def _their_conversion(scheme: str, source: Path, file: Path, args: list[str], workshop: Workshop) -> Step:
    """llama.cpp's script, in an environment that has what it imports: torch, transformers, sentencepiece."""
    convert, _ = _llama_cpp(workshop.llama_cpp)
    if convert is None:
        raise CompressorMissing("llama.cpp's conversion script is not here", hint=_BUILD)
    with_torch = LlmCompressor()
    environment = with_torch.environment(workshop)
    assert environment is not None  # it has a recipe
    argv = (str(environment.python), str(convert), str(source), "--outfile", str(file), "--outtype", scheme, *args)
    return Step(argv, OFFLINE)


def _llama_cpp(folder: Path | None) -> tuple[Path | None, Path | None]:
    """llama.cpp's conversion script and its quantization program, as far as they are there."""
    if folder is None:
        return None, None
    convert = folder / "convert_hf_to_gguf.py"
    places = [folder / part / "llama-quantize" for part in ("build/bin", "bin", "")]
    quantize = next((place for place in places if place.is_file()), None)
    on_path = shutil.which("llama-quantize")
    return (convert if convert.is_file() else None), quantize or (Path(on_path) if on_path else None)
