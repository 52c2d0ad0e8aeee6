from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import sys
import time
import tracemalloc
from pathlib import Path

import orjson
import pytest

from clients.errors import JournalError
from clients.journal import Journal, StoredAnswer
from clients.journal_format import encode_member, encode_record, read_records, serving_digest
from tests.clients.scripted_engine import chat_body

APPENDER = """
import asyncio, sys
from pathlib import Path
from clients.journal import Journal, StoredAnswer

async def one(journal, n):
    await journal.append(f"k{n}", StoredAnswer(200, "text/plain", b"answer %d" % n))
    print(n, flush=True)

async def main():
    async with Journal(Path(sys.argv[1]), fingerprint="f") as journal, asyncio.TaskGroup() as tasks:
        for n in range(100000):
            tasks.create_task(one(journal, n))
            await asyncio.sleep(0)

asyncio.run(main())
"""


def answer(text: str) -> StoredAnswer:
    return StoredAnswer(200, "application/json", text.encode())


async def filled(path: Path, *texts: str, key: str = "k", fingerprint: str = "f") -> None:
    async with Journal(path, fingerprint=fingerprint) as journal:
        for text in texts:
            await journal.append(key, answer(text))


async def test_an_answer_is_replayed_exactly_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    odd = StoredAnswer(200, "application/octet-stream", b"\xff\xfe\n\x00 \xe2\x80\xa8", "r1")
    async with Journal(path, fingerprint="f") as journal:
        await journal.append("a", answer('{"x": "\u2028 \u00e9\\n"}\n'))
        await journal.append("b", odd)
    async with Journal(path, fingerprint="f") as journal:
        assert journal.answers == 2
        assert journal.take("a") == answer('{"x": "\u2028 \u00e9\\n"}\n')
        assert journal.take("b") == odd
        assert journal.take("c") is None


async def test_identical_requests_stay_distinct_by_occurrence(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    await filled(path, "first", "second")
    async with Journal(path, fingerprint="f") as journal:
        assert journal.take("k") == answer("first")
        assert journal.take("k") == answer("second")
        assert journal.take("k") is None
        await journal.append("k", answer("third"))
        assert journal.take("k") is None  # what this run asked is not replayed to it
    async with Journal(path, fingerprint="f") as journal:
        assert [journal.take("k") for _ in range(4)] == [*map(answer, ("first", "second", "third")), None]


async def test_another_serving_fingerprint_replays_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    await filled(path, "x", fingerprint="vllm 1")
    async with Journal(path, fingerprint="vllm 2") as journal:
        assert journal.take("k") is None


@pytest.mark.parametrize("lost", [1, 5, 40])
async def test_a_torn_tail_is_cut_and_the_journal_goes_on(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "journal"
    await filled(path, "first", "second")
    os.truncate(path, path.stat().st_size - lost)
    async with Journal(path, fingerprint="f") as journal:
        assert (journal.answers, journal.damaged) == (1, 0)
        assert journal.cut_bytes > 0
        await journal.append("k", answer("again"))
    async with Journal(path, fingerprint="f") as journal:
        assert [journal.take("k"), journal.take("k")] == [answer("first"), answer("again")]
        assert journal.cut_bytes == 0


async def test_damage_in_the_middle_costs_that_write_only_and_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    ends = [0]
    async with Journal(path, fingerprint="f") as journal:
        for text in ("first", "second", "third"):
            await journal.append("k", answer(text))
            ends.append(path.stat().st_size)
    sound = path.read_bytes()
    for at in range(ends[1], ends[2]):  # whichever byte of the second write it is
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 0x55]) + sound[at + 1 :])
        async with Journal(path, fingerprint="f") as journal:
            assert (journal.damaged, journal.cut_bytes, journal.answers) == (1, 0, 2)
            assert [journal.take("k"), journal.take("k")] == [answer("first"), answer("third")]


async def test_cut_at_any_byte_it_opens_with_every_whole_write(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    ends = [0]
    async with Journal(path, fingerprint="f") as journal:
        for text in ("first", "second", "third"):
            await journal.append("k", answer(text))
            ends.append(path.stat().st_size)
    sound = path.read_bytes()
    for size in {*range(0, len(sound), 5), *(end + step for end in ends[:-1] for step in (0, 1, 2))}:
        path.write_bytes(sound[:size])
        async with Journal(path, fingerprint="f") as journal:
            whole = sum(end <= size for end in ends[1:])
            assert (journal.answers, journal.damaged, journal.cut_bytes) == (whole, 0, size - ends[whole])
        assert path.stat().st_size == ends[whole]


async def test_waiting_answers_share_a_sync(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal", fingerprint="f") as journal:
        async with asyncio.TaskGroup() as tasks:
            for n in range(200):
                tasks.create_task(journal.append(f"k{n}", answer(str(n))))
        assert 1 <= journal.syncs <= 3
    async with Journal(tmp_path / "journal", fingerprint="f") as journal:
        assert journal.answers == 200


async def test_a_journal_is_open_for_one_process_only(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal", fingerprint="f"):
        with pytest.raises(JournalError, match="in use"):
            Journal(tmp_path / "journal", fingerprint="f")
    async with Journal(tmp_path / "journal", fingerprint="f"):
        pass


async def test_a_failed_write_is_an_error_nothing_follows_it_and_what_was_before_is_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal"
    await filled(path, "kept")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with Journal(path, fingerprint="f") as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
        try:
            with pytest.raises(JournalError, match="cannot be written"):
                await journal.append("k", answer("torn"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with pytest.raises(JournalError, match="cannot be written"):
            await journal.append("k", answer("after"))
    async with Journal(path, fingerprint="f") as journal:
        assert journal.cut_bytes == 20
        assert [journal.take("k"), journal.take("k")] == [answer("kept"), None]


async def test_the_documented_command_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    await filled(path, "hello", "again")
    command = await asyncio.create_subprocess_exec("gzip", "-dc", path, stdout=asyncio.subprocess.PIPE)
    records = [orjson.loads(line) for line in (await command.communicate())[0].splitlines()]
    assert [(record["key"], record["serving"], record["body"]) for record in records] == [
        ("k", "f", "hello"),
        ("k", "f", "again"),
    ]
    assert list(read_records(path)) == records


async def test_answers_alike_take_a_fraction_of_their_size(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    bodies = [chat_body(f"The answer to question {n} of the set is {n * 7919}.") for n in range(500)]
    async with Journal(path, fingerprint="f") as journal, asyncio.TaskGroup() as tasks:
        for n, body in enumerate(bodies):
            tasks.create_task(journal.append(f"k{n}", StoredAnswer(200, "application/json", body)))
        await asyncio.sleep(0)
    async with Journal(path, fingerprint="f") as journal:
        assert [journal.take(f"k{n}") for n in range(500)] == [
            StoredAnswer(200, "application/json", body) for body in bodies
        ]
    assert path.stat().st_size < sum(map(len, bodies)) / 2


async def test_a_hundred_thousand_answers_open_without_their_bodies_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    serving, text = serving_digest("f"), "x" * 300
    with path.open("wb") as file:
        for first in range(0, 100_000, 50):
            keys = [f"{n:032x}" for n in range(first, first + 50)]
            lines = [(key, encode_record(key, "f", 0.0, answer(text + key))) for key in keys]
            file.write(encode_member(serving, lines))
    tracemalloc.start()
    try:
        began = time.process_time()
        journal = Journal(path, fingerprint="f")
        seconds, most = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    async with journal:
        assert journal.answers == 100_000
        assert journal.take(f"{77_777:032x}") == answer(text + f"{77_777:032x}")
    assert seconds < 4  # of CPU, traced; 0.3 s as it is
    assert most < 50e6


@pytest.mark.parametrize("kill", range(20))
async def test_every_answer_confirmed_before_kill_9_is_found_after_it(tmp_path: Path, kill: int) -> None:
    path = tmp_path / "journal"
    confirmed = await confirmed_before_kill(path, after=1 + 37 * kill)
    async with Journal(path, fingerprint="f") as journal:
        assert journal.damaged == 0
        for n in confirmed:
            assert journal.take(f"k{n}") == StoredAnswer(200, "text/plain", b"answer %d" % n)
        await journal.append("k0", answer("goes on"))
    async with Journal(path, fingerprint="f") as journal:
        assert (journal.take("k0"), journal.cut_bytes) == (StoredAnswer(200, "text/plain", b"answer 0"), 0)


async def confirmed_before_kill(path: Path, after: int) -> list[int]:
    """The answers whose being stored a process told before it was killed, at least `after` of them."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", APPENDER, path, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    confirmed = [int(await child.stdout.readline()) for _ in range(after)]
    await asyncio.sleep(random.uniform(0, 0.02))  # wherever it is in a write
    child.send_signal(signal.SIGKILL)
    rest = await child.stdout.read()
    assert await child.wait() == -signal.SIGKILL
    return confirmed + [int(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
