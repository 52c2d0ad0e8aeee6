"""How a model is loaded: its path, tokenizer, number format and GPUs as fields of `serve`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.one_click.folder import ModelFolder
from orchestrator.one_click.items import Argument, Change, Item, Note, Set
from orchestrator.one_click.kinds import Kind

_TOKENIZER_FLAGS = {"vllm": "--tokenizer", "sglang": "--tokenizer-path"}
_REVISION_FLAGS = {"vllm": "--revision", "sglang": "--revision"}
_FORMATS = {"float": "float32", "half": "float16", "None": "auto"}
_OWN_PLACES = frozenset(
    {"device_map", "low_cpu_mem_usage", "max_memory", "offload_folder", "cache_dir", "use_safetensors"}
)
_OF_BATCHES = frozenset({"padding_side", "truncation_side"})
_SWITCHES = frozenset({"load_in_8bit", "load_in_4bit"})


def loading(
    model: Mapping[str, Any], kind: Kind, folder: ModelFolder | None, engine: str, honoured: Collection[str]
) -> Iterator[Item]:
    """What `serve` says; `honoured`: its fields that the engine has."""
    path = str(model.get("path") or "")
    yield Set("serve", "model", path)
    yield from _gpus(model.get("run_cfg") or {})
    yield from _length(model, kind, engine, honoured)
    kwargs = dict(model.get("model_kwargs") or {})
    yield from _format(kwargs, kind, folder, engine, honoured)
    yield from _code(kwargs, model, kind)
    yield from _revision(kwargs, engine)
    for key, value in kwargs.items():
        yield from _rest("model_kwargs", key, value)
    yield from _tokenizer(model, path, engine)
    if model.get("peft_path"):
        yield Change(
            "peft_path",
            f"{model['peft_path']}: adapters are not served; merge it into the model, give that folder as the path",
        )


def _gpus(run: Mapping[str, Any]) -> Iterator[Item]:
    if count := run.get("num_gpus"):
        yield Set("serve", "tensor_parallel", count)
    if (processes := run.get("num_procs", 1)) != 1:
        yield Note(f"run_cfg.num_procs={processes} is not carried over: `--serve replicas=N` runs copies of the model")


def _length(model: Mapping[str, Any], kind: Kind, engine: str, honoured: Collection[str]) -> Iterator[Item]:
    longest = model.get("max_seq_len") or (2048 if kind == "text" else None)
    if longest is None:
        return
    said = "max_seq_len" if model.get("max_seq_len") else f"max_seq_len of its class, {longest},"
    if "max_model_len" not in honoured:
        yield Note(f"{said} is not carried over: engine `{engine}` takes prompts as long as the model allows")
        return
    yield Set("serve", "max_model_len", longest)
    yield Note(
        f"{said} bounds prompt and answer together; longer prompts are refused and count as failed, "
        "where Hugging Face's class cuts them"
    )


def _format(
    kwargs: dict[str, Any], kind: Kind, folder: ModelFolder | None, engine: str, honoured: Collection[str]
) -> Iterator[Item]:
    """`torch_dtype`; without it the newer classes take the model's own format, the older ones float16."""
    written = str(kwargs.pop("torch_dtype", kwargs.pop("dtype", ""))).removeprefix("torch.")
    named = _FORMATS.get(written, written)
    wanted = named or ("float16" if kind == "text" else "auto")
    if engine == "llamacpp":
        own = str((folder.config if folder else {}).get("torch_dtype", ""))
        scheme = "f32" if "float32" in (wanted, own if wanted == "auto" else "") else "f16"
        yield Set("compress", "scheme", scheme)
        yield Note(f"llama.cpp serves a GGUF file: unless the path is one, it is made of the model in {scheme}")
    elif wanted == "auto":
        return
    elif "dtype" in honoured:
        yield Set("serve", "dtype", wanted)
        if not named:
            yield Note("dtype float16: what this class of OpenCompass's loads where nothing else is said")
    elif named:
        yield Change("model_kwargs.torch_dtype", f"{written}: engine `{engine}` has no such choice")
    else:
        yield Note(
            f"float16, what this class of OpenCompass's loads, is not carried over: `{engine}` has no such choice"
        )


def _code(kwargs: dict[str, Any], model: Mapping[str, Any], kind: Kind) -> Iterator[Item]:
    """The newer classes run a model's own code unless they are told not to."""
    tokenizer = (model.get("tokenizer_kwargs") or {}).get("trust_remote_code", False)
    if kwargs.pop("trust_remote_code", kind != "text") or tokenizer:
        yield Set("serve", "trust_remote_code", True)


def _revision(kwargs: dict[str, Any], engine: str) -> Iterator[Item]:
    if (revision := kwargs.pop("revision", None)) is None:
        return
    if engine in _REVISION_FLAGS:
        yield Argument((_REVISION_FLAGS[engine], str(revision)))
    else:
        yield Change("model_kwargs.revision", f"{revision}: engine `{engine}` takes none; give its folder as the path")


def _tokenizer(model: Mapping[str, Any], path: str, engine: str) -> Iterator[Item]:
    other = model.get("tokenizer_path")
    if other and other != path:
        if engine in _TOKENIZER_FLAGS:
            here = Path(str(other)).expanduser()
            yield Argument((_TOKENIZER_FLAGS[engine], str(here.resolve()) if here.exists() else str(other)))
        else:
            yield Change("tokenizer_path", f"{other}: engine `{engine}` takes the tokenizer of the model's folder")
    for key, value in (model.get("tokenizer_kwargs") or {}).items():
        if key != "trust_remote_code":
            yield from _rest("tokenizer_kwargs", key, value)


def _rest(group: str, key: str, value: Any) -> Iterator[Item]:
    if value is None or (key in _SWITCHES and not value):
        return
    if key in _OWN_PLACES:
        yield Note(f"{group}.{key}={value} is not needed: the engine places the model itself")
    elif key in _OF_BATCHES:
        yield Note(f"{group}.{key}={value} is not needed: a request is one prompt, never padded nor cut")
    elif key in ("use_fast", "attn_implementation"):
        yield Note(f"{group}.{key}={value} is not carried over: the engine has its own")
    else:
        yield Change(f"{group}.{key}", f"{value!r}: no field of `serve` says this")
