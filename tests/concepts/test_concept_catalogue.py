from pathlib import Path

import pytest
import torch
from data.drawn import draw_part_folder
from drawn_broden import draw_broden

from interpretable.concepts import BrodenConcepts, CreatureConcepts, open_concepts
from interpretable.data.creatures import Creatures
from interpretable.errors import ConfigurationError, DataError

SIZES = ((32, 48), (16, 24))


def test_creatures_are_drawn_for_the_longer_side_of_the_image() -> None:
    data = open_concepts("creatures", *SIZES)
    expected = CreatureConcepts(Creatures("test", image_size=48), *SIZES)
    assert data.fingerprint() == expected.fingerprint()
    assert data[3]["image"].shape == (3, 32, 48)
    assert data[3]["label_maps"].shape == (4, 16, 24)
    validation = open_concepts("creatures", *SIZES, "validation")
    assert not torch.equal(validation[0]["image"], data[0]["image"])


def test_broden_is_all_images_unless_a_split_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_broden(tmp_path / "broden")
    monkeypatch.setenv("CONCEPTS", str(tmp_path))
    data = open_concepts("broden:$CONCEPTS/broden", *SIZES)
    assert data.fingerprint() == BrodenConcepts(tmp_path / "broden", *SIZES).fingerprint()
    assert len(data) == 3
    assert len(open_concepts(f"broden:{tmp_path / 'broden'}", *SIZES, "train")) == 2


def test_a_part_annotated_folder_is_its_test_images_unless_a_split_is_asked_for(tmp_path: Path) -> None:
    root = draw_part_folder(tmp_path / "parts")
    (root / "masks").mkdir()
    assert len(open_concepts(f"folder:{root}", *SIZES)) == 6
    assert len(open_concepts(f"folder:{root}", *SIZES, "train")) > 6


@pytest.mark.parametrize(("name", "expected"), [("voc", "VOCSegmentation"), ("pets", "OxfordIIITPet")])
def test_a_folder_without_the_set_is_refused(name: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{expected} was expected under root={tmp_path}, but is not there"):
        open_concepts(f"{name}:{tmp_path}", *SIZES)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("brodn:here", "found 'brodn:here'; did you mean broden"),
        ("creature", "found 'creature'; did you mean creatures"),
        ("xyz", "found 'xyz'; choose one of them"),
        ("", "found ''; choose one of them"),
        ("voc", "voc is read from files, found 'voc'; write voc:FOLDER"),
        ("pets:", "pets is read from files, found 'pets:'; write pets:FOLDER"),
        ("creatures:here", "creatures are drawn, found the folder 'here'; write creatures alone"),
        ("broden:$NOT_SET_ANYWHERE/x", "needs the environment variable NOT_SET_ANYWHERE"),
    ],
)
def test_a_name_that_is_none_is_refused_with_the_closest(spec: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_concepts(spec, *SIZES)
    assert message in str(caught.value)


def test_a_split_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="train, validation or test, found 'val'"):
        open_concepts("creatures", *SIZES, "val")
