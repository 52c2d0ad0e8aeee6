"""A spec on its way to a service with another current folder."""

from __future__ import annotations

from pathlib import Path

from orchestrator.sending import located

HERE = "http://127.0.0.1:8420"


def test_files_beside_the_spec_get_absolute_paths_where_the_service_is_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").touch()
    (tmp_path / "gsm8k").touch()
    spec = {"evaluate": [{"datasets": ["mine.jsonl", "gsm8k", "absent.jsonl"]}]}
    told = located(spec, tmp_path, HERE)
    assert told == {"evaluate": [{"datasets": [str(tmp_path / "mine.jsonl"), "gsm8k", "absent.jsonl"]}]}
    assert located(spec, tmp_path, "http://192.0.2.1:8420") == spec


def test_texts_for_models_and_people_are_no_paths_however_long(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    long = "Question. " * 100
    template = {"round": [{"role": "HUMAN", "begin": long, "end": "a.txt"}]}
    spec = {"evaluate": [{"opencompass": {"meta_template": template}}], "notes": ["a.txt", long]}
    assert located(spec, tmp_path, HERE) == spec
