"""What a model is by content."""

from __future__ import annotations

import os
from pathlib import Path

from launchers.models import model_bytes, model_fingerprint


def test_the_fingerprint_is_of_names_and_contents_not_of_the_place(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "sub" / "weights").write_bytes(b"1234")
    first = model_fingerprint(tmp_path / "one")
    assert first == model_fingerprint(tmp_path / "two")
    assert model_bytes(tmp_path / "one") == 6
    (tmp_path / "two" / "sub" / "weights").write_bytes(b"1235")
    assert first != model_fingerprint(tmp_path / "two")


def test_a_model_may_be_one_file(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    first = model_fingerprint(file)
    file.write_bytes(b"GGUG")
    assert first
    assert first != model_fingerprint(file)
    assert model_bytes(file) == 4


def test_of_a_large_file_the_time_counts(tmp_path: Path) -> None:
    large = tmp_path / "large.gguf"
    with large.open("wb") as file:
        file.truncate(65 * 2**20)
    first = model_fingerprint(large)
    os.utime(large, ns=(0, 1))
    assert first != model_fingerprint(large)


def test_what_is_not_here_has_no_fingerprint(tmp_path: Path) -> None:
    assert model_fingerprint(tmp_path / "org" / "model") is None
