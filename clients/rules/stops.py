"""`stop_strings`: the request's own stop strings, applied here for engines that ignore or keep them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from clients.answers import CHAT, COMPLETIONS
from clients.request import InferenceRequest
from clients.rules.base import AnswerEdit, AnswerRule, Json, choices_of, index_of, partial_end, place_of, text_of


def stop_strings() -> AnswerRule:
    """Cut each choice before the first of the request's `stop` (after it with `include_stop_str_in_output`).

    The finish reason becomes `stop`; log-probabilities end with the text, the usage stays what the engine counted. In a
    stream, what may be the beginning of a stop string is held back until it is known. An echoed prompt is not searched.
    Chat and text completions.
    """
    return AnswerRule("stop_strings", _edit)


def _edit(request: InferenceRequest) -> AnswerEdit | None:
    body = request.json
    if request.path not in (CHAT, COMPLETIONS) or body is None:
        return None
    stops = _stops(body.get("stop"))
    echoed = body.get("prompt") if body.get("echo") else ""
    if not stops or not isinstance(echoed, str):
        return None
    return _Edit(stops, bool(body.get("include_stop_str_in_output")), echoed)


def _stops(stop: Any) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    return tuple(one for one in stops if isinstance(one, str) and one)


class _Edit:
    def __init__(self, stops: Sequence[str], keep: bool, echoed: str) -> None:
        self._stops = stops
        self._keep = keep
        self._echoed = echoed
        self._cutters: dict[int, _Cutter] = {}

    def whole(self, answer: Json) -> bool:
        changed = [self._cut(choice, last=True) for choice in choices_of(answer)]
        return any(changed)

    def event(self, event: Json) -> list[Json] | None:
        choices = list(choices_of(event))
        left = [choice for choice in choices if not self._cutter(choice).found]
        changed = [self._cut(choice, last=bool(choice.get("finish_reason"))) for choice in left]
        if len(left) < len(choices):  # more of a choice that has ended
            event["choices"] = left
            return [event] if left or event.get("usage") else []
        return [event] if any(changed) else None

    def end(self) -> list[Json]:
        return []  # what was held back came with the finish reason, or belongs to an answer without end

    def _cut(self, choice: Json, *, last: bool) -> bool:
        cutter = self._cutter(choice)
        text = text_of(choice)
        if text is None and not cutter.held:
            return False
        said = cutter.feed(text or "", last=last)
        if said == text and not cutter.found:
            return False
        place, name = place_of(choice)
        place[name] = said
        if cutter.found:
            choice["finish_reason"] = "stop"
            if last:
                _cut_logprobs(choice, len(said))
            if "stop_reason" in choice:
                choice["stop_reason"] = cutter.found
        return True

    def _cutter(self, choice: Json) -> _Cutter:
        return self._cutters.setdefault(index_of(choice), _Cutter(self._stops, self._keep, self._echoed))


def _cut_logprobs(choice: Json, length: int) -> None:
    """Leave those of the tokens that begin within the first `length` characters, in either form of OpenAI."""
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, dict):
        return
    tokens = logprobs.get("tokens") or [one.get("token", "") for one in logprobs.get("content") or []]
    starts = accumulate(map(len, tokens), initial=0)
    count = sum(start < length for start in list(starts)[:-1])
    choice["logprobs"] = {
        name: value[:count] if isinstance(value, list) and len(value) == len(tokens) else value
        for name, value in logprobs.items()
    }


class _Cutter:
    """Cuts the text of one choice as it comes in. The stop string that is complete first counts, as in an engine."""

    def __init__(self, stops: Sequence[str], keep: bool, echoed: str) -> None:
        self.held = ""
        self.found: str | None = None
        """The stop string that ended it."""
        self._stops = stops
        self._keep = keep
        self._echoed = len(echoed)

    def feed(self, text: str, *, last: bool) -> str:
        """What of the text may be passed on; `last`: no more comes."""
        text, self.held = self.held + text, ""
        prompt, text = text[: self._echoed], text[self._echoed :]
        self._echoed -= len(prompt)
        ends = [(text.find(stop) + len(stop), stop) for stop in self._stops if stop in text]
        if ends:
            end, self.found = min(ends)
            return prompt + (text[:end] if self._keep else text[: end - len(self.found)])
        known = len(text) if last else len(text) - max(partial_end(text, stop) for stop in self._stops)
        self.held = text[known:]
        return prompt + text[:known]
