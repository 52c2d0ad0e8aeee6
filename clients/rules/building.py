"""The rules of a job, from its spec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from clients.replica import Replica
from clients.request import InferenceRequest
from clients.rules.base import AnswerRule, Guard, Reply, RequestRule
from clients.rules.finish import finish_reason_repair
from clients.rules.reply import RuledReply
from clients.rules.requests import COMPLETIONS_GUARD, MODEL_NAME, drop_parameters, set_parameters
from clients.rules.stops import stop_strings
from clients.rules.think import think_to_reasoning
from clients.spec import CompletionsGuard, DropParameters, RuleSpec, SetParameters, StopStrings, ThinkToReasoning


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a gateway, each kind in the order in which it applies. As they are without a spec: the model's name
    is the engine's, chat-only options of a text completion are refused.
    """

    requests: tuple[RequestRule, ...] = (MODEL_NAME,)
    answers: tuple[AnswerRule, ...] = ()
    guards: tuple[Guard, ...] = (COMPLETIONS_GUARD,)

    def refusal(self, request: InferenceRequest) -> str | None:
        """Why the request is refused; None if it is not."""
        return next((said for guard in self.guards if (said := guard.refusal(request)) is not None), None)

    def body(self, request: InferenceRequest, replica: Replica) -> tuple[bytes, tuple[str, ...]]:
        """The body to send and the names of the rules that changed it; byte for byte the client's if none did."""
        if request.json is None:
            return request.body, ()
        body, applied = request.json, []
        for rule in self.requests:
            changed = rule.change(body, request, replica)
            if changed is not body:
                body = changed
                applied.append(rule.name)
        return (orjson.dumps(body), tuple(applied)) if applied else (request.body, ())

    def reply(self, reply: Reply, request: InferenceRequest, applied: Counter[str]) -> Reply:
        """The way back for the answer to this request: `reply` itself where no rule has anything to do with it.

        `applied` is counted up by the names of the rules that changed the answer.
        """
        if not self.answers:
            return reply
        edits = [(rule.name, edit) for rule in self.answers if (edit := rule.edit(request)) is not None]
        return RuledReply(reply, edits, applied) if edits else reply


def build_rules(specs: Sequence[RuleSpec] = (), *, first: Sequence[RequestRule] = ()) -> Rules:
    """The rules of a spec, in its order, after the model's name and those of the engine (`first`)."""
    requests, answers, guards = [MODEL_NAME, *first], [], {COMPLETIONS_GUARD}
    for spec in specs:
        match spec:
            case SetParameters():
                requests.append(set_parameters(spec.values))
            case DropParameters():
                requests.append(drop_parameters(spec.names))
            case ThinkToReasoning():
                answers.append(think_to_reasoning(drop=spec.drop, opened=spec.opened))
            case StopStrings():
                answers.append(stop_strings())
            case CompletionsGuard():
                guards = {COMPLETIONS_GUARD} if spec.enabled else set()
            case _:
                answers.append(finish_reason_repair())
    return Rules(tuple(requests), tuple(answers), tuple(guards))


def request_rules(specs: Sequence[RuleSpec]) -> list[RuleSpec]:
    """Those of a spec that change what the engine is asked, and so belong to the serving fingerprint."""
    return [spec for spec in specs if isinstance(spec, SetParameters | DropParameters)]
