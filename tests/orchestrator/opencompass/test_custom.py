from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.evaluators.opencompass.custom import read_custom
from orchestrator.evaluators.opencompass.datasets import DatasetRefused, find_dataset


def found(folder: Path, name: str, text: str, meta: str | None = None) -> Path:
    file = folder / name
    file.write_text(text)
    if meta is not None:
        (folder / f"{name}.meta.json").write_text(meta)
    return file


def test_columns_say_whether_it_is_multiple_choice_or_a_question_with_an_answer(tmp_path: Path) -> None:
    choice = read_custom(found(tmp_path, "c.csv", "question,A,B,answer\nWhich?,x,y,B\n"))
    free = read_custom(found(tmp_path, "q.jsonl", '{"question": "1+1", "answer": "2"}\n'))
    assert (choice.data_type, free.data_type, choice.infer_method, free.abbr) == ("mcq", "qa", "gen", "q")
    assert choice.wrong == free.wrong == ()


def test_perplexity_is_asked_for_in_the_meta_file_and_needs_scores(tmp_path: Path) -> None:
    file = found(tmp_path, "c.csv", "question,A,B,answer\nWhich?,x,y,B\n", '{"infer_method": "ppl"}')
    assert find_dataset(str(file), tmp_path, None, None).needs == {"scores"}


@pytest.mark.parametrize(
    ("name", "text", "meta", "said"),
    [
        ("a.jsonl", "", None, "names no columns"),
        ("a.jsonl", '{"question"', None, "cannot be read"),
        ("a.jsonl", '{"text": "?", "answer": "1"}', None, "no column `question` (it has text, answer)"),
        ("a.jsonl", '{"question": "?"}', None, "no column `answer` to score against"),
        ("a.csv", "\ufeffquestion,answer\n?,1\n", None, "byte order mark"),
        ("a.csv", "question,answer\n?,1\n", '{"data_type": "mcq"}', "without columns `A`"),
        ("a.csv", "question,answer\n?,1\n", '{"infer_method": "guess"}', "asks for qa/guess; there are mcq/gen"),
        ("a.csv", "question,answer\n?,1\n", "[]", "is not an object"),
    ],
)
def test_a_file_that_opencompass_would_stumble_over_is_refused(
    tmp_path: Path, name: str, text: str, meta: str | None, said: str
) -> None:
    file = found(tmp_path, name, text, meta)
    with pytest.raises(DatasetRefused) as refused:
        find_dataset(str(file), tmp_path, None, None)
    assert said in refused.value.message
