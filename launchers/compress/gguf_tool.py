"""Tool `gguf`: a Hugging Face folder as one GGUF file for llama.cpp, quantized on the way.

Plain Llama models in f32, f16 and q8_0 are converted by a script of our own, which needs numpy and no torch. Other
architectures, and the k-quants, need llama.cpp's own `convert_hf_to_gguf.py` and `llama-quantize`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from launchers.compress.llama_folder import Unfit, pre_tokenizer_of
from launchers.compress.spec import CompressSpec
from launchers.compress.tool import OFFLINE, Step, Tool, Workshop, missing
from launchers.engine import Refusal
from launchers.environments import Recipe
from launchers.errors import CompressorMissing
from launchers.registry import get_engine

SCRIPT = Path(__file__).parent / "scripts" / "convert_gguf.py"
OURS = ("f32", "f16", "q8_0")
CONVERTED = (*OURS, "bf16")
"""What llama.cpp's conversion writes by itself; the rest goes through `llama-quantize`."""
QUANTIZED = (
    *("q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_0", "q4_1", "q4_k_s", "q4_k_m"),
    *("q5_0", "q5_1", "q5_k_s", "q5_k_m", "q6_k", "iq4_nl", "iq4_xs"),
)
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
        """Our script where it fits, else llama.cpp's conversion and quantization."""
        scheme, file = str(spec.scheme), output / self.produced(spec, source)
        if scheme in OURS:
            try:
                return (self._ours(scheme, source, file, spec.args, workshop),)
            except Unfit:
                pass  # then llama.cpp's own must do
        return _theirs(scheme, source, file, spec.args, workshop)

    def produced(self, spec: CompressSpec, source: Path) -> str:
        """The file, named after the model and the scheme as the files on the hub are."""
        return f"{source.name}-{str(spec.scheme).upper()}.gguf"

    def inputs(self, spec: CompressSpec) -> tuple[Path, ...]:
        """Our script."""
        return (SCRIPT,)

    def identity(self, spec: CompressSpec, source: Path, workshop: Workshop) -> dict[str, object]:
        """The environment, or which llama.cpp."""
        if _unfit(str(spec.scheme), source) is None:
            return Tool.identity(self, spec, source, workshop)
        programs = [path for path in _llama_cpp(workshop.llama_cpp) if path]
        return {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in programs}

    def _impossible(self, spec: CompressSpec, source: Path | None, workshop: Workshop) -> Iterator[Refusal]:
        if source is None or spec.scheme not in self.schemes:
            return
        reason = _unfit(spec.scheme, source)
        convert, quantize = _llama_cpp(workshop.llama_cpp)
        if reason and (convert is None or (quantize is None and spec.scheme not in CONVERTED)):
            yield Refusal("scheme", f"{reason}; {_BUILD}, or convert it elsewhere and serve the file")

    def _ours(self, scheme: str, source: Path, file: Path, args: list[str], workshop: Workshop) -> Step:
        splits = pre_tokenizer_of(source)
        environment = self.environment(workshop)
        assert environment is not None  # it has a recipe
        argv = (str(environment.python), str(SCRIPT), str(source), str(file), "--scheme", scheme, "--pre", splits)
        return Step((*argv, *args))


def _unfit(scheme: str, source: Path) -> str | None:
    """Why our own script does not do, None when it does."""
    if scheme not in OURS:
        return f"our own conversion has {', '.join(OURS)}; `{scheme}` needs llama.cpp's tools"
    try:
        pre_tokenizer_of(source)
    except Unfit as unfit:
        return f"our own conversion does not fit this model: {unfit}"
    return None


def _theirs(scheme: str, source: Path, file: Path, args: list[str], workshop: Workshop) -> tuple[Step, ...]:
    convert, quantize = _llama_cpp(workshop.llama_cpp)
    if convert is None or (quantize is None and scheme not in CONVERTED):
        raise CompressorMissing(f"llama.cpp's tools for scheme `{scheme}` are not here", hint=_BUILD)
    torch = get_engine("transformers").recipe  # their script needs torch and transformers, and this one has both
    environment = workshop.environments.find(torch) if torch else None
    if environment is None:
        assert torch is not None
        raise missing("gguf", torch)
    python = str(environment.python)
    if scheme in CONVERTED:
        return (Step((python, str(convert), str(source), "--outfile", str(file), "--outtype", scheme, *args), OFFLINE),)
    whole = file.with_name("whole.gguf")
    remove = "import os, sys; os.unlink(sys.argv[1])"
    return (
        Step((python, str(convert), str(source), "--outfile", str(whole), "--outtype", "bf16"), OFFLINE),
        Step((str(quantize), *args, str(whole), str(file), scheme.upper())),
        Step((python, "-c", remove, str(whole))),
    )


def _llama_cpp(folder: Path | None) -> tuple[Path | None, Path | None]:
    """llama.cpp's conversion script and its quantization program, as far as they are there."""
    if folder is None:
        return None, None
    convert = folder / "convert_hf_to_gguf.py"
    places = [folder / part / "llama-quantize" for part in ("build/bin", "bin", "")]
    quantize = next((place for place in places if place.is_file()), None)
    on_path = shutil.which("llama-quantize")
    return (convert if convert.is_file() else None), quantize or (Path(on_path) if on_path else None)
