"""Reading server-sent events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def data_of(lines: Iterable[str]) -> Iterator[str | None]:
    """The `data` of each event, None for each line that ends none: a chance to look at the clock."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        if line or not data:
            yield None
            continue
        yield "\n".join(data)
        data.clear()
