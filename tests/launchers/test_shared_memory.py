from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launchers.shared_memory import FOLDER, unused, used_by

HOLD = """
import mmap, os, sys
for name in sys.argv[1:]:
    file = os.open(name, os.O_RDWR | os.O_CREAT)
    os.ftruncate(file, 4096)
    mmap.mmap(file, 4096)
    globals()[name] = mmap.mmap(file, 4096)
os.unlink(sys.argv[2])
print("mapped", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def segments(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    kept, unlinked = (FOLDER / f"orchestrator-test-{tmp_path.name}-{number}" for number in range(2))
    yield kept, unlinked
    kept.unlink(missing_ok=True)


def test_a_segment_is_used_while_a_process_maps_it_and_unused_when_it_was_killed(segments: tuple[Path, Path]) -> None:
    kept, unlinked = segments
    argv = [sys.executable, "-c", HOLD, str(kept), str(unlinked)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"mapped\n"
        used = used_by([process.pid])
        assert used == {kept}, "what is unlinked goes by itself"
        assert unused(used) == frozenset()
        process.kill()
        process.wait()
    assert unused(used) == {kept}
    assert used_by([process.pid]) == frozenset()
    assert unused(frozenset({unlinked})) == frozenset()
