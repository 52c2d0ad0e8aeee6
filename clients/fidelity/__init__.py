"""The fidelity probe: facts about an engine that decide whether its answers may be scored.

`checks` asks the engine, with a tokenizer and templates; the models alone, which are what most need, load neither.
"""

from clients.fidelity.report import Fidelity, Finding, FindingName, Verdict, falsified
from clients.fidelity.spec import FidelitySpec

__all__ = ["Fidelity", "FidelitySpec", "Finding", "FindingName", "Verdict", "falsified"]
