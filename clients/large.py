"""Is this an answer, though too large to be parsed? Parsed JSON takes ten times the memory of its text."""

from __future__ import annotations

import re

from clients.answers import Verdict

_OVERLAP = 4096  # bytes in which a field and its value are found though the body is cut between them
_BLANK = b" \t\r\n"
# A quote inside a text is escaped, so that no text matches these.
_BROKEN = re.compile(rb'"finish_reason"\s*:\s*"(?:error|abort)"')
_ERROR = re.compile(rb'\A\s*\{\s*"error"\s*:\s*[^\sn]')  # null is none
_PROMPT_TOKENS = re.compile(rb'"prompt_tokens"\s*:\s*(\d+)')
_COMPLETION_TOKENS = re.compile(rb'"(?:completion_tokens|count_output_tokens)"\s*:\s*(\d+)')


class LargeJudge:
    """Judges a large JSON answer with status 200 while it passes, and keeps none of it.

    What is seen: whether it is one JSON object whose brackets and texts all close, whether it begins as an error, a
    broken finish reason anywhere, the usage at its end. Causes: `bad_json`, `error_body`, `finish_reason_error`.
    """

    def __init__(self) -> None:
        self._start = b""
        self._end = b""
        self._depth = 0
        self._in_text = False
        self._escaping = b""  # a backslash whose character is still to come
        self._broken = False

    def add(self, data: bytes) -> None:
        """More of the body, cut anywhere."""
        if len(self._start) < _OVERLAP:
            self._start += data[:_OVERLAP]
        self._end, seen = (self._end + data)[-_OVERLAP:], self._end + data
        self._broken = self._broken or _BROKEN.search(seen) is not None
        self._count_brackets(self._escaping + data)

    def verdict(self) -> Verdict:
        """The verdict on all of it; only when it has ended."""
        start, end = self._start.strip(_BLANK), self._end.strip(_BLANK)
        if not (start.startswith(b"{") and end.endswith(b"}")) or self._depth or self._in_text:
            return Verdict("bad_json", self._excerpt())
        if _ERROR.match(self._start):
            return Verdict("error_body", self._excerpt())
        if self._broken:
            return Verdict("finish_reason_error", self._excerpt())
        prompt, completion = _PROMPT_TOKENS.search(self._end), _COMPLETION_TOKENS.search(self._end)
        return Verdict(tokens=(int(prompt[1]), int(completion[1]) if completion else 0) if prompt else None)

    def _count_brackets(self, data: bytes) -> None:
        bare = data.replace(b"\\\\", b"")
        self._escaping = b"\\" if bare.endswith(b"\\") else b""
        parts = bare.removesuffix(b"\\").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[self._in_text :: 2])
        self._in_text ^= len(parts) % 2 == 0
        self._depth += outside.count(b"{") + outside.count(b"[") - outside.count(b"}") - outside.count(b"]")

    def _excerpt(self) -> str:
        return self._start[:200].decode(errors="replace")
