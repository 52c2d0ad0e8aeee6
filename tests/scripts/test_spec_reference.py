"""The reference page of the spec says what the models say."""

from pathlib import Path

from scripts.spec_reference import page


def test_the_reference_page_is_up_to_date() -> None:
    written = (Path(__file__).parents[2] / "docs" / "spec.md").read_text()
    assert written == page(), "run: python -m scripts.spec_reference > docs/spec.md"
