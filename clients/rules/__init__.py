"""What the gateway may change on the wire: few named rules, in the order of the spec, each counted when it changed
something. What no rule touches passes byte for byte.

The journal holds what the engine itself answered: rules on answers apply on the way out, at a replay too. Rules on
requests change what the engine is asked, so they are a part of the serving fingerprint.
"""

from clients.rules.base import AnswerEdit, AnswerRule, Guard, Reply, RequestRule
from clients.rules.building import Rules, build_rules, request_rules
from clients.rules.requests import sampling_in_full

__all__ = [
    "AnswerEdit",
    "AnswerRule",
    "Guard",
    "Reply",
    "RequestRule",
    "Rules",
    "build_rules",
    "request_rules",
    "sampling_in_full",
]
