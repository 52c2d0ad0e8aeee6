"""The serving fingerprint as rows of a table, for the page, the Markdown and the trackers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from orchestrator.identity import ServingIdentity


def identity_rows(identity: ServingIdentity | None) -> list[tuple[str, str]]:
    """(what, value), in the order in which a reader asks; nothing without a fingerprint."""
    if identity is None:
        return []
    rows = {
        "digest": identity.digest,
        "engine": " ".join(filter(None, (identity.engine, identity.version))),
        "torch": identity.torch,
        "environment pins": identity.requirements,
        "packages off their pins": _named(identity.packages_off) or None,
        "model": identity.model,
        "model files": identity.model_hash,
        "tokenizer": identity.tokenizer_hash,
        "chat template": identity.template_hash,
        "sampling asked for": "; ".join(json.dumps(one) for one in identity.sampling.requested),
        "sampling added, always": _named(identity.sampling.always) or None,
        "sampling added, greedy": _named(identity.sampling.greedy) or None,
        "the model's generation config": _named(identity.sampling.model) or None,
        "GPUs": ", ".join(f"{gpu.index}: {gpu.name}, {gpu.memory_total / 2**30:.0f} GiB" for gpu in identity.gpus),
        "GPU driver": identity.driver,
        **{f"command {number}": shlex.join(argv) for number, argv in enumerate(identity.argv)},
        "environment variables": _named(identity.env),
    }
    return [(name, value or "none") for name, value in rows.items() if value is not None]


def _named(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={shlex.quote(str(value))}" for name, value in sorted(values.items()))
