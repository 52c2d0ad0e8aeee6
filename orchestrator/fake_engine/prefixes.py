"""The fake engine's prefix cache: what an engine remembers of prompts, as far as a router can see it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

LENGTH = 256
"""Characters of a prompt that count as its prefix."""
WARM = 0.1
"""Share of the latency that a hit takes."""


class PrefixCache:
    """Remembers the last `size` different prefixes, the least recently used is forgotten first."""

    def __init__(self, size: int) -> None:
        self.hits = 0
        self.misses = 0
        self._size = size
        self._known: OrderedDict[str, None] = OrderedDict()

    def share(self, prompts: Sequence[str]) -> float:
        """What share of the latency a request with these prompts takes: `WARM` if all are known. Remembers them."""
        if not self._size:
            return 1.0
        known = [self._meet(prompt[:LENGTH]) for prompt in prompts]
        return WARM if all(known) else 1.0

    def _meet(self, prefix: str) -> bool:
        known = prefix in self._known
        self._known[prefix] = None
        self._known.move_to_end(prefix)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        self.hits += known
        self.misses += not known
        return known
