"""Charts of a result: well-formed, with every point."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from orchestrator.plots import Chart, Series, png_of, speed_charts, svg_of, write_plots
from orchestrator.plots.chart import nice_step, short
from orchestrator.speed import ContextSpeed, Memory, SpeedResult

SVG = "{http://www.w3.org/2000/svg}"


def row(context: int, speed: float) -> ContextSpeed:
    return ContextSpeed(
        context=context,
        prompt_tokens=context,
        generate=16,
        generated=16.0,
        counted_by="usage",
        speed=speed,
        speeds=[speed],
        ttft=0.1,
        decode=2 * speed,
        memory=Memory(bytes=context * 10**6, kind="resident"),
    )


RESULT = SpeedResult(
    seed=1,
    tokenizer=None,
    full_length="ignore_eos",
    max_model_len=None,
    context=[row(1, 50.0), row(6144, 40.0), row(129024, 10.0)],
)


def test_a_result_by_context_length_gives_a_chart_of_speed_and_one_of_memory() -> None:
    charts = {chart.name: chart for chart in speed_charts(RESULT)}
    assert charts.keys() == {"context-speed", "context-memory"}
    assert charts["context-speed"].series[0].points == ((1, 50.0), (6144, 40.0), (129024, 10.0))


def test_an_svg_is_well_formed_and_shows_every_point_inside_the_frame() -> None:
    chart = Chart("c", 'a "title" & <more>', "x", "y", (Series("s", ((1, 2.0), (5, 0.0), (9, 7.5))),), (1, 5, 9))
    root = ElementTree.fromstring(svg_of(chart))
    points = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iter(f"{SVG}circle")]
    assert root.attrib["aria-label"] == 'a "title" & <more>'
    assert len(points) == 3
    assert all(70 <= x <= 620 and 40 <= y <= 310 for x, y in points)
    assert points[2][1] < points[0][1] < points[1][1], "a greater value stands higher"
    assert points[1][0] - points[0][0] == pytest.approx(points[2][0] - points[1][0])


def test_a_point_alone_is_no_chart() -> None:
    assert speed_charts(RESULT.model_copy(update={"context": RESULT.context[:1]})) == []


def test_a_png_is_a_png() -> None:
    pytest.importorskip("matplotlib")
    picture = png_of(speed_charts(RESULT)[0])
    assert picture
    assert picture.startswith(b"\x89PNG\r\n")


def test_plots_are_written_side_by_side(tmp_path: Path) -> None:
    written = write_plots(tmp_path / "plots", [RESULT])
    assert {path.stem for path in written} == {"speed-0-context-speed", "speed-0-context-memory"}
    assert all(path.stat().st_size > 500 for path in written)


@pytest.mark.parametrize(("top", "step"), [(1.0, 0.2), (7.5, 2.0), (0.034, 0.01), (129.0, 50.0), (100.0, 20.0)])
def test_axes_are_divided_by_round_numbers(top: float, step: float) -> None:
    assert nice_step(top) == pytest.approx(step)


@pytest.mark.parametrize(("value", "text"), [(129024, "126k"), (6144, "6144"), (0.01234, "0.01234"), (12500, "12.5k")])
def test_long_numbers_are_shortened(value: float, text: str) -> None:
    assert short(value) == text
