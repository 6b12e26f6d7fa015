import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from interpretable.concepts import ConceptSample, CreatureConcepts
from interpretable.concepts import creatures as creature_concepts
from interpretable.concepts.colour_names import COLOURS, colour_names
from interpretable.data.anatomy import PARTS, PIECE_INDEX, SPECIES
from interpretable.data.creatures import Creatures
from interpretable.data.drawing import Drawing, paint
from interpretable.data.scene import compose
from interpretable.errors import ConfigurationError

SIDE = 64
PART, OBJECT, COLOUR, TEXTURE = range(4)


def opened(size: int = SIDE, image_size: int = SIDE, **arguments: object) -> CreatureConcepts:
    return CreatureConcepts(
        Creatures("test", **{"size": 16, "image_size": SIDE, **arguments}), (image_size, image_size), (size, size)
    )


def layers(sample: ConceptSample) -> Tensor:
    return sample["label_maps"].as_subclass(Tensor)


def test_concepts_are_parts_species_colours_and_textures() -> None:
    data = opened()
    assert data.categories == ("part", "object", "colour", "texture")
    assert data.concepts == (*PARTS, *SPECIES, *COLOURS, "plain", "striped", "spotted")
    assert data.concept_category.bincount().tolist() == [6, 8, 11, 3]
    assert data.classes == tuple(SPECIES)


def test_parts_are_exactly_the_part_masks_and_the_species_is_their_union() -> None:
    creatures = Creatures("test", 16, SIDE)
    data = opened()
    for index, sample in enumerate(data):
        drawn = creatures[index]
        maps = layers(sample)
        for part, mask in enumerate(drawn["masks"].as_subclass(Tensor)):
            assert torch.equal(maps[PART] == part, mask)
        animal = drawn["masks"].as_subclass(Tensor).any(0)
        species = len(PARTS) + int(drawn["label"])
        assert torch.equal(maps[OBJECT], torch.where(animal, species, -1))
        assert data.concepts[species] == creatures.classes[drawn["label"]]
        assert (sample["label"], sample["index"]) == (int(drawn["label"]), index)
    assert index == 15


def test_colours_are_those_of_the_image_as_it_is_drawn() -> None:
    data = opened()
    image = Creatures("test", 16, SIDE)[3]["image"].numpy()
    assert np.array_equal(layers(data[3])[COLOUR].numpy(), 14 + colour_names(image))
    seen = torch.cat([layers(sample)[COLOUR].unique() for sample in data]).unique() - 14
    assert {"black", "blue", "brown", "grey", "green", "white"} <= {COLOURS[i] for i in seen.tolist()}


def test_every_pixel_has_a_colour_and_a_texture_and_each_layer_holds_one_category() -> None:
    data = opened()
    for sample in data:
        maps = layers(sample)
        assert (maps[[COLOUR, TEXTURE]] >= 0).all()
        for category in range(4):
            shown = maps[category][maps[category] >= 0]
            assert (data.concept_category[shown] == category).all()


class _Chosen:
    """Stands for the random numbers of `paint`: these patterns, light 0, each texture cut at its corner."""

    def __init__(self, coat: int, ground: int) -> None:
        self.patterns = coat, ground

    def integers(self, _: object) -> np.ndarray:
        return np.array([*self.patterns, 0])

    def random(self, shape: tuple[int, ...] | None = None) -> np.ndarray | float:
        return 0.0 if shape is None else np.zeros(shape)


def painted(coat: int, ground: int, contrast: float) -> Drawing:
    """A scene whose surfaces are all of one grey, with a pattern that is lighter by a contrast in grey levels."""
    scene = compose(next(iter(SPECIES.values())), np.random.default_rng(3))
    colours = np.full_like(scene.colours, 0.4)
    colours[:, 1] += contrast / 255
    return paint(scene._replace(colours=colours), SIDE, _Chosen(coat, ground))


@pytest.mark.parametrize(
    ("pattern", "texture"), [(0, 0), (7, 0), (8, 1), (15, 1), (16, 2), (23, 2)], ids=lambda number: str(number)
)
def test_texture_is_the_kind_of_pattern_of_the_coat_on_the_animal_and_of_the_ground_elsewhere(
    pattern: int, texture: int
) -> None:
    coat, ground = painted(pattern, 0, 40), painted(0, pattern, 40)
    animal = coat.part > 0
    assert 100 < animal.sum() < SIDE**2 - 100
    assert (coat.texture()[animal] == texture).all()
    assert (coat.texture()[~animal] == 0).all()
    assert (ground.texture()[animal] == 0).all()
    assert (ground.texture()[~animal] == texture).all()


def test_a_striped_coat_shows_on_the_pixels_that_are_called_striped() -> None:
    striped, plain = painted(8, 0, 60), painted(0, 0, 60)
    differs = torch.from_numpy((striped.image != plain.image).any(0))
    called = torch.from_numpy(striped.texture() == 1)
    # a pixel at the rim shows two surfaces and is called after one
    within_a_pixel = torch.nn.functional.max_pool2d(called[None].float(), 3, 1, 1)[0] > 0
    assert within_a_pixel[differs].all()
    assert 0.3 < differs[called].float().mean() < 0.9  # about half of a striped surface is of its own colour


def test_a_pattern_fainter_than_the_noise_is_plain() -> None:
    assert (painted(8, 16, 7).texture() > 0).all()
    assert (painted(8, 16, 6).texture() == 0).all()


def test_eyes_are_plain_whatever_the_coat() -> None:
    scene = compose(next(iter(SPECIES.values())), np.random.default_rng(4))  # its coat has 40 grey levels of contrast
    drawing = paint(scene, 2 * SIDE, _Chosen(8, 8))
    eyes = np.isin(drawing.surface, [4 * (1 + PIECE_INDEX[name]) for name in ("eye", "pupil")])
    assert eyes.any()
    assert (drawing.texture()[eyes] == 0).all()
    assert (drawing.texture()[(drawing.part > 0) & ~eyes] == 1).all()


@pytest.mark.parametrize("size", [16, 32, 100])
def test_label_maps_of_another_size_are_the_nearest_drawn_pixels(size: int) -> None:
    full, other = opened()[5], opened(size)[5]
    centres = [int((i + 0.5) * SIDE / size) for i in range(size)]
    assert torch.equal(layers(other), layers(full)[:, centres][:, :, centres])
    assert torch.equal(other["image"], full["image"])


def test_images_of_another_size_leave_the_label_maps_alone() -> None:
    full, other = opened()[5], opened(image_size=48)[5]
    assert other["image"].shape == (3, 48, 48)
    assert torch.equal(layers(other), layers(full))


def test_samples_batch_as_they_are() -> None:
    data = opened(32)
    batch = next(iter(DataLoader(data, batch_size=3)))
    assert batch["image"].shape == (3, 3, SIDE, SIDE)
    assert batch["image"].dtype == torch.float32
    assert torch.equal(batch["label_maps"][2], layers(data[2]))
    assert batch["label"].tolist() == [data[i]["label"] for i in range(3)]
    assert batch["index"].tolist() == [0, 1, 2]


def test_a_position_outside_the_set_is_none() -> None:
    with pytest.raises(IndexError, match="0 to 15, not 16"):
        opened()[16]


def test_the_fingerprint_changes_with_images_sizes_and_the_naming_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened().fingerprint()
    assert opened().fingerprint() == first
    seen = {first, opened(32).fingerprint(), opened(image_size=32).fingerprint(), opened(seed=1).fingerprint()}
    monkeypatch.setattr(creature_concepts, "colour_names", lambda rgb: 10 - colour_names(rgb))
    assert len(seen | {opened().fingerprint()}) == 5


def test_a_size_without_pixels_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^size was expected to be a height and a width"):
        opened(0)


def test_concepts_load_neither_lightning_nor_wandb() -> None:
    code = (
        "import sys, interpretable.concepts; "
        "print(sorted({'pytorch_lightning', 'wandb', 'lightning'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
