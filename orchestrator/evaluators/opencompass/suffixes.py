"""What the parts of a data set config's name say; OpenCompass's own conventions."""

from __future__ import annotations

import re

_HASH = re.compile(r"[0-9a-f]{6}")
_SHOTS = re.compile(r"(\d+|few|zero)[-_]?shots?")
_MEANINGS = {
    "gen": "the model writes an answer, which is compared",
    "ppl": "the texts with each possible answer are scored; the likeliest counts (needs an engine that scores texts)",
    "ll": "log-likelihood of the ending of each text (needs an engine that scores texts)",
    "clp": "probabilities of the choices (needs the whole distribution: not over a server)",
    "llmjudge": "a judge model says which answers are right",
    "genericllmeval": "a judge model says which answers are right",
    "llmeval": "a judge model says which answers are right",
    "cascade": "compared by rules first, then by a judge model",
    "cot": "the prompt asks for reasoning step by step",
    "nocot": "the prompt does not ask for reasoning",
    "academic": "settings for academic reports",
    "rawprompt": "the question alone, without instructions",
    "circular": "every order of the options is asked, all must be right",
    "repeat": "each question is asked several times",
    "passk": "several answers to each question, one right is enough",
    "agent": "the model uses tools",
    "contamination": "tells whether the model has seen the data",
}
HASH_MEANING = "hash of its prompt templates: configs with the same one ask the same"
NO_HASH = "without a hash: OpenCompass's current default"


def explained(stem: str) -> list[tuple[str, str]]:
    """(part of the name, what it says) for each part that says something."""
    parts = stem.split("_")[1:]
    found = [(part, said) for part in parts if (said := _said(part.lower()))]
    hashed = any(_is_hash(part) for part in parts)
    return found if hashed or not found else [*found, ("", NO_HASH)]


def _said(part: str) -> str | None:
    if part in _MEANINGS:
        return _MEANINGS[part]
    if shots := _SHOTS.fullmatch(part):
        return f"{shots[1]} worked examples before each question"
    return HASH_MEANING if _is_hash(part) else None


def _is_hash(part: str) -> bool:
    return bool(_HASH.fullmatch(part)) and any(sign.isdigit() for sign in part)
