"""Rates and peers, without a service."""

from __future__ import annotations

import os
import socket

import pytest

from orchestrator.api.limits import Bucket
from orchestrator.api.peers import is_this_user, user_of


def test_a_bucket_gives_a_minutes_worth_at_once_and_then_fills_steadily() -> None:
    moment = [0.0]
    bucket = Bucket(60, lambda: moment[0])
    assert [bucket.may() for _ in range(61)] == [True] * 60 + [False]
    assert bucket.wait() == pytest.approx(1.0)
    moment[0] = 2.5
    assert [bucket.may() for _ in range(3)] == [True, True, False]
    moment[0] = 1000.0
    assert sum(bucket.may() for _ in range(100)) == 60


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_tells_whose_a_connection_is(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        here = server.getsockname()[:2]
        with socket.create_connection(here) as client:
            there = client.getsockname()[:2]
            assert user_of(there, here) == os.getuid()
            assert user_of((host, 1), here) is None


def test_a_connection_whose_client_has_left_is_nobodys_and_not_roots() -> None:
    """Else any user of this machine would be root: send a request, leave, and the kernel says 0."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = server.getsockname()
        client = socket.create_connection(here)
        there = client.getsockname()
        client.shutdown(socket.SHUT_WR)
        client.close()
        assert user_of(there, here) is None


def test_only_we_and_root_are_this_user() -> None:
    assert is_this_user(os.getuid())
    assert is_this_user(0)
    assert not is_this_user(os.getuid() + 1)
    assert not is_this_user(None)
