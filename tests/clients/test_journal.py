from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from pathlib import Path

import orjson
import pytest

from clients.errors import JournalError
from clients.journal import Journal, StoredAnswer

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
    path = tmp_path / "a.jsonl"
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
    path = tmp_path / "a.jsonl"
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
    path = tmp_path / "a.jsonl"
    await filled(path, "x", fingerprint="vllm 1")
    async with Journal(path, fingerprint="vllm 2") as journal:
        assert journal.take("k") is None


@pytest.mark.parametrize("lost", [1, 5, 40])
async def test_a_torn_tail_is_cut_and_the_journal_goes_on(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "a.jsonl"
    await filled(path, "first", "second")
    os.truncate(path, path.stat().st_size - lost)
    async with Journal(path, fingerprint="f") as journal:
        assert (journal.answers, journal.damaged_lines) == (1, 0)
        assert journal.cut_bytes > 0
        await journal.append("k", answer("again"))
    async with Journal(path, fingerprint="f") as journal:
        assert [journal.take("k"), journal.take("k")] == [answer("first"), answer("again")]
        assert journal.cut_bytes == 0


async def test_a_damaged_line_in_the_middle_costs_that_answer_only(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    await filled(path, "first", "second", "third")
    path.write_bytes(path.read_bytes().replace(b"second", b"sec0nd"))
    async with Journal(path, fingerprint="f") as journal:
        assert (journal.damaged_lines, journal.cut_bytes) == (1, 0)
        assert [journal.take("k"), journal.take("k")] == [answer("first"), answer("third")]


async def test_waiting_answers_share_a_sync(tmp_path: Path) -> None:
    async with Journal(tmp_path / "a.jsonl", fingerprint="f") as journal:
        async with asyncio.TaskGroup() as tasks:
            for n in range(200):
                tasks.create_task(journal.append(f"k{n}", answer(str(n))))
        assert 1 <= journal.syncs <= 3
    async with Journal(tmp_path / "a.jsonl", fingerprint="f") as journal:
        assert journal.answers == 200


async def test_a_journal_is_open_for_one_process_only(tmp_path: Path) -> None:
    async with Journal(tmp_path / "a.jsonl", fingerprint="f"):
        with pytest.raises(JournalError, match="in use"):
            Journal(tmp_path / "a.jsonl", fingerprint="f")
    async with Journal(tmp_path / "a.jsonl", fingerprint="f"):
        pass


async def test_a_failed_write_is_an_error_nothing_follows_it_and_what_was_before_is_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
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
    path = tmp_path / "a.jsonl"
    await filled(path, "hello")
    cut = await asyncio.create_subprocess_exec("cut", "-c10-", path, stdout=asyncio.subprocess.PIPE)
    record = orjson.loads((await cut.communicate())[0])
    assert (record["key"], record["serving"], record["body"]) == ("k", "f", "hello")


async def test_every_answer_confirmed_before_kill_9_is_found_after_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", APPENDER, path, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    confirmed = [int(await child.stdout.readline()) for _ in range(300)]
    child.send_signal(signal.SIGKILL)
    rest = await child.stdout.read()
    confirmed += [int(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
    assert await child.wait() == -signal.SIGKILL
    async with Journal(path, fingerprint="f") as journal:
        for n in confirmed:
            assert journal.take(f"k{n}") == StoredAnswer(200, "text/plain", b"answer %d" % n)
