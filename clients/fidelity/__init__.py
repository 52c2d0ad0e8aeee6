"""The fidelity probe: facts about an engine that decide whether its answers may be scored."""

from clients.fidelity.checks import fidelity
from clients.fidelity.report import Fidelity, Finding, FindingName, Verdict, falsified
from clients.fidelity.spec import FidelitySpec

__all__ = ["Fidelity", "FidelitySpec", "Finding", "FindingName", "Verdict", "falsified", "fidelity"]
