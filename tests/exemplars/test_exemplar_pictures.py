from itertools import pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from interpretable.errors import ExemplarError
from interpretable.exemplars.exemplar_pictures import KINDS, draw_sheet, draw_sheets, sheet_figure, sheets_figure
from interpretable.exemplars.exemplar_view import ExemplarSheet, ShownExemplar

LONG = "a_very_long_name_that_nobody_would_want_to_read_below_a_picture" * 5
SHAPES = ((8, 8), (40, 5), (5, 40), (30, 20), (500, 700))


def shown(
    number: int, witness: float = 0.001, label: str = "ant", size: tuple[int, int] | None = None
) -> ShownExemplar:
    """An image whose every red value is its number."""
    image = np.full((*(size or SHAPES[number % len(SHAPES)]), 3), number, np.uint8)
    return ShownExemplar(image, number, witness, label)


def sheet(prototypes: int, criticisms: int = 0, name: str = "ants", label: str = "ant") -> ExemplarSheet:
    """Prototypes have the numbers 0, 1, …, criticisms 100, 101, …"""
    return ExemplarSheet(
        name,
        tuple(shown(number, label=label) for number in range(prototypes)),
        tuple(shown(100 + number, label=label) for number in range(criticisms)),
    )


def of_witnesses(prototypes: list[float], criticisms: list[float]) -> ExemplarSheet:
    return ExemplarSheet(
        "ants",
        tuple(shown(number, witness) for number, witness in enumerate(prototypes)),
        tuple(shown(100 + number, witness) for number, witness in enumerate(criticisms)),
    )


def axis_of(figure: Figure) -> Axes:
    (axis,) = figure.axes
    width, height = figure.get_size_inches()
    assert axis.get_xlim() == pytest.approx((0, width))
    assert axis.get_ylim() == pytest.approx((height, 0))
    assert axis.get_position().bounds == (0, 0, 1, 1)
    return axis


def boxes(figure: Figure) -> dict[int, tuple[float, float, float, float]]:
    """Left, right, bottom and top in inches of each picture, by its number; on the page y grows downwards."""
    found = {int(image.get_array()[0, 0, 0]): tuple(image.get_extent()) for image in axis_of(figure).images}
    assert len(found) == len(axis_of(figure).images)
    return found


def middle(box: tuple[float, float, float, float]) -> float:
    return (box[0] + box[1]) / 2


def text_of(figure: Figure, content: str) -> Text:
    (found,) = [text for text in axis_of(figure).texts if text.get_text() == content]
    return found


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in axis_of(figure).texts]


def below(figure: Figure, number: int) -> list[str]:
    """What stands right under a picture, from top to bottom."""
    box = boxes(figure)[number]
    lines = [
        text
        for text in axis_of(figure).texts
        if text.get_ha() == "center"
        and text.get_position()[0] == pytest.approx(middle(box))
        and 0 < text.get_position()[1] - box[2] < 0.4
    ]
    return [text.get_text() for text in sorted(lines, key=lambda text: text.get_position()[1])]


def rows_of(figure: Figure, first: int, count: int) -> list[list[int]]:
    """Numbers of the pictures of each row, from top to bottom and left to right."""
    own = {number: box for number, box in boxes(figure).items() if first <= number < first + count}
    rows: dict[float, list[int]] = {}
    for number in sorted(own, key=lambda number: (round(own[number][2], 6), middle(own[number]))):
        rows.setdefault(round(own[number][2], 6), []).append(number)
    return list(rows.values())


@pytest.mark.parametrize(
    ("count", "lengths"),
    [
        (1, [1]),
        (2, [2]),
        (8, [8]),
        (9, [5, 4]),
        (10, [5, 5]),
        (16, [8, 8]),
        (17, [6, 6, 5]),
        (31, [8, 8, 8, 7]),
        (32, [8, 8, 8, 8]),
    ],
)
def test_pictures_stand_in_even_rows_of_eight_at_most_in_their_order(count: int, lengths: list[int]) -> None:
    figure = sheet_figure(sheet(count, count))
    for first in (0, 100):
        rows = rows_of(figure, first, count)
        assert [len(row) for row in rows] == lengths
        assert [number for row in rows for number in row] == list(range(first, first + count))


def test_pictures_keep_their_aspect_inside_squares_of_one_size() -> None:
    for number, (left, right, bottom, top) in boxes(sheet_figure(sheet(32, 17))).items():
        height, width = SHAPES[number % len(SHAPES)]
        assert (right - left) / (bottom - top) == pytest.approx(width / height)
        assert max(right - left, bottom - top) == pytest.approx(1.1)


def test_pictures_of_a_row_stand_on_one_line_in_equal_steps() -> None:
    figure = sheet_figure(sheet(8))
    found = [boxes(figure)[number] for number in range(8)]
    assert len({box[2] for box in found}) == 1
    steps = [middle(right) - middle(left) for left, right in pairwise(found)]
    assert steps == pytest.approx([steps[0]] * 7)
    assert steps[0] > 1.1


@pytest.mark.parametrize("counts", [(1, 0), (1, 1), (32, 32), (3, 20)])
def test_nothing_overlaps_or_leaves_the_page_whatever_the_names(counts: tuple[int, int]) -> None:
    labelled = sheet(*counts, name=LONG, label=LONG)
    labelled = labelled._replace(prototypes=(labelled.prototypes[0]._replace(label="ant"), *labelled.prototypes[1:]))
    for figure in (sheet_figure(labelled), sheets_figure([labelled, sheet(2, 1)._replace(prototypes=(shown(200),))])):
        width, height = figure.get_size_inches()
        renderer = FigureCanvasAgg(figure).get_renderer()
        places = []
        for text in axis_of(figure).texts:
            box = text.get_window_extent(renderer).transformed(figure.dpi_scale_trans.inverted())
            places.append((box.x0, box.x1, height - box.y0, height - box.y1))
        places += [tuple(image.get_extent()) for image in axis_of(figure).images]
        left, right, bottom, top = np.array(places).T
        assert left.min() >= 0.2
        assert right.max() <= width - 0.05
        assert top.min() >= 0.1
        assert bottom.max() <= height - 0.1
        apart = (
            (right[:, None] <= left + 0.02)
            | (left[:, None] >= right - 0.02)
            | (bottom[:, None] <= top + 0.02)
            | (top[:, None] >= bottom - 0.02)
        )
        np.fill_diagonal(apart, True)
        assert apart.all()


@pytest.mark.parametrize(
    ("witnesses", "captions", "unit"),
    [
        ([0.0031, -0.00284, 0.00004, 0.0], ["+0.0031", "−0.0028", "+0.0000", "0.0000"], ""),
        ([0.0312, -0.002], ["+0.0312", "−0.0020"], ""),
        ([0.4, -0.123456], ["+0.400", "−0.123"], ""),
        ([-1.5, 0.25], ["−1.50", "+0.25"], ""),
        ([12345.0, -1.0], ["+12345", "−1"], ""),
        ([0.00031, -0.00004], ["+3.10", "−0.40"], " in units of 10⁻⁴"),
        ([-2.5e-12, 1e-13], ["−2.50", "+0.10"], " in units of 10⁻¹²"),
        ([0.0, 0.0], ["0.00", "0.00"], ""),
    ],
)
def test_witnesses_are_written_with_their_sign_and_one_power_of_ten(
    witnesses: list[float], captions: list[str], unit: str
) -> None:
    for figure in (
        sheet_figure(of_witnesses(witnesses[:1], witnesses[1:])),
        sheets_figure(
            [
                of_witnesses(witnesses[:1], []),
                of_witnesses([], witnesses[1:])._replace(prototypes=(shown(50, witnesses[0]),)),
            ]
        ),
    ):
        numbers = [0, *range(100, 99 + len(witnesses))]
        assert [below(figure, number) for number in numbers] == [[caption] for caption in captions]
        meaning = " ".join(texts(figure))
        assert f"Under each picture: the witness{unit}. Positive: the prototypes under-represent images like" in meaning
        assert "negative: they over-represent them." in meaning


def test_sheets_of_a_page_are_written_by_the_same_power_of_ten() -> None:
    figure = sheets_figure(
        [of_witnesses([-2e-5], []), of_witnesses([], [3e-7])._replace(prototypes=(shown(50, 1e-4),))]
    )
    assert [below(figure, number) for number in (0, 50, 100)] == [["−0.20"], ["+1.00"], ["+0.00"]]


def test_labels_stand_under_the_witness_only_where_there_are_several() -> None:
    one = sheet_figure(sheet(2, 1))
    assert [below(one, number) for number in (0, 1, 100)] == [["+0.0010"]] * 3
    assert "ant" not in texts(one)
    several = sheet_figure(sheet(2)._replace(criticisms=(shown(100, -0.002, "bee"),)))
    assert [below(several, number) for number in (0, 1, 100)] == [
        ["+0.0010", "ant"],
        ["+0.0010", "ant"],
        ["−0.0020", "bee"],
    ]


def test_criticisms_stand_below_the_prototypes_each_under_a_title_in_its_colour() -> None:
    figure = sheet_figure(sheet(9, 3))
    heading = text_of(figure, "ants").get_position()[1]
    above, between = (text_of(figure, kind).get_position()[1] for kind in KINDS)
    tops, bottoms = zip(*((box[3], box[2]) for box in boxes(figure).values()), strict=True)
    assert heading < above < min(tops[:9])
    assert max(bottoms[:9]) < between < min(tops[9:])
    for kind, colour in KINDS.items():
        assert text_of(figure, kind).get_color() == colour


def test_without_criticisms_their_band_is_absent() -> None:
    with_them, without = sheet_figure(sheet(3, 1)), sheet_figure(sheet(3))
    assert "criticisms" not in texts(without)
    assert with_them.get_size_inches()[1] - without.get_size_inches()[1] > 1.3
    for figure in (
        sheets_figure([sheet(3)]),
        sheets_figure([sheet(3), sheet(2, name="bees")._replace(prototypes=(shown(9),))]),
    ):
        assert "criticisms" not in texts(figure)
        assert figure.get_size_inches()[0] < 4.5


def several(*counts: tuple[int, int]) -> list[ExemplarSheet]:
    """Sheets whose pictures have the numbers 0.. and 10.., 20.. and 30.., and so on."""
    return [
        ExemplarSheet(
            f"class {place}",
            tuple(shown(20 * place + number) for number in range(prototypes)),
            tuple(shown(20 * place + 10 + number) for number in range(criticisms)),
        )
        for place, (prototypes, criticisms) in enumerate(counts)
    ]


def test_several_sheets_stand_below_one_another_with_criticisms_to_the_right() -> None:
    figure = sheets_figure(several((10, 4), (2, 0), (5, 7)))
    found = boxes(figure)
    assert rows_of(figure, 0, 10) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert rows_of(figure, 20, 10) == [[20, 21]]
    assert rows_of(figure, 50, 10) == [[50, 51, 52, 53, 54, 55, 56]]
    assert found[10][2] == found[0][2]  # of one set, prototypes and criticisms begin in one line
    edges = {kind: text_of(figure, kind).get_position()[0] for kind in KINDS}
    right_of_prototypes = max(found[number][1] for number in (*range(10), 20, 21, *range(40, 45)))
    assert right_of_prototypes < edges["criticisms"]
    for number, kind in ((0, "prototypes"), (20, "prototypes"), (10, "criticisms"), (50, "criticisms")):
        assert middle(found[number]) == pytest.approx(edges[kind] + 0.55)
    names = [text_of(figure, f"class {place}").get_position()[1] for place in range(3)]
    lowest = [max(found[number][2] for number in found if number // 20 == place) for place in range(3)]
    highest = [min(found[number][3] for number in found if number // 20 == place) for place in range(3)]
    order = [position for place in range(3) for position in (names[place], highest[place], lowest[place])]
    assert order == sorted(order)
    rules = [float(line.get_ydata()[0]) for line in axis_of(figure).lines]
    assert [lowest[0] < rules[1] < names[1], lowest[1] < rules[2] < names[2]] == [True, True]


def test_ten_sheets_fit_on_a_page_that_is_not_wider_than_its_pictures() -> None:
    figure = sheets_figure(several(*[(10, 10)] * 10))
    assert len(boxes(figure)) == 200
    assert figure.get_size_inches()[0] < 13.5


def test_nothing_in_a_name_is_markup_and_what_the_font_lacks_is_a_square() -> None:
    odd = sheet(1, 1, name="$x^2$ 蟻\n")._replace(criticisms=(shown(100, label="a_$b$_c"),))
    figure = sheet_figure(odd)
    assert text_of(figure, "$x^2$ □\\n").get_parse_math() is False
    assert below(figure, 100) == ["+0.0010", "a_$b$_c"]
    FigureCanvasAgg(figure).draw()  # a warning would be an error here


@pytest.mark.parametrize("together", [False, True])
def test_what_is_written_shows_the_pictures_where_they_belong(tmp_path: Path, together: bool) -> None:
    blue, green = np.zeros((2, 20, 60, 3), np.uint8)
    blue[..., 2] = green[..., 1] = 255
    drawn = ExemplarSheet("ants", (ShownExemplar(blue, 0, 0.1, "ant"),), (ShownExemplar(green, 1, -0.1, "ant"),))
    path = tmp_path / "new" / "sheet.png"
    if together:
        draw_sheets([drawn], path)
    else:
        draw_sheet(drawn, path)
    assert [file.name for file in path.parent.iterdir()] == ["sheet.png"]
    picture = matplotlib.image.imread(path)[..., :3]
    places = []
    for colour in ("#0000ff", "#00ff00"):
        rows, columns = np.nonzero(np.abs(picture - np.array(to_rgb(colour))).max(-1) < 0.01)
        assert np.ptp(columns) + 1 == pytest.approx(1.1 * 120, abs=4)
        assert np.ptp(rows) + 1 == pytest.approx(1.1 * 120 / 3, abs=4)
        places.append((rows.mean(), columns.mean()))
    (upper, left), (lower, right) = places
    assert (upper == pytest.approx(lower, abs=1), left < right - 100) == (together, together)
    assert (upper < lower - 100, left == pytest.approx(right, abs=1)) == (not together, not together)


def test_a_sheet_without_prototypes_or_no_sheet_is_refused(tmp_path: Path) -> None:
    empty = sheet(0, 2)
    with pytest.raises(ExemplarError, match="Contact sheets show one prototype at least, but ants has none; choose"):
        draw_sheet(empty, tmp_path / "a.png")
    with pytest.raises(ExemplarError, match="ants has none"):
        draw_sheets([sheet(1, name="bees"), empty], tmp_path / "a.png")
    with pytest.raises(ExemplarError, match="there is no sheet; choose prototypes first"):
        draw_sheets([], tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
