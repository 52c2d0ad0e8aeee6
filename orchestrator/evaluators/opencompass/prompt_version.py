"""The fingerprint of a data set's prompt templates: the six digits at the end of the names of OpenCompass's configs."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any


def prompt_version(dataset: dict[str, Any]) -> str | None:
    """As OpenCompass 0.5.4 computes it, from a data set of the resolved config; None where it says not how to ask.

    OpenCompass prints it only for data sets that its summarizer lists.
    """
    asking = dataset.get("infer_cfg")
    if not isinstance(asking, dict):
        return None
    parts = {name: dict(part) if isinstance(part, dict) else part for name, part in asking.items()}
    retriever, inferencer = parts.get("retriever"), parts.get("inferencer")
    if isinstance(retriever, dict) and isinstance(inferencer, dict) and "fix_id_list" in retriever:
        inferencer["fix_id_list"] = retriever.pop("fix_id_list")
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:6]
