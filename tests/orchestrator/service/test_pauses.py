"""How long a job waits before it is started again."""

from __future__ import annotations

from orchestrator.service.closing import LONGEST_PAUSE, pause_after


def test_a_job_that_waits_for_what_another_holds_waits_a_minute_at_most_however_often_it_was_tried() -> None:
    assert [pause_after(attempt) for attempt in (1, 2, 3, 6)] == [1.0, 2.0, 4.0, 32.0]
    assert {pause_after(attempt) for attempt in (7, 1024, 1025, 100_000)} == {LONGEST_PAUSE}
