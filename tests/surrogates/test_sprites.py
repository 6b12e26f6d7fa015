import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from interpretable.errors import SurrogateError
from interpretable.surrogates.export.sprites import Sheet, SpriteSheets, sprite_sheets


def plain(colour: tuple[int, int, int], height: int = 20, width: int = 20) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def colours(number: int) -> dict[int, np.ndarray]:
    """Images of one random colour each, by numbers that are not in order."""
    random = np.random.default_rng(0)
    return {int(key): plain(tuple(random.integers(0, 256, 3))) for key in random.permutation(10 * number)[:number]}


def pixels(sheet: Sheet) -> np.ndarray:
    kind, content = sheet.uri.split(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(int)


def tile(sprites: SpriteSheets, key: int, side: int) -> np.ndarray:
    sheet, column, row = sprites.positions[key]
    return pixels(sprites.sheets[sheet])[row * side : (row + 1) * side, column * side : (column + 1) * side]


@pytest.mark.parametrize(("number", "per_sheet"), [(1, 400), (7, 400), (23, 9), (18, 9), (5, 1)])
def test_each_image_is_where_the_positions_say(number, per_sheet):
    images = colours(number)
    sprites = sprite_sheets(images, side=16, per_sheet=per_sheet)
    assert list(sprites.positions) == list(images)
    assert len(set(sprites.positions.values())) == number
    assert len(sprites.sheets) == -(-number // per_sheet)
    for key, image in images.items():
        np.testing.assert_allclose(tile(sprites, key, 16), np.broadcast_to(image[0, 0], (16, 16, 3)), atol=4)


def test_a_sheet_is_as_large_as_its_columns_and_rows_say():
    sprites = sprite_sheets(colours(11), side=24, per_sheet=8)
    assert [(sheet.columns, sheet.rows) for sheet in sprites.sheets] == [(3, 3), (2, 2)]
    assert [pixels(sheet).shape for sheet in sprites.sheets] == [(72, 72, 3), (48, 48, 3)]


@pytest.mark.parametrize(("height", "width"), [(40, 20), (20, 40), (4, 2)])
def test_an_image_keeps_its_proportions_between_grey_margins(height, width):
    image = plain((255, 0, 0), height, width)
    found = tile(sprite_sheets({3: image}, side=64), 3, 64)
    if width > height:
        found = found.transpose(1, 0, 2)
    np.testing.assert_allclose(found[:, 24:40], np.broadcast_to([254, 0, 0], (64, 16, 3)), atol=8)
    for margin in (found[:, :8], found[:, 56:]):
        np.testing.assert_allclose(margin, 128, atol=8)


def test_an_image_a_thousand_times_as_wide_as_high_is_a_line():
    found = tile(sprite_sheets({0: plain((255, 255, 255), 1, 1000)}, side=16), 0, 16)
    assert (found[7] > 180).all()
    assert (found[0] < 150).all()


def test_what_is_drawn_in_an_image_is_drawn_in_its_thumbnail():
    image = np.random.default_rng(1).integers(0, 256, (4, 4, 3)).repeat(16, axis=0).repeat(16, axis=1).astype(np.uint8)
    found = tile(sprite_sheets({0: plain((0, 0, 0)), 1: image, 2: plain((255, 255, 255))}, side=64), 1, 64)
    centres = (slice(8, None, 16), slice(8, None, 16))
    np.testing.assert_allclose(found[centres], image[centres], atol=25)


def test_without_images_there_is_no_sheet():
    assert sprite_sheets({}) == SpriteSheets((), {})


def test_thousands_of_thumbnails_take_few_bytes():
    scenes = np.random.default_rng(2).integers(0, 256, (50, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    sprites = sprite_sheets({key: scenes[key % 50].astype(np.uint8) for key in range(1000)}, side=32)
    assert len(sprites.sheets) == 3
    assert sum(len(sheet.uri) for sheet in sprites.sheets) < 2_000_000


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((8, 8, 3), np.float32), "float32 (8, 8, 3)"),
        (np.zeros((8, 8), np.uint8), "uint8 (8, 8)"),
        (np.zeros((3, 8, 8), np.uint8), "uint8 (3, 8, 8)"),
        (np.zeros((0, 8, 3), np.uint8), "uint8 (0, 8, 3)"),
    ],
    ids=["float", "grey", "channels first", "empty"],
)
def test_other_arrays_are_refused_with_their_number(image, found):
    with pytest.raises(SurrogateError, match=re.escape(f"Image 5 must be uint8 of shape (H, W, 3), found {found}")):
        sprite_sheets({4: plain((0, 0, 0)), 5: image})


@pytest.mark.parametrize("numbers", [{"side": 0}, {"per_sheet": 0}])
def test_sheets_without_room_are_refused(numbers):
    with pytest.raises(SurrogateError, match="at least 1, found"):
        sprite_sheets({}, **numbers)
