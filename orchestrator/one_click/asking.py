"""How a model is asked: template, longest answers, and the keys that concern only OpenCompass's own classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.one_click.items import Change, Item, Note, Set, Stop
from orchestrator.one_click.kinds import Kind, class_of
from orchestrator.one_click.reading import DatasetEntry

DEFAULT_MAX_OUT_LEN = 1024
"""Longest answer where neither the model nor the data set names one."""
_CHAT = {
    "round": [
        {"role": "HUMAN", "api_role": "HUMAN"},
        {"role": "SYSTEM", "api_role": "HUMAN"},
        {"role": "BOT", "api_role": "BOT", "generate": True},
    ]
}
"""What `HuggingFacewithChatTemplate` has where the config gives none: the text of SYSTEM is the user's."""
_ELSEWHERE = frozenset(
    {"type", "abbr", "path", "tokenizer_path", "tokenizer_kwargs", "peft_path", "peft_kwargs", "model_kwargs"}
    | {"generation_kwargs", "max_seq_len", "max_out_len", "min_out_len", "run_cfg", "stop_words", "end_str"}
    | {"meta_template"}
)
_CRITERIA = "infer_cfg.inferencer.stopping_criteria"
_INNER = frozenset({"batch_padding", "extract_pred_after_decode", "hf_cache_dir", "pad_token_id", "tokenizer_only"})
_CUTS = frozenset({"mode", "drop_middle"})
_TEMPLATES = frozenset({"fastchat_template", "use_fastchat_template"})


def asking(model: Mapping[str, Any], kind: Kind, datasets: Sequence[DatasetEntry]) -> Iterator[Item]:
    """Prompts and lengths, then every key that is left."""
    yield from _template(model, kind)
    yield from _lengths(model, datasets)
    yield from _criteria(datasets)
    for key, value in model.items():
        if key not in _ELSEWHERE and value not in (None, False, "", "none"):
            yield _rest(key, value, model)


def _template(model: Mapping[str, Any], kind: Kind) -> Iterator[Item]:
    given = model.get("meta_template")
    if kind == "chat":
        yield Set("opencompass", "meta_template", given or _CHAT)
        return
    yield Set("opencompass", "prompts", "text")
    if given and kind == "text":
        yield Set("opencompass", "meta_template", given)
    elif given:
        yield Note("meta_template is not used: HuggingFaceBaseModel does not use one either")


def _lengths(model: Mapping[str, Any], datasets: Sequence[DatasetEntry]) -> Iterator[Item]:
    wanted = model.get("max_out_len")
    own = [entry for entry in datasets if entry.max_out_len is not None and entry.max_out_len != wanted]
    for length in sorted({entry.max_out_len for entry in own if entry.max_out_len}):
        names = [entry.abbr for entry in own if entry.max_out_len == length]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield Note(f"max_out_len={length} of {shown} wins over the model's ({wanted}), as it does in OpenCompass")
    if wanted is None and any(entry.max_out_len is None for entry in datasets):
        yield Note(f"max_out_len is not given: {DEFAULT_MAX_OUT_LEN} where a data set says nothing")


def _criteria(datasets: Sequence[DatasetEntry]) -> Iterator[Item]:
    """OpenCompass's class for servers drops them: here they go out as stop words, the same with every request."""
    different = {tuple(entry.stopping_criteria) for entry in datasets}
    if len(different) == 1:
        yield Stop(different.pop())
    elif different:
        names = ", ".join(entry.abbr for entry in datasets if entry.stopping_criteria)
        yield Change(_CRITERIA, f"{names} end answers at words of their own: give them configs of their own")


def _rest(key: str, value: Any, model: Mapping[str, Any]) -> Item:
    if key == "batch_size":
        return Note(f"batch_size={value} is not needed: the engine forms its batches itself")
    if key == "summarizer_abbr":
        return Note(f"summarizer_abbr={value} is not carried over: the model is called by its abbr")
    if key == "pred_postprocessor":
        return Change(key, "what it does to answers before they are scored is not done here")
    if key in _TEMPLATES:
        return Change(key, f"{value}: FastChat's templates are not the model's own, which the engine uses")
    if key in _CUTS:
        return Note(f"{key}={value} is not carried over: prompts that are too long are refused and count as failed")
    if key in _INNER:
        return Note(f"{key}={value} is not needed: it concerns only how OpenCompass's class works inside")
    return Note(f"{key} is not carried over: {class_of(model)} does not know it either")
