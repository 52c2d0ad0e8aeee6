"""Which replica a request goes to, policy by policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import orjson
import pytest

from clients.replica import Replica
from clients.request import InferenceRequest, read_request
from clients.routing import POLICIES, LeastInFlight, Policy, Prefix, TwoChoices, policy, prompt_start
from tests.clients.scripted_engine import chat as chat_answer
from tests.clients.scripted_engine import engine
from tests.clients.serving import Serve

EXAMPLES = "You are given worked examples of school arithmetic. " * 10


def replicas(*weights: float) -> list[Replica]:
    made = [Replica(f"r{n}", "127.0.0.1", 1, weight=weight) for n, weight in enumerate(weights)]
    for replica in made:
        replica.state = "ready"
    return made


def chat(prompt: str) -> InferenceRequest:
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}]})
    return read_request("/v1/chat/completions", "/v1/chat/completions", [], body)


def given(chosen: Policy, ready: Sequence[Replica], prompts: Sequence[str]) -> list[str]:
    """Where these requests go that are all in flight at once."""
    names = []
    for prompt in prompts:
        replica = chosen.choose(ready, chat(prompt))
        replica.in_flight += 1
        replica.served += 1
        names.append(replica.name)
    return names


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_gives_the_only_replica_everything(name: str) -> None:
    assert given(policy(name), replicas(1), ["a", "b", "c"]) == ["r0"] * 3


def test_an_unknown_policy_is_refused_with_the_names_of_the_known_ones() -> None:
    with pytest.raises(ValueError, match="least_in_flight, two_choices, prefix"):
        policy("round_robin")


def test_least_in_flight_fills_the_replicas_evenly() -> None:
    assert Counter(given(LeastInFlight(), replicas(1, 1, 1), ["x"] * 30)) == {"r0": 10, "r1": 10, "r2": 10}


def test_a_replica_of_weight_3_gets_three_times_the_load() -> None:
    assert Counter(given(LeastInFlight(), replicas(3, 1), ["x"] * 40)) == {"r0": 30, "r1": 10}


def test_two_choices_stays_near_even_and_never_takes_the_busiest() -> None:
    ready = replicas(1, 1, 1, 1)
    ready[2].in_flight = 1000
    counts = Counter(given(TwoChoices(Random(7)), ready, ["x"] * 300))
    assert counts["r2"] == 0
    assert all(80 <= counts[name] <= 120 for name in ("r0", "r1", "r3"))


def test_two_choices_reaches_every_pair_of_replicas() -> None:
    ready, random = replicas(1, 1, 1), Random(1)
    one_at_a_time = {TwoChoices(random).choose(ready, chat("x")).name for _ in range(100)}
    assert one_at_a_time == {"r0", "r1", "r2"}


def test_prompts_of_one_prefix_go_to_one_replica_while_it_has_room() -> None:
    ready, chosen = replicas(1, 1, 1, 1), Prefix()
    places = {chosen.choose(ready, chat(f"{EXAMPLES} question {n}")).name for n in range(50)}
    assert len(places) == 1


def test_different_prefixes_spread_over_all_replicas() -> None:
    ready, chosen = replicas(1, 1, 1, 1), Prefix()
    counts = Counter(chosen.choose(ready, chat(f"{n} {EXAMPLES}")).name for n in range(400))
    assert sorted(counts) == ["r0", "r1", "r2", "r3"]
    assert all(60 <= count <= 140 for count in counts.values())


def test_a_prefix_group_spills_over_when_its_replica_has_more_than_its_share() -> None:
    ready = replicas(1, 1, 1, 1)
    counts = Counter(given(Prefix(bound=1.25), ready, [EXAMPLES] * 64))
    assert max(counts.values()) == 20  # 64 / 4 x 1.25
    assert sorted(counts.values()) == [4, 20, 20, 20]


def test_a_prefix_whose_replica_is_gone_moves_and_the_others_stay() -> None:
    ready, chosen = replicas(1, 1, 1, 1), Prefix()
    prompts = [f"{n} {EXAMPLES}" for n in range(100)]
    before = {prompt: chosen.choose(ready, chat(prompt)).name for prompt in prompts}
    after = {prompt: chosen.choose(ready[:3], chat(prompt)).name for prompt in prompts}
    moved = {prompt for prompt in prompts if before[prompt] != after[prompt]}
    assert moved == {prompt for prompt, name in before.items() if name == "r3"}


def test_a_heavier_replica_gets_more_prefixes() -> None:
    ready, chosen = replicas(3, 1), Prefix()
    counts = Counter(chosen.choose(ready, chat(f"{n} {EXAMPLES}")).name for n in range(400))
    assert 260 <= counts["r0"] <= 340


def test_a_request_without_a_prompt_goes_to_the_least_loaded() -> None:
    ready = replicas(1, 1)
    ready[0].in_flight = 5
    broken = read_request("/v1/completions", "/v1/completions", [], b"not json")
    assert Prefix().choose(ready, broken).name == "r1"


def test_a_bound_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Prefix(bound=0.9)


@pytest.mark.parametrize(
    ("body", "start"),
    [
        ({"prompt": "abcdefgh"}, "abcd"),
        ({"prompt": ["abcdefgh", "other"]}, "abcd"),
        ({"prompt": [7, 8, 9]}, "7"),
        ({"inputs": "abcdefgh"}, "abcd"),
        ({"messages": [{"role": "u", "content": "ab"}, {"role": "u", "content": "cd"}]}, "u:ab"),
        ({"messages": [{"role": "u", "content": [{"type": "text", "text": "abc"}]}]}, "u:ab"),
        ({"prompt": []}, ""),
        ({"messages": ["odd", {"content": None}]}, "None"),
        ({}, ""),
    ],
)
def test_the_start_of_a_prompt_is_found_in_every_form(body: dict[str, object], start: str) -> None:
    assert prompt_start(body, 4) == start


async def test_through_the_gateway_a_prefix_stays_with_its_replica_until_that_is_lost(serve: Serve) -> None:
    async with (
        engine(chat_answer("a")) as one,
        engine(chat_answer("b")) as other,
        serve(one.port, other.port, routing="prefix") as served,
    ):
        questions = [{"messages": [{"role": "user", "content": f"{EXAMPLES} {n}"}]} for n in range(6)]
        for question in questions[:3]:
            assert (await served.chat(**question)).status_code == 200
        assert sorted(len(server.asked) for server in (one, other)) == [0, 3]
        served.pool.mark_dead(max(served.replicas, key=lambda replica: replica.served), "lost")
        for question in questions[3:]:
            assert (await served.chat(**question)).status_code == 200
        assert [len(server.asked) for server in (one, other)] == [3, 3]
