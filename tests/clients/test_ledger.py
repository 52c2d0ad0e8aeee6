from __future__ import annotations

from clients.ledger import MAX_FAILURES, Ledger


def test_all_failures_are_counted_and_the_first_thousand_listed() -> None:
    ledger = Ledger()
    for n in range(MAX_FAILURES + 5):
        ledger.ask()
        ledger.fail("http_500", key=f"{n:032x}", path="/generate", message="x" * 1000)
    snapshot = ledger.snapshot()
    assert (snapshot["asked"], snapshot["failed"], snapshot["in_flight"]) == (MAX_FAILURES + 5, MAX_FAILURES + 5, 0)
    assert (len(snapshot["failures"]), snapshot["failures_not_listed"]) == (MAX_FAILURES, 5)
    assert snapshot["failures"][7]["key"] == f"{7:032x}"
    assert ledger.cause_of(f"{MAX_FAILURES + 5}-0a1b2c") == "http_500"
    assert {ledger.cause_of(other) for other in (f"{MAX_FAILURES + 6}-0a", "0-0a", "no_scores")} == {None}
    assert len(snapshot["failures"][0]["message"]) == 200


def test_a_request_is_in_flight_until_it_ends() -> None:
    ledger = Ledger()
    for _ in range(3):
        ledger.ask()
    ledger.answer(1.5, (3, 4))
    ledger.answer(0.0, None, replayed=True)
    assert (ledger.asked, ledger.answered, ledger.failed, ledger.in_flight) == (3, 2, 0, 1)
    assert (ledger.replayed, ledger.answered_without_usage) == (1, 1)
    assert (ledger.latency.count, ledger.latency.total) == (1, 1.5)  # a replay is no latency of the engine
