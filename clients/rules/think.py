"""`think_to_reasoning`: a thought at the start of the content moves to `reasoning_content`, or is left out."""

from __future__ import annotations

from typing import Literal

from clients.answers import CHAT
from clients.request import InferenceRequest
from clients.rules.base import AnswerEdit, AnswerRule, Json, choices_of, index_of, partial_end, place_of, text_of

OPEN, CLOSE = "<think>", "</think>"


def think_to_reasoning(*, drop: bool = False, opened: bool = False) -> AnswerRule:
    """`<think>...</think>` at the start of a chat's content becomes `reasoning_content`, or nothing with `drop`.

    White space after it goes too. `opened`: the chat template has written `<think>` already, so that the answer begins
    inside the thought. A thought that never ends takes all of the content with it.
    """

    def edit(request: InferenceRequest) -> AnswerEdit | None:
        return _Edit(drop, opened) if request.path == CHAT else None

    return AnswerRule("think_to_reasoning", edit)


class _Edit:
    def __init__(self, drop: bool, opened: bool) -> None:
        self._drop = drop
        self._opened = opened
        self._splitters: dict[int, _Splitter] = {}

    def whole(self, answer: Json) -> bool:
        changed = [self._split(choice, last=True) for choice in choices_of(answer)]
        return any(changed)

    def event(self, event: Json) -> list[Json] | None:
        changed = [self._split(choice, last=bool(choice.get("finish_reason"))) for choice in choices_of(event)]
        return [event] if any(changed) else None

    def end(self) -> list[Json]:
        held = [(index, splitter.feed("", last=True)) for index, splitter in self._splitters.items()]
        return [
            {"choices": [{"index": index, "delta": self._fields(*said), "finish_reason": None}]}
            for index, said in held
            if any(said)
        ]

    def _split(self, choice: Json, *, last: bool) -> bool:
        splitter = self._splitters.setdefault(index_of(choice), _Splitter(self._opened))
        text = text_of(choice)
        if text is None and not splitter.held:
            return False
        reasoning, content = splitter.feed(text or "", last=last)
        if not reasoning and content == text:
            return False
        place, name = place_of(choice)
        place[name] = content
        if reasoning and not self._drop:
            place["reasoning_content"] = (place.get("reasoning_content") or "") + reasoning
        return True

    def _fields(self, reasoning: str, content: str) -> Json:
        return {"content": content} | ({"reasoning_content": reasoning} if reasoning and not self._drop else {})


class _Splitter:
    """Tells thought from content as the text of one choice comes in; `held` may yet be either."""

    def __init__(self, opened: bool) -> None:
        self.held = ""
        self._state: Literal["start", "thought", "gap", "content"] = "thought" if opened else "start"

    def feed(self, text: str, *, last: bool) -> tuple[str, str]:
        """(thought, content) of what is known by now; `last`: no more comes."""
        text, self.held = self.held + text, ""
        reasoning = ""
        if self._state == "start":
            begun = text.lstrip()
            if begun.startswith(OPEN):
                self._state, text = "thought", begun[len(OPEN) :]
            elif not last and OPEN.startswith(begun):
                self.held = text
                return "", ""
            else:
                self._state = "content"
        if self._state == "thought":
            reasoning, closed, text = text.partition(CLOSE)
            if not closed:
                known = len(reasoning) if last else len(reasoning) - partial_end(reasoning, CLOSE)
                self.held = reasoning[known:]
                return reasoning[:known], ""
            self._state = "gap"
        if self._state == "gap":
            text = text.lstrip()
            self._state = "content" if text else "gap"
        return reasoning, text
