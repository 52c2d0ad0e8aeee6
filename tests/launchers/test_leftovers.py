"""A server that never will be ready is noticed while it lives, and what it left outside its folder goes with it."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from launchers.engine import Launch, Place
from launchers.errors import EngineFailed
from launchers.leftovers import remove, temporary_folder
from launchers.registry import get_engine
from launchers.server import Server, command_of

LAUNCHER = Path(__file__).parent / "failing_launcher.py"


@pytest.fixture
def name() -> str:
    return f"{uuid.uuid4().hex[:16]}_0"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A working folder whose path leaves room for a socket's name, which pytest's own may not."""
    with tempfile.TemporaryDirectory(prefix="left-", dir="/tmp") as made:
        yield Path(made) / "engine-0"


@pytest.fixture
def others() -> Iterator[Path]:
    """Shared memory of another LightLLM on this machine."""
    path = Path(f"/dev/shm/{uuid.uuid4().hex[:16]}_0_req_shm_total")
    path.touch()
    yield path
    path.unlink()


@pytest.fixture
async def server(tmp_path: Path, folder: Path, name: str) -> AsyncIterator[Server]:
    launch = Launch(argv=(sys.executable, str(LAUNCHER), name))
    place = Place(0, "127.0.0.1", 13001, 13002, (), folder, None)
    engine = get_engine("lightllm")
    mark = f"test-{uuid.uuid4().hex[:8]}/engine-0"
    running = await Server.start(engine, launch, command_of(launch, place, {}), place, log=tmp_path / "log", mark=mark)
    yield running
    await running.stop(0.1)


def left_of(name: str) -> list[str]:
    return sorted(str(path) for folder in ("/dev/shm", "/tmp") for path in Path(folder).glob(f"*{name}*"))


async def failure_of(server: Server) -> EngineFailed:
    async with asyncio.timeout(20):
        while True:
            try:
                server.check()
            except EngineFailed as failed:
                return failed
            await asyncio.sleep(0.02)


async def test_a_launcher_that_waits_for_ever_after_a_failed_load_is_noticed(server: Server) -> None:
    failed = await failure_of(server)
    assert not server.tree.ended, "it lives, and would for ever"
    assert failed.code == "out_of_memory"
    assert "start_router_process failed and its launcher waits for ever" in failed.message
    assert "lower `max_total_tokens`" in failed.hint


async def test_shared_memory_and_sockets_of_this_server_are_removed_and_told(
    server: Server, name: str, others: Path
) -> None:
    await failure_of(server)
    own = temporary_folder(server.place.folder)
    assert len(left_of(name)) == 3
    assert len(list(own.iterdir())) == 1, "the socket without our name went to the folder of its own"
    await server.stop(0.1)
    assert left_of(name) == []
    assert not own.exists()
    assert len(server.removed.paths) == 4
    assert server.removed.left == ()
    assert left_of(others.name) == [str(others)]


def test_a_lively_log_without_a_failure_is_no_reason_to_give_up() -> None:
    lines = "INFO: init func start_router_process : init ok\nINFO: use 12 GB\nWARNING: CUDA out of memory, retrying\n"
    assert get_engine("lightllm").hopeless(lines) is None
    assert get_engine("vllm").hopeless("ERROR anything") is None


def test_a_folder_whose_path_is_too_long_for_sockets_gets_a_short_temporary_folder_of_its_own() -> None:
    assert temporary_folder(Path("/jobs/1/engine-0")) == Path("/jobs/1/engine-0/tmp")
    one, other = temporary_folder(Path("/" + "x" * 90)), temporary_folder(Path("/" + "y" * 90))
    assert one != other
    assert one.parent == other.parent == Path(tempfile.gettempdir())


def test_what_cannot_be_removed_is_told(tmp_path: Path) -> None:
    (tmp_path / "segment").touch()
    removed = remove([Path("/proc/version"), tmp_path / "segment"], tmp_path / "engine-0")
    assert removed.left == ("/proc/version",)
    assert removed.paths == (str(tmp_path / "segment"),)
