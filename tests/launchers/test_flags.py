"""Flags are read from the help that an engine prints, once per environment."""

from __future__ import annotations

import sys
from pathlib import Path

from launchers.flags import asked, known, parse_help

ENGINE = """
import argparse, pathlib, sys
pathlib.Path(sys.argv.pop(1)).open("a").write("asked\\n")
parser = argparse.ArgumentParser()
parser.add_argument("--model_dir", help="a folder; --not_a_flag is only mentioned")
parser.add_argument("--tp", "--tensor-parallel-size", type=int, choices=[1, 2, 4])
parser.add_argument("--a_flag_whose_name_is_so_long_that_argparse_gives_it_a_line_of_its_own", metavar="N")
parser.add_argument("--quiet", "-q", action=argparse.BooleanOptionalAction)
parser.parse_args()
"""
RICH_TABLE = """
 Usage: transformers serve [OPTIONS] [FORCE_MODEL]

╭─ Options ────────────────────────────────────────────────────────────────────╮
│ --continuous-batching    --no-continuous-batching          Whether to use it, see --dtype-of-others  │
│ --host                                        TEXT         Interface.                                │
│ --default-seed           -s                   INTEGER      The default seed, unlike --other-seed.    │
╰──────────────────────────────────────────────────────────────────────────────╯
"""


def engine_in(folder: Path) -> tuple[str, ...]:
    (folder / "engine.py").write_text(ENGINE)
    return (sys.executable, str(folder / "engine.py"), str(folder / "calls"), "--help")


def test_the_flags_of_an_engine_are_those_that_its_help_defines(tmp_path: Path) -> None:
    found = asked("an-engine", "1.0", engine_in(tmp_path), {})
    long = "--a_flag_whose_name_is_so_long_that_argparse_gives_it_a_line_of_its_own"
    assert found.source == "help"
    assert found.names == {"--help", "--model_dir", "--tp", "--tensor-parallel-size", long, "--quiet", "--no-quiet"}


def test_an_engine_is_asked_once_per_environment_and_again_for_another_version(tmp_path: Path) -> None:
    argv, kept = engine_in(tmp_path), tmp_path / "flags.json"
    first = asked("an-engine", "1.0", argv, {}, kept)
    assert asked("an-engine", "1.0", argv, {}, kept) == first
    assert (tmp_path / "calls").read_text().count("asked") == 1
    asked("an-engine", "1.1", argv, {}, kept)
    assert (tmp_path / "calls").read_text().count("asked") == 2


def test_a_damaged_memory_of_the_flags_is_made_anew(tmp_path: Path) -> None:
    kept = tmp_path / "flags.json"
    kept.write_text("{")
    assert asked("an-engine", "1.0", engine_in(tmp_path), {}, kept).source == "help"
    assert "--model_dir" in asked("an-engine", "1.0", ("/nonexistent",), {}, kept)


def test_without_a_help_the_nearest_earlier_version_is_taken(tmp_path: Path) -> None:
    failing = (sys.executable, "-c", "raise SystemExit(1)")
    found = asked("lmdeploy", "0.10.1", failing, {}, tmp_path / "flags.json")
    assert (found.source, found.version) == ("known", "0.9.2")
    assert not (tmp_path / "flags.json").exists()


def test_a_help_in_the_frames_of_a_rich_table_is_understood() -> None:
    assert parse_help(RICH_TABLE) == {"--continuous-batching", "--no-continuous-batching", "--host", "--default-seed"}


def test_versions_are_ordered_as_numbers_and_not_as_text() -> None:
    assert known("lmdeploy").version == "0.18.0"
    assert known("vllm", "0.9.1").version == "0.6.6.post1"
    assert known("transformers", "1.0").version == "4.57.6"
    assert known("vllm", "0.10.2").since("0.8")
    assert not known("vllm", "0.6.6").since("0.8")
