"""`generation_kwargs`, `stop_words` and lengths of a model as parameters of requests.

Both of OpenCompass's Hugging Face classes switch sampling off unless `generation_kwargs` switch it on; what they leave
out comes from the model's `generation_config.json`, then from transformers' own defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.one_click.folder import ModelFolder
from orchestrator.one_click.items import Change, Item, Note, Set, Stop

TOP_K = 50
"""transformers' own, where it samples and nobody says otherwise."""
_ONLY_SAMPLING = ("temperature", "top_p", "top_k", "typical_p", "min_p", "epsilon_cutoff", "eta_cutoff")
_HARMLESS = frozenset({"pad_token_id", "use_cache", "return_dict_in_generate", "output_scores", "synced_gpus"})
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "no_repeat_ngram_size": (0,),
    "length_penalty": (1.0,),
    "typical_p": (1.0,),
    "min_p": (0.0,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "early_stopping": (False,),
}
_MIN = "generation_kwargs.min_new_tokens"
_EOS = "generation_kwargs.eos_token_id"
_TAKES_TOKENS = frozenset({"vllm", "sglang"})
"""Engines whose requests may say `stop_token_ids` and `min_tokens`."""


def sampling(model: Mapping[str, Any], folder: ModelFolder | None, engine: str) -> Iterator[Item]:
    """How answers are drawn and where they end."""
    given = dict(model.get("generation_kwargs") or {})
    yield from _drawing(given, folder)
    yield from _penalty(given, folder)
    yield from _lengths(model, given, engine)
    yield from _stops(model, given, folder, engine)
    for key, value in given.items():
        yield from _rest(key, value)


def _drawing(given: dict[str, Any], folder: ModelFolder | None) -> Iterator[Item]:
    """Takes what it has dealt with out of `given`."""
    if not given.pop("do_sample", False):
        yield Set("generation", "temperature", 0.0)
        for key in _ONLY_SAMPLING:
            value = given.pop(key, None)
            if value is not None and (key, value) != ("temperature", 0):
                yield Note(f"generation_kwargs.{key}={value} is not sent: without `do_sample` it has no effect")
        return
    defaults = {"temperature": 1.0, "top_p": None, "top_k": TOP_K, **(folder.generation if folder else {})}
    drawn = {key: given.pop(key, defaults[key]) for key in ("temperature", "top_p", "top_k")}
    # None, where it is said, switches a way of sampling off.
    yield Set("generation", "temperature", 1.0 if drawn["temperature"] is None else float(drawn["temperature"]))
    if drawn["top_p"] is not None and drawn["top_p"] != 1:
        yield Set("generation", "top_p", float(drawn["top_p"]))
    if drawn["top_k"]:
        yield Set("generation", "top_k", drawn["top_k"])
    told = ", ".join(f"{key} {value}" for key, value in drawn.items() if value is not None)
    yield Note(f"answers are sampled ({told}): two runs differ, on one engine too")


def _penalty(given: dict[str, Any], folder: ModelFolder | None) -> Iterator[Item]:
    key = "repetition_penalty"
    value = given.pop(key, None)
    if value is None and folder and (value := folder.generation.get(key)) not in (None, 1, 1.0):
        yield Note(f"{key} {value} comes from the model's generation_config.json, as in Hugging Face's `generate`")
    if value is not None and value != 1:
        yield Set("generation", key, float(value))


def _lengths(model: Mapping[str, Any], given: dict[str, Any], engine: str) -> Iterator[Item]:
    longest = given.pop("max_new_tokens", None)
    wanted = model.get("max_out_len")
    if wanted is None and longest is not None:
        wanted = longest
    elif longest is not None and longest != wanted:
        yield Note(
            f"generation_kwargs.max_new_tokens={longest} is not used: max_out_len={wanted} wins in OpenCompass too"
        )
    if wanted is not None:
        yield Set("opencompass", "max_out_len", wanted)
    if given.pop("max_length", None) is not None:
        yield Note("generation_kwargs.max_length is not used: max_out_len wins in OpenCompass too")
    for key, least in (("min_out_len", model.get("min_out_len")), (_MIN, given.pop("min_new_tokens", None))):
        if least and engine in _TAKES_TOKENS:
            yield Set("parameters", "min_tokens", least)
        elif least:
            yield Change(key, f"{least}: engine `{engine}` knows no shortest answer")


def _stops(model: Mapping[str, Any], given: dict[str, Any], folder: ModelFolder | None, engine: str) -> Iterator[Item]:
    words = [*_words(model.get("stop_words")), *_words(model.get("end_str")), *_words(given.pop("stop_strings", None))]
    if words:
        yield Stop(tuple(words))
    ends = given.pop("eos_token_id", None)
    tokens = set(ends) if isinstance(ends, list) else set() if ends is None else {ends}
    yield from _ends(tokens, folder, engine)
    unseen = _unseen(words, folder)
    if engine in _TAKES_TOKENS:
        if extra := {*tokens, *unseen.values()}.difference(folder.ends if folder else ()):
            yield Set("parameters", "stop_token_ids", sorted(extra))
    elif unseen:
        yield Note(
            f"stop_words {', '.join(unseen)} are special tokens: if `{engine}` leaves those out of its answers before "
            "it looks for stop words, answers run on; the share of answers that were cut shows it"
        )


def _ends(tokens: set[int], folder: ModelFolder | None, engine: str) -> Iterator[Item]:
    """`generate` ends answers at these tokens and no others, an engine at the model's own in any case."""
    own = folder.ends if folder else frozenset()
    if not tokens or tokens == own:
        return
    if engine not in _TAKES_TOKENS:
        yield Change(_EOS, f"{sorted(tokens)}: engine `{engine}` takes no stop tokens in a request")
    elif unwanted := own - tokens:
        yield Change(_EOS, f"{sorted(tokens)}: engine `{engine}` ends answers at {sorted(unwanted)} of the model too")
    elif folder is None:
        yield Note(f"{_EOS}={sorted(tokens)} is sent beside the model's own tokens, which end answers in any case")


def _unseen(words: list[str], folder: ModelFolder | None) -> dict[str, int]:
    """Stop words that engines cannot find in a text, since they leave special tokens out of it, with their ids."""
    special = folder.special if folder else {}
    ends = folder.ends if folder else frozenset()
    return {word: special[word] for word in words if word in special and special[word] not in ends}


def _rest(key: str, value: Any) -> Iterator[Item]:
    if value is None or value in _NEUTRAL.get(key, ()):
        return
    if key in _HARMLESS:
        yield Note(f"generation_kwargs.{key}={value} is not needed: it has no effect on answers")
    else:
        yield Change(f"generation_kwargs.{key}", f"{value!r}: there is no such parameter in a request")


def _words(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(word) for word in value or []]
