"""Process trees as a runner uses them: real processes, real kills."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from launchers import marker, shim
from launchers.errors import EngineFailed, PortInUse, StartFailed
from launchers.ports import lease_port
from launchers.process import ProcessTree

HERE = Path(__file__).parent
STUBBORN = [sys.executable, "-I", "-S", str(HERE / "stubborn.py")]
Start = Callable[..., Awaitable[ProcessTree]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a tree below the test's folder; all are stopped afterwards, whatever the test did."""
    trees: list[ProcessTree] = []

    async def begin(*argv: str) -> ProcessTree:
        tree = await ProcessTree.start(
            argv, env=dict(os.environ), cwd=tmp_path, log=tmp_path / "logs" / "log", mark=mark_of(tmp_path)
        )
        trees.append(tree)
        return tree

    yield begin
    for tree in trees:
        assert (await tree.stop(0.0)).survivors == ()
    assert marker.find(mark_of(tmp_path)) == []


def mark_of(folder: Path) -> str:
    return f"test-{os.getpid()}-{folder.name}/engine-0"


def living(pid: int) -> bool:
    stat = shim.stat_of(pid)
    return stat is not None and stat.living


async def until(condition: Callable[[], bool], bound: float = 5.0) -> float:
    """Wait for a condition; return the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < bound, "it did not come true in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def three(pidfile: Path) -> list[int]:
    await until(lambda: len(noted(pidfile)) == 3)
    return noted(pidfile)


def noted(pidfile: Path) -> list[int]:
    return [int(line) for line in pidfile.read_text().splitlines()] if pidfile.exists() else []


async def supervisor_of(tree: ProcessTree) -> int:
    stat = shim.stat_of(tree.pid)
    assert stat is not None
    return stat.parent


async def test_every_waiter_gets_the_exit_code(start: Start) -> None:
    tree = await start("sh", "-c", "exit 7")
    first, second = await asyncio.gather(tree.wait(), tree.wait())
    assert (first, second) == (7, 7)
    report = await tree.stop(5)
    assert (tree.ended, report.exit_code, report.seen, report.swept, report.escalated) == (
        True,
        7,
        (),
        (),
        False,
    )


async def test_a_megabyte_of_output_before_anything_reads_it_does_not_block(start: Start, tmp_path: Path) -> None:
    tree = await start("sh", "-c", "head -c 1000000 /dev/zero; echo end >&2")
    assert await asyncio.wait_for(tree.wait(), 10) == 0
    output = (tmp_path / "logs" / "log").read_bytes()
    assert (len(output), output[-4:]) == (1_000_004, b"end\n")


async def test_a_missing_executable_is_a_failed_start_and_its_log_says_so(start: Start, tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"cannot start 'no-such-engine': No such file or directory"):
        await start("no-such-engine", "--port", "1")
    assert "cannot start 'no-such-engine'" in (tmp_path / "logs" / "log").read_text()


async def test_a_log_that_cannot_be_opened_is_a_failed_start(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="cannot start the supervisor"):
        await ProcessTree.start(["true"], env={}, cwd=tmp_path, log=tmp_path, mark="unused/0")


async def test_an_environment_larger_than_a_pipe_arrives_whole(tmp_path: Path) -> None:
    env = {f"V{number}": "x" * 50_000 for number in range(6)} | {"PATH": os.environ["PATH"], "ODD": "\udcff"}
    text = "import os; print(len(os.environ['V5']), os.environb[b'ODD'])"
    argv = [sys.executable, "-I", "-S", "-c", text]
    log = tmp_path / "log"
    tree = await ProcessTree.start(argv, env=env, cwd=tmp_path, log=log, mark=mark_of(tmp_path))
    assert await tree.wait() == 0
    await tree.stop(0)
    assert log.read_text() == "50000 b'\\xff'\n"


async def test_three_stubborn_processes_are_gone_after_stop(start: Start, tmp_path: Path) -> None:
    tree = await start(*STUBBORN, str(tmp_path / "pids"))
    pids = await three(tmp_path / "pids")
    assert tree.pids() == frozenset(pids)
    assert all(map(tree.owns, pids))
    assert not tree.owns(os.getpid())
    report = await tree.stop(0.3)
    assert report.seen == tuple(sorted(pids))
    assert (report.exit_code, report.survivors, report.swept, report.escalated) == (-9, (), (), True)
    assert 0.3 <= report.seconds < 20
    assert not any(map(living, pids))
    assert tree.pids() == frozenset()
    assert not any(map(tree.owns, pids))


async def test_a_tree_that_obeys_is_stopped_without_force(start: Start, tmp_path: Path) -> None:
    tree = await start(*STUBBORN, str(tmp_path / "pids"), "--obey")
    await three(tmp_path / "pids")
    report = await tree.stop(10)
    assert (report.exit_code, report.escalated) == (-15, False)
    assert report.seconds < 10


async def test_nothing_is_left_after_kill_9_of_the_supervisor_and_stop(start: Start, tmp_path: Path) -> None:
    tree = await start(*STUBBORN, str(tmp_path / "pids"))
    pids = await three(tmp_path / "pids")
    os.kill(await supervisor_of(tree), signal.SIGKILL)
    with pytest.raises(EngineFailed, match="supervisor"):
        await asyncio.wait_for(tree.wait(), 20)
    assert all(map(living, pids))  # else the sweep would have nothing to show
    assert all(map(tree.owns, pids))
    report = await tree.stop(60)
    assert report.swept == report.seen == tuple(sorted(pids))
    assert (report.exit_code, report.survivors, report.escalated) == (None, (), True)
    assert report.seconds < 20
    assert not any(map(living, pids))


async def test_every_stop_gets_the_same_report_and_a_shorter_grace_counts(start: Start, tmp_path: Path) -> None:
    tree = await start(*STUBBORN, str(tmp_path / "pids"))
    await three(tmp_path / "pids")
    first, second = await asyncio.gather(tree.stop(60), tree.stop(0.1))
    assert first is second
    assert first.seconds < 20
    assert await tree.stop(60) is first


async def test_a_cancelled_stop_goes_on(start: Start, tmp_path: Path) -> None:
    tree = await start(*STUBBORN, str(tmp_path / "pids"))
    pids = await three(tmp_path / "pids")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(tree.stop(0.3), 0.05)
    await until(lambda: not any(map(living, pids)))
    assert (await tree.stop(60)).exit_code == -9


async def test_a_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    mark = mark_of(tmp_path)
    argv = ["sleep", "60"]
    log = tmp_path / "log"
    for delay in (0.0, 0.01, 0.03):
        task = asyncio.create_task(ProcessTree.start(argv, env=dict(os.environ), cwd=tmp_path, log=log, mark=mark))
        await asyncio.sleep(delay)
        task.cancel()
        try:
            await (await task).stop(0)  # it was faster
        except asyncio.CancelledError:
            assert marker.find(mark) == []


async def test_stop_while_the_program_is_still_starting(start: Start) -> None:
    tree = await start(sys.executable, "-c", "import asyncio, json, http.client, time; time.sleep(60)")
    report = await tree.stop(30)
    assert report.exit_code is not None
    assert report.seconds < 30


@pytest.mark.parametrize("signalled", [signal.SIGKILL, signal.SIGTERM])
async def test_nothing_is_left_2_seconds_after_the_runner_died(tmp_path: Path, signalled: int) -> None:
    runner = start_runner(tmp_path, 0, *STUBBORN, str(tmp_path / "pids"))
    pids = await three(tmp_path / "pids")
    runner.send_signal(signalled)
    runner.wait(5)
    assert await until(lambda: not any(map(living, pids))) < 2
    assert marker.find(mark_of(tmp_path)) == []


async def test_a_lease_outlives_a_killed_runner_until_its_tree_is_gone(tmp_path: Path) -> None:
    with lease_port(tmp_path, owner="looking for a free one") as free:
        port = free.port
    runner = start_runner(tmp_path, port, *STUBBORN, str(tmp_path / "pids"))
    pids = await three(tmp_path / "pids")
    runner.kill()
    runner.wait(5)
    with pytest.raises(PortInUse, match="runner_child"):
        lease_port(tmp_path, owner="the next job", wanted=port)
    await until(lambda: not any(map(living, pids)))
    await until(lambda: leasable(tmp_path, port), 20)


def leasable(folder: Path, port: int) -> bool:
    try:
        lease_port(folder, owner="the next job", wanted=port).release()
    except PortInUse:
        return False
    return True


def start_runner(folder: Path, port: int, *argv: str) -> subprocess.Popen[bytes]:
    program = [sys.executable, str(HERE / "runner_child.py"), str(folder), mark_of(folder), str(port), *argv]
    return subprocess.Popen(program, stdout=subprocess.DEVNULL)


async def test_the_exit_code_comes_through_a_runner_of_its_own(tmp_path: Path) -> None:
    program = [sys.executable, str(HERE / "runner_child.py"), str(tmp_path), mark_of(tmp_path), "0"]
    done = await asyncio.to_thread(subprocess.run, [*program, "sh", "-c", "exit 5"], stdout=subprocess.PIPE)
    assert json.loads(done.stdout.splitlines()[1]) == {"exit_code": 5}


def test_a_sweep_finds_one_mark_or_a_whole_job_and_nothing_else() -> None:
    job = f"sweep-{os.getpid()}"
    names = (f"{job}/engine-0", f"{job}/engine-01", f"{job}/evaluator", f"{job}0/engine-0")
    started = {name: subprocess.Popen(["sleep", "60"], env=marker.environment(name)) for name in names}
    one, longer, other, stranger = started.values()
    try:
        assert len(marker.find(f"{job}/")) == 3
        assert [(found.pid, found.cmdline) for found in marker.find(names[0])] == [(one.pid, "sleep 60")]
        assert marker.sweep(names[0], patience=5) == marker.SweepReport((one.pid,), ())
        assert set(marker.sweep(f"{job}/", patience=5).killed) == {longer.pid, other.pid}
        assert stranger.poll() is None
    finally:
        for process in started.values():
            process.kill()
            process.wait()


async def test_the_end_of_one_tree_leaves_another_alone(start: Start, tmp_path: Path) -> None:
    one = await start("sleep", "60")
    mark = f"{mark_of(tmp_path)}-b"
    other = await ProcessTree.start(["sleep", "60"], env=dict(os.environ), cwd=tmp_path, log=tmp_path / "b", mark=mark)
    assert (await other.stop(5)).exit_code == -15  # the younger one, whose pipes the older cannot have inherited
    assert one.exit_code is None
    another = await ProcessTree.start(
        ["sleep", "60"], env=dict(os.environ), cwd=tmp_path, log=tmp_path / "b", mark=mark
    )
    assert (await one.stop(30)).seconds < 30  # the older one, whose pipes the younger could have inherited
    assert another.exit_code is None
    assert living(another.pid)
    await another.stop(5)
