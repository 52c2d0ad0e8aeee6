from __future__ import annotations

import pytest

from tests.clients.serving import Serve, serve_pool


@pytest.fixture
def serve() -> Serve:
    """Serve the pool of engines that listen on these ports; checks the books when the block ends."""
    return serve_pool
