"""Does a stop string of several tokens end the answer, and is it cut off?"""

from __future__ import annotations

from clients.fidelity.asking import Asker
from clients.fidelity.greedy import Samples
from clients.fidelity.report import Finding

_LEAST = 12
"""Characters that a text needs so that a stop string can be in the middle of it."""
_SHORTEST = 4
"""Characters of a stop string, so that it is more than one token."""


async def check_stop_strings(asker: Asker, samples: Samples) -> Finding:
    """The stop string is taken out of a text that the model just made, so it will come again."""
    prompt, whole = samples.longest
    stop = stop_within(whole.text)
    if stop is None:
        return Finding("stop_strings", "unknown", "the answers are too short for a stop string in the middle")
    answer = await asker.ask(prompt, stop=[stop])
    if answer.status != 200:
        return Finding("stop_strings", "unknown", f"HTTP {answer.status} for a stop string: {answer.excerpt}")
    finding = _judged(whole.text, stop, answer.text)
    finding.data.update(stop=stop, without=whole.text, text=answer.text, finish_reason=answer.finish_reason)
    return finding


def stop_within(text: str) -> str | None:
    """A string of two words, or of parts of them, that occurs once, in the middle of `text`."""
    text = text.rstrip()
    if len(text) < _LEAST:
        return None
    start, size = len(text) // 3, max(_SHORTEST, len(text) // 4)
    for begin in range(start, 2 * len(text) // 3):
        stop = text[begin : begin + size].strip()
        if len(stop) >= _SHORTEST and text.find(stop) == begin and text[:begin].strip():
            return stop
    return None


def _judged(whole: str, stop: str, text: str) -> Finding:
    before = whole[: whole.find(stop)]
    if stop in text and len(text) >= len(whole.rstrip()):
        advice = "let the gateway cut the answers (rule stop_strings); each still runs on to max_tokens"
        return Finding(
            "stop_strings", "note", "a stop string of several tokens is ignored", {"effect": "ignored"}, advice
        )
    if stop in text:
        advice = "let the gateway cut it off (rule stop_strings)"
        return Finding("stop_strings", "note", "the answer ends with the stop string", {"effect": "kept"}, advice)
    if text.strip() == before.strip():
        return Finding("stop_strings", "ok", "a stop string ends the answer and is cut off", {"effect": "cut"})
    return Finding("stop_strings", "unknown", "the answer with a stop string is another text", {"effect": "unclear"})
