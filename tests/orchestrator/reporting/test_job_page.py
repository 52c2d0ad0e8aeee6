"""The page of a job: everything in it, nothing from outside, and nothing that a model wrote is more than text."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path

from tests.orchestrator.reporting.support import ANSWERS, HOSTILE

LOADING = ("src", "href", "srcset", "data", "action", "formaction", "poster", "background", "xlink:href", "style")
VOID = {"meta", "input", "link", "img", "br"}


class Page(HTMLParser):
    """Elements and text as a browser's parser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.styles: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.styles if self.open[-1:] == ["style"] else self.text).append(data)


def test_a_page_says_all_of_a_job_and_holds_no_element_that_a_model_wrote(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    shown = "".join(page.text)
    for part in ("Scores", "Time per phase", "Requests", "Serving fingerprint", "Samples", "Teardown", "To repeat it"):
        assert part in shown
    assert shown.count(HOSTILE) >= 4  # its name, a label, a prompt, an output
    allowed = {"html", "head", "meta", "title", "style", "body", "header", "section", "div", "p", "h1", "h2", "h3"}
    allowed |= {"span", "strong", "code", "pre", "label", "input", "details", "summary"}
    allowed |= {"table", "thead", "tbody", "tr", "th", "td", "svg", "line", "rect", "circle", "text", "polyline"}
    assert {tag for tag, _ in page.tags} <= allowed
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in LOADING]


def test_the_policy_of_a_page_allows_its_own_style_and_nothing_else(folder: Path) -> None:
    page = Page((folder / "report.html").read_text())
    policy = next(one["content"] for tag, one in page.tags if one.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256("".join(page.styles).encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in "".join(page.styles)
    assert "@import" not in "".join(page.styles)


def test_samples_are_filtered_by_what_went_wrong_with_them(folder: Path) -> None:
    page = Page((folder / "report.html").read_text())
    rows = [(one.get("class") or "").split() for tag, one in page.tags if tag == "tr" and "class" in one]
    assert len(rows) == len(ANSWERS)
    assert sum("cut" in kinds for kinds in rows) == 1
    assert sum("wrong" in kinds for kinds in rows) == 1  # cut before its number


def test_traps_are_told_beside_the_score(folder: Path) -> None:
    record = json.loads((folder / "job.json").read_text())
    notes = record["results"][0]["notes"]
    assert any(note.startswith("WARNING: 1 of 6 answers were cut at `max_tokens`") for note in notes)
    assert any("1 of 6 answers hold the model's thinking" in note for note in notes)
    assert any("1 of 6 answers hold nothing that the evaluator could take" in note for note in notes)
    assert "were cut at `max_tokens`" in (folder / "report.html").read_text()
    assert "were cut at `max_tokens`" in (folder / "report.md").read_text()


def test_a_record_says_what_served(folder: Path) -> None:
    record = json.loads((folder / "job.json").read_text())
    identity = record["fingerprint"]
    assert identity["engine"] == "custom"
    assert identity["argv"] == [record["resources"]["replicas"][0]["argv"]]
    assert identity["sampling"]["requested"][0]["temperature"] == 0.0
    assert len(identity["digest"]) == 32
    assert identity["digest"] in (folder / "report.md").read_text()
    assert identity["digest"] in (folder / "report.html").read_text()
