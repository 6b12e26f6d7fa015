from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from interpretable.errors import ExemplarError
from interpretable.exemplars.exemplar_class_counts import class_counts_figure, draw_class_counts
from interpretable.exemplars.exemplar_curves import draw_errors, draw_mmd2, errors_figure, mmd2_figure
from interpretable.exemplars.exemplar_pictures import KINDS
from interpretable.exemplars.exemplar_view import ClassCounts, ErrorCurve, Mmd2Curve

LONG = "a_very_long_name_that_nobody_would_want_to_read" * 5


def mmd2(name: str = "ants", least: float = 0.1, number: int = 4) -> Mmd2Curve:
    """From 0.4 down to a least value."""
    curve = np.geomspace(0.4, least, number)
    return Mmd2Curve(name, curve, np.sqrt(curve), 0.1 * np.sqrt(curve))


def errors(name: str = "ants", all_rows: float = 0.05) -> ErrorCurve:
    return ErrorCurve(
        name, np.array([0.5, 0.25, 0.125]), np.array([0.6, 0.4, 0.3]), np.array([0.1, 0.05, 0.0]), all_rows
    )


def line_of(axis: Axes, label: str) -> Line2D:
    (found,) = [line for line in axis.lines if line.get_label().startswith(label)]
    return found


def assert_line(axis: Axes, label: str, values: np.ndarray) -> None:
    x, y = line_of(axis, label).get_data()
    assert list(x) == list(range(1, len(values) + 1))
    assert list(y) == pytest.approx(list(values))


def assert_band(axis: Axes, lower: np.ndarray, upper: np.ndarray) -> None:
    (band,) = axis.collections
    corners = {(float(x), round(float(y), 9)) for x, y in band.get_paths()[0].vertices}
    expected = {(number, round(float(y), 9)) for ends in (lower, upper) for number, y in enumerate(ends, 1)}
    assert corners == expected


def legend_of(figure: Figure) -> dict[str, Any]:
    """Colour of each entry."""
    (legend,) = figure.legends
    handles = [
        handle.get_facecolor() if hasattr(handle, "get_facecolor") else handle.get_color()
        for handle in legend.legend_handles
    ]
    return dict(zip([text.get_text() for text in legend.get_texts()], map(to_rgb, handles), strict=True))


def drawn(figure: Figure) -> Figure:
    FigureCanvasAgg(figure).draw()
    return figure


def test_greedy_and_random_mmd2_are_drawn_over_the_number_of_prototypes() -> None:
    curve = mmd2()
    figure = drawn(mmd2_figure([curve]))
    (axis,) = figure.axes
    assert_line(axis, "prototypes", curve.prototypes)
    assert_line(axis, "random picks", curve.random_mean)
    assert_band(axis, curve.random_mean - curve.random_deviation, curve.random_mean + curve.random_deviation)
    assert line_of(axis, "prototypes").get_color() == KINDS["prototypes"]
    assert legend_of(figure) == {
        "prototypes": to_rgb(KINDS["prototypes"]),
        "random picks, mean ± deviation": to_rgb("0.5"),
    }
    assert (axis.get_title(loc="left"), axis.get_xlabel(), axis.get_ylabel()) == (
        "ants",
        "number of prototypes",
        "MMD²",
    )
    shown = [tick for tick in axis.get_xticks() if axis.get_xlim()[0] <= tick <= axis.get_xlim()[1]]
    assert shown == [1, 2, 3, 4]


@pytest.mark.parametrize(("least", "scale"), [(0.1, "linear"), (0.026, "linear"), (0.024, "log"), (0.001, "log")])
def test_the_axis_is_logarithmic_where_the_values_span_more_than_a_factor_of_twenty(least: float, scale: str) -> None:
    (axis,) = mmd2_figure([mmd2(least=least, number=9)._replace(random_mean=np.full(9, 0.5))]).axes
    assert axis.get_yscale() == scale
    low, high = axis.get_ylim()
    assert (low == 0) == (scale == "linear")
    assert low < least < 2 * low or low == 0
    assert high > 0.5


@pytest.mark.parametrize("least", [0.0, -1e-17, 1e-12])
def test_what_is_zero_but_for_rounding_does_not_stretch_the_axis(least: float) -> None:
    curve = mmd2(least=0.004, number=5)
    (axis,) = drawn(mmd2_figure([curve._replace(prototypes=np.append(curve.prototypes[:-1], least))])).axes
    assert axis.get_yscale() == "log"
    assert 0.004 < axis.get_ylim()[0] < curve.prototypes[-2]


def test_a_band_below_zero_does_not_stretch_a_logarithmic_axis() -> None:
    curve = mmd2(least=0.001)
    (axis,) = drawn(mmd2_figure([curve._replace(random_deviation=2 * curve.random_mean)])).axes
    assert axis.get_ylim()[0] > 0.0005
    assert axis.get_ylim()[1] > 3 * curve.random_mean[0]


@pytest.mark.parametrize("value", [0.0, -1e-17])
def test_curves_without_a_positive_value_are_drawn_on_a_linear_axis(value: float) -> None:
    flat = np.full(3, value)
    (axis,) = drawn(mmd2_figure([Mmd2Curve("ants", flat, flat, np.zeros(3))])).axes
    assert axis.get_yscale() == "linear"
    assert axis.get_ylim()[0] <= value < axis.get_ylim()[1]


def test_one_prototype_is_drawn_as_a_point_with_its_deviation() -> None:
    curve = Mmd2Curve("ants", np.array([0.2]), np.array([0.3]), np.array([0.1]))
    (axis,) = drawn(mmd2_figure([curve])).axes
    assert_line(axis, "prototypes", curve.prototypes)
    assert line_of(axis, "prototypes").get_marker() == "."
    assert_band(axis, np.array([0.2]), np.array([0.4]))
    assert axis.collections[0].get_linewidth() > 0
    assert [tick for tick in axis.get_xticks() if 0.5 <= tick <= 1.5] == [1]


@pytest.mark.parametrize(("count", "rows"), [(1, [1]), (2, [2]), (5, [5]), (6, [3, 3]), (7, [4, 3]), (20, [5] * 4)])
@pytest.mark.parametrize("kind", ["mmd2", "errors"])
def test_each_curve_has_a_panel_of_its_own_on_shared_axes(count: int, rows: list[int], kind: str) -> None:
    names = [f"filter {number}" for number in range(count)]
    if kind == "mmd2":
        figure = mmd2_figure([mmd2(name, 0.4 / 2**place, 2 + place) for place, name in enumerate(names)])
    else:
        figure = errors_figure([errors(name, 0.01 * place) for place, name in enumerate(names)])
    drawn(figure)
    axes = figure.axes
    assert [axis.get_title(loc="left") for axis in axes] == names
    assert len({(axis.get_xlim(), axis.get_ylim(), axis.get_yscale()) for axis in axes}) == 1
    if kind == "mmd2":
        assert axes[0].get_xlim() == (0.5, count + 1.5)
    heights = sorted({round(axis.get_position().y0, 3) for axis in axes}, reverse=True)
    assert [sum(round(axis.get_position().y0, 3) == height for axis in axes) for height in heights] == rows
    columns = rows[0]
    for place, axis in enumerate(axes):
        labels = [label.get_visible() for label in axis.get_xticklabels()]
        assert any(labels) == (place + columns >= count)
        assert bool(axis.get_xlabel()) == (place + columns >= count)
        assert bool(axis.get_ylabel()) == (place % columns == 0)


def test_errors_are_drawn_in_percent_with_a_line_for_all_images() -> None:
    figure = drawn(errors_figure([errors()]))
    (axis,) = figure.axes
    assert_line(axis, "prototypes", np.array([50, 25, 12.5]))
    assert_line(axis, "random picks", np.array([60, 40, 30]))
    assert_band(axis, np.array([50, 35, 30]), np.array([70, 45, 30]))
    assert list(line_of(axis, "all images").get_ydata()) == [5, 5]
    assert [text.get_text() for text in axis.texts] == ["5.0 %"]
    assert axis.get_ylabel() == "error (%)"
    assert axis.get_ylim()[0] == 0
    assert 70 < axis.get_ylim()[1] <= 100
    assert list(legend_of(figure)) == ["prototypes", "random picks, mean ± deviation", "all images"]


@pytest.mark.parametrize(("share", "top"), [(0.0, 1), (1.0, 100)])
def test_errors_of_none_and_of_all_images_are_drawn(share: float, top: float) -> None:
    flat = np.full(40, share)
    (axis,) = drawn(errors_figure([ErrorCurve("ants", flat, flat, np.zeros(40), share)])).axes
    assert axis.get_ylim()[0] == 0
    assert 0 < axis.get_ylim()[1] <= top
    assert line_of(axis, "prototypes").get_marker() == ""


def bars_of(figure: Figure, kind: str) -> list[tuple[float, float]]:
    """Place and length of each bar, column after column."""
    return [
        (bar.get_y() + bar.get_height() / 2, bar.get_width())
        for axis in figure.axes
        for container in axis.containers
        if container.get_label().startswith(kind)
        for bar in container
    ]


def test_shares_of_classes_are_bars_from_top_to_bottom() -> None:
    counts = ClassCounts(("ant", "bee", "wasp"), np.array([50, 30, 20]), np.array([1, 0, 3]), np.array([1, 1, 0]))
    figure = drawn(class_counts_figure(counts))
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["ant", "bee", "wasp"]
    assert list(axis.get_yticks()) == [0, 1, 2]
    assert axis.get_ylim()[0] > 2 > 0 > axis.get_ylim()[1]
    shares = {"data": [50, 30, 20], "prototypes": [25, 0, 75], "criticisms": [50, 50, 0]}
    for kind, expected in shares.items():
        places, lengths = zip(*bars_of(figure, kind), strict=True)
        assert list(lengths) == pytest.approx(expected)
        assert list(places) == pytest.approx([0, 1, 2], abs=0.25)
    assert bars_of(figure, "prototypes")[0][0] < bars_of(figure, "criticisms")[0][0]
    assert legend_of(figure) == {
        "data (100)": to_rgb("0.85"),
        "prototypes (4)": to_rgb(KINDS["prototypes"]),
        "criticisms (2)": to_rgb(KINDS["criticisms"]),
    }


def test_without_criticisms_there_are_no_bars_of_them() -> None:
    counts = ClassCounts(("ant",), np.array([1234]), np.array([2]), np.array([0]))
    figure = drawn(class_counts_figure(counts))
    assert list(legend_of(figure)) == ["data (1,234)", "prototypes (2)"]
    assert bars_of(figure, "criticisms") == []
    assert bars_of(figure, "prototypes") == [(pytest.approx(0), 100)]


@pytest.mark.parametrize(("number", "columns"), [(50, [50]), (51, [26, 25]), (200, [50] * 4)])
def test_many_classes_stand_in_columns_on_one_scale(number: int, columns: list[int]) -> None:
    numbers = np.arange(1, number + 1)
    names = tuple(f"class {place}" for place in range(number))
    figure = class_counts_figure(ClassCounts(names, numbers, numbers, numbers))
    assert [len(axis.get_yticks()) for axis in figure.axes] == columns
    assert tuple(label.get_text() for axis in figure.axes for label in axis.get_yticklabels()) == names
    assert [length for _, length in bars_of(figure, "data")] == pytest.approx(100 * numbers / numbers.sum())
    assert len({(axis.get_xlim(), axis.get_ylim()) for axis in figure.axes}) == 1


def overlaps(boxes: list[Bbox]) -> bool:
    return any(Bbox.intersection(a, b) is not None for place, a in enumerate(boxes) for b in boxes[:place])


@pytest.mark.parametrize("number", [2, 60])
def test_names_of_classes_do_not_overlap_and_stay_on_the_page(number: int) -> None:
    numbers = np.ones(number, int)
    figure = drawn(class_counts_figure(ClassCounts((LONG,) * number, numbers, numbers, numbers)))
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [label.get_window_extent(renderer) for axis in figure.axes for label in axis.get_yticklabels()]
    assert not overlaps([*boxes, figure.legends[0].get_window_extent(renderer)])
    assert min(box.x0 for box in boxes) >= 0


ODD = "$x^2$ 蟻 _"


@pytest.mark.parametrize(
    "figure_of",
    [
        lambda: mmd2_figure([mmd2(ODD), mmd2(LONG)]),
        lambda: errors_figure([errors(ODD), errors(LONG)]),
        lambda: class_counts_figure(ClassCounts((ODD, LONG), np.ones(2, int), np.ones(2, int), np.ones(2, int))),
    ],
    ids=["mmd2", "errors", "class counts"],
)
def test_nothing_in_a_name_is_markup_and_long_ones_are_shortened(figure_of: Callable[[], Figure]) -> None:
    figure = drawn(figure_of())
    names = [axis.get_title(loc="left") for axis in figure.axes]
    if not names[0]:
        names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["$x^2$ □ _", "a_very_long_n…want_to_read"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: draw_mmd2([mmd2()], path),
        lambda path: draw_errors([errors()], path),
        lambda path: draw_class_counts(ClassCounts(("ant",), np.ones(1, int), np.ones(1, int), np.zeros(1, int)), path),
    ],
    ids=["mmd2", "errors", "class counts"],
)
def test_what_is_written_shows_the_prototypes_in_their_colour(tmp_path: Path, draw: Callable[[Path], None]) -> None:
    draw(tmp_path / "new" / "picture.png")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["picture.png"]
    picture = matplotlib.image.imread(tmp_path / "new" / "picture.png")[..., :3]
    assert int((np.abs(picture - np.array(to_rgb(KINDS["prototypes"]))).max(-1) < 0.02).sum()) > 100


def test_no_curve_and_no_class_are_refused(tmp_path: Path) -> None:
    none = np.zeros(0, int)
    for draw, empty in ((draw_mmd2, []), (draw_errors, []), (draw_class_counts, ClassCounts((), none, none, none))):
        with pytest.raises(ExemplarError, match=r"need.* one (curve|class) at least, got none; (measure|count)"):
            draw(empty, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
