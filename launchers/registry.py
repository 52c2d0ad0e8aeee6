"""Which engines there are: ours, and those that others add by the entry-point group `orchestrator.engines`."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from launchers.engine import Engine
from launchers.errors import SpecRefused

GROUP = "orchestrator.engines"
_OURS = {
    "custom": "launchers.engines.custom:CustomEngine",
    "external": "launchers.engines.external:ExternalEngine",
    "lightllm": "launchers.engines.lightllm:LightllmEngine",
    "llamacpp": "launchers.engines.llamacpp:LlamaCppEngine",
    "lmdeploy": "launchers.engines.lmdeploy:LmdeployEngine",
    "sglang": "launchers.engines.sglang:SglangEngine",
    "transformers": "launchers.engines.transformers:TransformersEngine",
    "vllm": "launchers.engines.vllm:VllmEngine",
}


def engine_names() -> list[str]:
    """Names of all engines that are registered, sorted."""
    return sorted(_registered())


def get_engine(name: str) -> Engine:
    """The engine of that name.

    Raises: SpecRefused naming the nearest engine when there is none.
    """
    found = _registered().get(name)
    if found is None:
        close = difflib.get_close_matches(name, engine_names(), n=1)
        guess = f"; did you mean `{close[0]}`?" if close else ";"
        raise SpecRefused(f"no engine `{name}` here{guess} available: {', '.join(engine_names())}")
    engine: Engine = found.load()()
    return engine


@cache
def _registered() -> dict[str, EntryPoint]:
    ours = {name: EntryPoint(name, value, GROUP) for name, value in _OURS.items()}
    return {**{entry.name: entry for entry in entry_points(group=GROUP)}, **ours}
