"""Port leases against real sockets and real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launchers.errors import ForeignServer, PortInUse
from launchers.ports import RANGE, is_bindable, is_listening, lease_port, listeners, wait_free

LEASER = [sys.executable, str(Path(__file__).with_name("leaser.py"))]


@pytest.fixture
def port(tmp_path: Path) -> int:
    """A port that nobody uses now."""
    with lease_port(tmp_path / "other", owner="fixture") as lease:
        return lease.port


@contextlib.contextmanager
def listening(port: int, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as server:
        yield server


def test_eight_workers_with_ten_leases_each_never_clash(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [*LEASER, "ports", str(tmp_path), "10"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    ports = []
    for worker in workers:
        assert worker.stdout is not None
        ports += worker.stdout.readline().split()
    for worker in workers:
        worker.communicate("")
        assert worker.returncode == 0
    assert len(ports) == len(set(ports)) == 80


def test_a_default_lease_is_in_the_range_below_the_ephemeral_ports_and_spread(tmp_path: Path) -> None:
    ports = [lease_port(tmp_path, owner="spread") for _ in range(20)]
    numbers = [lease.port for lease in ports]
    for lease in ports:
        lease.release()
    assert set(numbers) <= set(RANGE)
    assert max(numbers) - min(numbers) > 1000


def test_a_port_that_a_stranger_has_is_never_picked(tmp_path: Path, port: int) -> None:
    with listening(port), pytest.raises(PortInUse, match=f"none of the ports {port}-{port} is free"):
        lease_port(tmp_path, owner="job", ports=range(port, port + 1))
    with lease_port(tmp_path, owner="job", ports=range(port, port + 1)) as lease:
        assert lease.port == port


def test_a_wanted_port_that_is_free_is_leased_and_given_back(tmp_path: Path, port: int) -> None:
    with lease_port(tmp_path, owner="job-1", wanted=port) as lease:
        assert lease.port == port
        assert not os.get_inheritable(lease.fileno())
    lease.release()  # once more does no harm
    lease_port(tmp_path, owner="job-2", wanted=port).release()


def test_a_wanted_port_that_is_leased_names_its_owner(tmp_path: Path, port: int) -> None:
    with lease_port(tmp_path, owner="job-1", wanted=port), pytest.raises(PortInUse) as raised:
        lease_port(tmp_path, owner="job-2", wanted=port)
    assert f"port {port} is leased by job-1 (pid {os.getpid()})" in raised.value.message


def test_a_wanted_port_with_a_server_on_it_names_that_server_and_leaves_it_alone(tmp_path: Path, port: int) -> None:
    program = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    server = subprocess.Popen(program, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        await_listener(port)
        with pytest.raises(ForeignServer) as raised:
            lease_port(tmp_path, owner="job", wanted=port)
        assert f"process {server.pid} (" in raised.value.message
        assert f"http.server {port}" in raised.value.message
        assert "nothing of it was touched" in raised.value.message
        assert server.poll() is None
        assert listeners(port) == {server.pid}
    finally:
        server.kill()
        server.wait()
    lease_port(tmp_path, owner="job", wanted=port).release()


@pytest.mark.parametrize("host", ["0.0.0.0", "::1", "::"])
def test_a_server_on_any_address_of_the_wanted_port_counts(tmp_path: Path, port: int, host: str) -> None:
    with listening(port, host):
        assert is_listening(port)
        assert not is_bindable(port)
        assert listeners(port) == {os.getpid()}
        with pytest.raises(ForeignServer):
            lease_port(tmp_path, owner="job", wanted=port)


def test_a_wanted_port_that_is_bound_and_not_listening_is_in_use(tmp_path: Path, port: int) -> None:
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as vLLM does while it loads
        bound.bind(("127.0.0.1", port))
        assert not is_listening(port)
        assert not is_bindable(port)
        with pytest.raises(PortInUse, match="nobody listens there"):
            lease_port(tmp_path, owner="job", wanted=port)
    lease_port(tmp_path, owner="job", wanted=port).release()  # the failure left no lease


def test_a_connection_in_time_wait_does_not_make_a_port_busy(tmp_path: Path, port: int) -> None:
    leave_time_wait(port)
    with socket.socket() as strict, pytest.raises(OSError, match="already in use"):
        strict.bind(("127.0.0.1", port))  # there is something to be lenient about
    assert is_bindable(port)
    lease_port(tmp_path, owner="job", wanted=port).release()


def test_a_privileged_or_impossible_address_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(PortInUse, match=r"nothing can be bound on 192\.0\.2\.1"):
        lease_port(tmp_path, owner="job", host="192.0.2.1")


def test_a_stale_lock_file_is_harmless(tmp_path: Path, port: int) -> None:
    (tmp_path / f"{port}.lock").write_text("job-0 (pid 1), killed long ago")
    lease_port(tmp_path, owner="job", wanted=port).release()


def test_a_killed_holder_leaves_no_lease(tmp_path: Path) -> None:
    worker = subprocess.Popen(
        [*LEASER, "ports", str(tmp_path), "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    port = int(worker.stdout.readline())
    with pytest.raises(PortInUse, match=f"worker \\(pid {worker.pid}\\)"):
        lease_port(tmp_path, owner="job", wanted=port)
    worker.kill()
    worker.communicate()
    lease_port(tmp_path, owner="job", wanted=port).release()


async def test_wait_free_returns_when_the_last_port_is_free(port: int) -> None:
    server = socket.create_server(("127.0.0.1", port))
    asyncio.get_running_loop().call_later(0.2, server.close)
    began = time.monotonic()
    assert await wait_free([port], 5) == frozenset()
    assert time.monotonic() - began > 0.15


async def test_wait_free_names_the_ports_that_stay_taken(port: int) -> None:
    with listening(port):
        assert await wait_free([port], 0.1) == {port}


def await_listener(port: int) -> None:
    end = time.monotonic() + 5
    while not is_listening(port):
        assert time.monotonic() < end, "the server did not come up"
        time.sleep(0.01)


def leave_time_wait(port: int) -> None:
    """Serve one connection and close it on the server's side first."""
    with listening(port) as server, socket.create_connection(("127.0.0.1", port)) as client:
        accepted, _ = server.accept()
        accepted.close()
        assert client.recv(1) == b""
