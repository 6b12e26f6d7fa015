"""Colours of attributions, and the sheet that shows them, on plain arrays."""

from itertools import combinations, pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from interpretable.attribution.attribution_sheet import (
    AttributionRow,
    AttributionSheet,
    ShownAttribution,
    attributions_figure,
    draw_attributions,
)
from interpretable.attribution.signed_colours import AGAINST, FOR, full_colour, overlaid
from interpretable.errors import AttributionError

LONG = "a_very_long_name_that_nobody_would_want_to_read_beside_a_picture" * 3
WHITE, BLACK = np.full((1, 1, 3), 255, np.uint8), np.zeros((1, 1, 3), np.uint8)


def test_colours_are_full_at_the_995th_of_a_thousand_magnitudes_whatever_their_signs():
    values = np.arange(1001.0) * np.where(np.arange(1001) % 2, 1, -1)
    assert full_colour(values.reshape(7, 143)) == pytest.approx(995.0)


def test_colours_are_full_at_the_maximum_where_nearly_all_is_zero_and_nowhere_where_all_is():
    values = np.zeros((100, 100))
    assert full_colour(values) == 0
    values[3, 4] = -2.5
    assert full_colour(values) == 2.5


@pytest.mark.parametrize(
    ("value", "share", "colour"),
    [(0.0, 0.0, FOR), (2.0, 0.8, FOR), (-2.0, 0.8, AGAINST), (1.0, 0.4, FOR), (-0.5, 0.2, AGAINST), (9.0, 0.8, FOR)],
)
@pytest.mark.parametrize(("picture", "grey"), [(WHITE, 255.0), (BLACK, 0.55 * 255)])
def test_a_value_has_the_share_of_red_or_blue_that_it_has_of_full_colour(value, share, colour, picture, grey):
    (pixel,) = overlaid(picture, np.array([[value]]), 2.0)[0]
    assert pixel.dtype == np.uint8
    np.testing.assert_allclose(pixel, (1 - share) * grey + share * np.array(colour), atol=0.51)


def test_a_picture_without_attributions_is_grey_with_its_luminance():
    picture = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    pixels = overlaid(picture, np.zeros((1, 3)), 0.0)[0]
    expected = 255 * (0.55 + 0.45 * np.array([0.299, 0.587, 0.114]))
    np.testing.assert_allclose(pixels, np.repeat(expected[:, None], 3, 1), atol=0.51)


def row(name: str = "test 3", methods: int = 2, size: tuple[int, int] = (20, 20), note: str = "") -> AttributionRow:
    """An image that is white; method m has m + 1 in its left half and the opposite in its right."""
    values = np.ones(size)
    values[:, size[1] // 2 :] = -1
    image = np.full((*size, 3), 255, np.uint8)
    shown = tuple(ShownAttribution((method + 1) * values, note) for method in range(methods))
    return AttributionRow(name, image, "apple", "plum", -1.25, shown)


def sheet(*rows: AttributionRow, notes: str = "") -> AttributionSheet:
    return AttributionSheet(tuple(f"method {number}" for number in range(len(rows[0].attributions))), rows, notes)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def pixels_at(path: Path, figure: Figure, x: float, y: float) -> np.ndarray:
    """The colour at a place of the page, in inches."""
    page = matplotlib.image.imread(path)
    height, width = page.shape[:2]
    across, down = figure.get_size_inches()
    return 255 * page[int(y / down * height), int(x / across * width), :3]


def test_on_the_page_each_method_has_red_for_and_blue_against_the_class_by_its_own_full_colour(tmp_path):
    shown = sheet(row(), row())
    draw_attributions(shown, tmp_path / "sheet.png")
    figure = attributions_figure(shown)
    pictures = [image.get_extent() for image in figure.axes[0].images]
    assert len(pictures) == 2 * 3 + 1  # and the key
    for number, (left, right, bottom, top) in enumerate(pictures[:6]):
        middle = (top + bottom) / 2
        sides = [
            pixels_at(tmp_path / "sheet.png", figure, left + share * (right - left), middle) for share in (0.25, 0.75)
        ]
        white = np.full(3, 255)
        expected = [white, white] if number % 3 == 0 else [0.2 * white + 0.8 * np.array(one) for one in (FOR, AGAINST)]
        np.testing.assert_allclose(sides, expected, atol=2)
    left, right, bottom, top = pictures[6]
    ends = [pixels_at(tmp_path / "sheet.png", figure, x, (top + bottom) / 2) for x in (left + 0.02, right - 0.02)]
    assert ends[0][2] > ends[0][0] + 50
    assert ends[1][0] > ends[1][2] + 50


def test_beside_each_image_stand_its_name_its_classes_and_the_logit_and_below_pictures_their_full_colour():
    found = texts(attributions_figure(sheet(row(note="filters 3 +0.50"), notes="What notes are.")))
    for line in ("test 3", "label", "apple", "explained class", "plum", "logit -1.25", "±1", "±2", "filters 3 +0.50"):
        assert line in found
    assert found[:3] == ["image", "method 0", "method 1"]
    meaning = " ".join(found)
    assert "colours are full at the 99.5th percentile" in meaning
    assert meaning.endswith("What notes are.")


def test_an_image_without_label_has_none_and_a_method_that_says_nothing_is_said_to():
    silent = row()._replace(label="", attributions=(ShownAttribution(np.zeros((20, 20))),) * 2)
    found = texts(attributions_figure(sheet(silent)))
    assert "label" not in found
    assert found.count("0 everywhere") == 2


@pytest.mark.parametrize(("count", "methods"), [(1, 1), (1, 5), (3, 5)])
@pytest.mark.parametrize("size", [(20, 20), (30, 12), (12, 30)])
@pytest.mark.parametrize("name", ["dog", LONG])
def test_nothing_overlaps_or_leaves_the_page(count, methods, size, name):
    images = [row(name, methods, size, note=name)._replace(label=name, explained=name) for _ in range(count)]
    columns = ("part filters", "integrated gradients", "deep Taylor decomposition", "guided backpropagation", LONG)
    figure = attributions_figure(AttributionSheet(columns[-methods:], tuple(images), "Notes are these."))
    renderer = FigureCanvasAgg(figure).get_renderer()
    artists = [*figure.axes[0].texts, *figure.axes[0].images]
    boxes = [
        artist.get_window_extent(renderer)
        for artist in artists
        if artist not in figure.axes[0].texts or artist.get_text()
    ]
    page = figure.bbox
    for box in boxes:
        assert box.x0 >= 0
        assert box.x1 <= page.x1
        assert box.y0 >= 0
        assert box.y1 <= page.y1
    touching = [
        (one, other)
        for one, other in combinations(boxes, 2)
        if min(one.x1, other.x1) - max(one.x0, other.x0) > 0.5 and min(one.y1, other.y1) - max(one.y0, other.y0) > 0.5
    ]
    assert not touching


def test_pictures_keep_their_shape_and_stand_in_the_middle_of_their_columns():
    wide, square = (attributions_figure(sheet(row(size=size))).axes[0].images for size in ((10, 20), (20, 20)))
    for flat, full in zip(wide, square, strict=True):
        left, right, bottom, top = flat.get_extent()
        if flat is not wide[-1]:
            assert right - left == pytest.approx(2 * (bottom - top))
        assert (left + right) / 2 == pytest.approx(sum(full.get_extent()[:2]) / 2)


def test_rows_stand_below_one_another_in_order():
    figure = attributions_figure(sheet(*(row(f"test {number}") for number in range(3))))
    places = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    heights = [places[f"test {number}"] for number in range(3)]
    first, second = (after - before for before, after in pairwise(heights))
    assert first == pytest.approx(second)
    assert first > 1


@pytest.mark.parametrize(
    "wrong",
    [
        AttributionSheet(("saliency",), ()),
        AttributionSheet((), (row(methods=0),)),
        AttributionSheet(("saliency",), (row(methods=1), row(methods=2))),
    ],
)
def test_a_sheet_without_images_or_methods_or_with_other_columns_in_a_row_is_refused(wrong, tmp_path):
    with pytest.raises(AttributionError, match="one image and one method at least, and each image an attribution by"):
        draw_attributions(wrong, tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())


def test_names_that_look_like_markup_are_drawn_as_they_are():
    found = texts(attributions_figure(sheet(row("$x^2$ & <b>\n")._replace(label="$\\frac"))))
    assert "$x^2$ & <b>\\n" in found
    assert "$\\frac" in found
