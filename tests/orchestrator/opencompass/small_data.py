"""A few rows of data of ours where OpenCompass's own data set classes look for theirs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CAPITALS = {
    "France": "Paris",
    "Norway": "Oslo",
    "Italy": "Rome",
    "Japan": "Tokyo",
    "Peru": "Lima",
    "Egypt": "Cairo",
    "Spain": "Madrid",
    "Kenya": "Nairobi",
    "Cuba": "Havana",
    "Iran": "Tehran",
    "Latvia": "Riga",
    "Ghana": "Accra",
}
LETTERS = "ABCD"
PROGRAMS: Mapping[str, str] = {
    "double": "def double():\n    return 42",
    "triple": "def triple():\n    return 41",
    "endless": "def endless():\n    while True:\n        pass",
    "leaves": "def leaves():\n    raise SystemExit(0)",
    "network": (
        "import socket\n\ndef network():\n    try:\n        socket.create_connection(('127.0.0.1', {port}), 1)\n"
        "    except OSError:\n        return 42\n    return 0"
    ),
    "memory": (
        "def memory():\n    try:\n        bytearray(3 << 30)\n    except MemoryError:\n        return 42\n    return 0"
    ),
    "processes": (
        "import os, time\n\ndef processes():\n    for _ in range(40):\n        if os.fork() == 0:\n"
        "            time.sleep(60)\n    time.sleep(60)"
    ),
    "files": "def files():\n    open('large', 'wb').write(bytes(64 << 20))\n    return 42",
}
"""What the model answers to each problem; a problem wants 42. `{port}`: somebody listens there."""


def options(country: str) -> dict[str, str]:
    """Four capitals by letter; where the right one stands depends on the country."""
    names = list(CAPITALS.values())
    start = (list(CAPITALS).index(country) * 5) % 4
    right = names.index(CAPITALS[country])
    others = [names[(right + step) % len(names)] for step in (3, 5, 7)]
    ordered = [*others[:start], CAPITALS[country], *others[start:]]
    return dict(zip(LETTERS, ordered, strict=True))


def letter(country: str) -> str:
    """Where the right capital stands."""
    return next(key for key, name in options(country).items() if name == CAPITALS[country])


def question(country: str) -> str:
    return f"Which city is the capital of {country}?"


def write_cache(cache: Path, port: int = 9) -> None:
    """Fill `cache`, as COMPASS_DATA_CACHE would name it."""
    arc = [
        {
            "question": {
                "stem": question(country),
                "choices": [{"label": key, "text": name} for key, name in options(country).items()],
            },
            "answerKey": letter(country),
        }
        for country in CAPITALS
    ]
    pairs = [
        {"sentence": f"Going to {country} I saw _ with my own eyes.", "option1": a, "option2": b, "answer": "1"}
        for country, (a, b) in zip(CAPITALS, [("it", "them")] * 12, strict=True)
    ]
    sums = [{"question": f"What is {n} and {n}?", "answer": f"Twice {n}.\n#### {2 * n}"} for n in range(12)]
    problems = [_problem(name) for name in PROGRAMS]
    data = cache / "data"
    _rows(data / "ARC/ARC-c/ARC-Challenge-Dev.jsonl", arc)
    _rows(data / "winogrande/dev.jsonl", pairs)
    _rows(data / "gsm8k/train.jsonl", sums)
    _rows(data / "gsm8k/test.jsonl", sums)
    _rows(data / "humaneval/human-eval-v2-20210705.jsonl", problems)
    choices = [{"question": question(country), **options(country), "answer": letter(country)} for country in CAPITALS]
    _rows(cache / "choices.jsonl", choices)
    lines = [["question", *LETTERS, "answer"], *([*row.values()] for row in choices)]
    (cache / "likely.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    (cache / "likely.csv.meta.json").write_text('{"infer_method": "ppl"}')
    _rows(cache / "texts.jsonl", [{"text": f"Somebody in {city} waits for the train."} for city in CAPITALS.values()])
    _rows(cache / "answers.jsonl", [*_programs(port), *_choices(), *sums, *_counted()])
    _rows(data / "aime.jsonl", [{"origin_prompt": row["question"], "gold_answer": row["answer"]} for row in _flags()])
    said = zip(_flags(), judgements(), strict=True)
    _rows(cache / "judgements.jsonl", [{"question": row["question"], "answer": word} for row, word in said])


def judgements() -> list[str]:
    """What the judge says of the twelve answers; of some nothing that can be read."""
    return ["hm" if n in (4, 5, 7, 8) else "B" if n % 3 == 0 else "A" for n in range(12)]


def _flags() -> list[dict[str, str]]:
    return [{"question": f"How many stars has flag {n} of the fleet?", "answer": f"{n}"} for n in range(12)]


def _counted() -> list[dict[str, str]]:
    """What the model answers: every fourth number of stars is wrong."""
    numbers = [n if n % 4 else n + 100 for n in range(12)]
    return [{**row, "answer": f"There are \\boxed{{{n}}} stars."} for row, n in zip(_flags(), numbers, strict=True)]


def _programs(port: int) -> list[dict[str, str]]:
    texts = {name: text.replace("{port}", str(port)) for name, text in PROGRAMS.items()}
    return [{"question": _problem(name)["prompt"], "answer": f"```python\n{text}\n```"} for name, text in texts.items()]


def _choices() -> list[dict[str, str]]:
    return [
        {"question": question(country), "answer": f"{letter(country)}. {name}"} for country, name in CAPITALS.items()
    ]


def _problem(name: str) -> dict[str, str]:
    prompt = f'def {name}():\n    """Return what {name} wants."""\n'
    return {
        "task_id": name,
        "prompt": prompt,
        "entry_point": name,
        "canonical_solution": "    return 42\n",
        "test": "def check(candidate):\n    assert candidate() == 42\n",
    }


def _rows(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
