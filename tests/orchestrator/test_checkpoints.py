"""Which folders hold a whole checkpoint."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path

import pytest

from orchestrator.checkpoints import Completeness, lacking, whole_checkpoints

SIZE = 4096
AT_ONCE = Completeness(settle=0)


def write_shard(path: Path, fill: int = 0, size: int = SIZE) -> None:
    """A safetensors file with one tensor of `size` bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes([fill]) * size)


def write_checkpoint(path: Path, fill: int = 0, shards: int = 1) -> Path:
    path.mkdir()
    (path / "config.json").write_text("{}")
    if shards == 1:
        write_shard(path / "model.safetensors", fill)
        return path
    names = [f"model-{index}-of-{shards}.safetensors" for index in range(shards)]
    for index, name in enumerate(names):
        write_shard(path / name, fill + index)
    weight_map = {f"w{index}": name for index, name in enumerate(names)}
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return path


def why(path: Path, rule: Completeness = AT_ONCE) -> str | None:
    return lacking(path, rule, time.time())


@pytest.mark.parametrize("shards", [1, 3])
def test_a_checkpoint_with_all_its_files_is_whole(tmp_path: Path, shards: int) -> None:
    assert why(write_checkpoint(tmp_path / "step-1", shards=shards)) is None


def test_a_checkpoint_is_not_whole_while_a_shard_of_its_index_is_missing(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "step-1", shards=3)
    (path / "model-1-of-3.safetensors").unlink()
    assert why(path) == "no model-1-of-3.safetensors"


@pytest.mark.parametrize("left", [0, 4, 40, SIZE])
def test_a_checkpoint_is_not_whole_while_a_file_is_shorter_than_its_header_says(tmp_path: Path, left: int) -> None:
    path = write_checkpoint(tmp_path / "step-1")
    with (path / "model.safetensors").open("r+b") as file:
        file.truncate(left)
    assert "model.safetensors" in str(why(path))


def test_a_checkpoint_is_not_whole_before_nothing_was_written_for_a_while(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "step-1")
    moment = time.time()
    for file in path.iterdir():
        os.utime(file, (moment - 20, moment - 20))
    assert lacking(path, Completeness(settle=10), moment) is None
    os.utime(path / "config.json", (moment - 5, moment - 5))
    assert lacking(path, Completeness(settle=10), moment) == "config.json was written less than 10 s ago"


def test_a_marker_decides_alone(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "step-1")
    rule = Completeness(settle=3600, marker="DONE")
    assert why(path, rule) == "no DONE"
    (path / "DONE").touch()
    assert why(path, rule) is None


def test_folders_without_config_or_weights_are_none(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    optimizer = tmp_path / "optimizer-only"
    optimizer.mkdir()
    write_shard(optimizer / "optimizer.safetensors")
    index = write_checkpoint(tmp_path / "index", shards=2)
    (index / "model.safetensors.index.json").write_text("{")
    assert (why(tmp_path / "runs"), why(optimizer)) == ("no weights", "no config.json")
    assert why(index) == "model.safetensors.index.json is not whole"
    assert whole_checkpoints(tmp_path, AT_ONCE) == []


def test_checkpoints_come_oldest_first_and_are_told_apart_by_place_and_time(tmp_path: Path) -> None:
    later, earlier = (write_checkpoint(tmp_path / name) for name in ("a", "b"))
    for file in earlier.iterdir():
        os.utime(file, (1000, 1000))
    first, second = whole_checkpoints(tmp_path, AT_ONCE)
    assert (first.path, second.path) == (earlier, later)
    assert first.key != second.key
    (later / "notes.txt").write_text("what the training run adds beside the weights")
    assert whole_checkpoints(tmp_path, AT_ONCE) == [first, second]
    write_shard(later / "model.safetensors")
    assert whole_checkpoints(tmp_path, AT_ONCE)[1].key != second.key, "written anew, of the same size"
