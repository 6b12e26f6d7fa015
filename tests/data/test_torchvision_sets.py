import numpy as np
import pytest
import torch
import torchvision
from drawn import draw_cifar10, draw_fashion_mnist, draw_food101, draw_image_folder
from PIL import Image
from torchvision.datasets.utils import verify_str_arg

from interpretable.data import TorchvisionImages
from interpretable.data.torchvision_splits import accepted_options, own_splits
from interpretable.errors import DataError

SPLITS = ("train", "validation", "test")


def test_cifar10_is_read_and_every_training_image_is_in_train_or_validation(tmp_path, monkeypatch):
    labels = draw_cifar10(tmp_path, monkeypatch)
    train, validation, test = (TorchvisionImages("CIFAR10", tmp_path, split) for split in SPLITS)
    assert (len(train), len(validation), len(test)) == (40, 10, 10)
    assert validation.labels.bincount().tolist() == [1] * 10
    rows = torch.cat([train.groups, validation.groups])
    assert sorted(rows.tolist()) == list(range(50))
    assert torch.cat([train.labels, validation.labels]).tolist() == [labels[row] for row in rows]
    expected = torchvision.datasets.CIFAR10(tmp_path)[int(train.groups[7])]
    sample = train[7]
    assert torch.equal(sample["image"], torch.from_numpy(np.asarray(expected[0]).copy()).permute(2, 0, 1))
    assert (sample["label"].item(), sample["index"]) == (expected[1], 7)
    assert sample["landmarks"].shape == (0, 2)
    assert sample["boxes"].shape == (0, 4)
    assert train.parts == ()


def test_classes_select_and_order_the_labels_of_every_split(tmp_path, monkeypatch):
    draw_cifar10(tmp_path, monkeypatch)
    test = TorchvisionImages("CIFAR10", tmp_path, "test", classes=["truck", "cat"])
    assert test.classes == ("truck", "cat")
    original = torchvision.datasets.CIFAR10(tmp_path, train=False)
    assert test.labels.tolist() == [{9: 0, 3: 1}[label] for label in original.targets if label in (9, 3)]
    assert torch.equal(test[0]["image"][:, 0, 0], torch.from_numpy(original.data[original.targets.index(3)][0, 0]))
    with pytest.raises(DataError, match=r"did you mean 'truck'"):
        TorchvisionImages("CIFAR10", tmp_path, classes=["trucks"])


def test_fashion_mnist_becomes_rgb(tmp_path):
    images, labels = draw_fashion_mnist(tmp_path)
    train = TorchvisionImages("FashionMNIST", tmp_path)
    assert train.classes[0] == "T-shirt/top"
    assert train.labels.tolist() == labels[train.groups].tolist()
    expected = torch.from_numpy(images[train.groups[3]]).expand(3, -1, -1)
    assert torch.equal(train[3]["image"], expected)


def test_food101_is_read_by_its_lists(tmp_path):
    draw_food101(tmp_path)
    train, validation, test = (
        TorchvisionImages("Food101", tmp_path, split, classes=["waffles", "ramen"]) for split in SPLITS
    )
    assert [data.labels.bincount().tolist() for data in (train, validation, test)] == [[5, 5], [1, 1], [2, 2]]
    assert test[0]["image"].shape == (3, 20, 30)
    ramen = np.asarray(Image.open(tmp_path / "food-101/images/ramen/6.jpg"))
    assert torch.equal(test[0]["image"], torch.from_numpy(ramen.copy()).permute(2, 0, 1))
    assert test[0]["label"] == 1


@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_an_image_folder_uses_its_own_validation_folder(tmp_path, name):
    root = draw_image_folder(tmp_path, {"train": {"a": 5, "b": 4}, name: {"a": 3, "b": 2}, "test": {"a": 1, "b": 1}})
    sizes = [len(TorchvisionImages("ImageFolder", root, split)) for split in SPLITS]
    assert sizes == [9, 5, 2]


def test_an_image_folder_without_validation_takes_it_from_train(tmp_path):
    root = draw_image_folder(tmp_path, {"train": {"a": 10, "b": 20}, "test": {"a": 1, "b": 1}})
    train, validation = (TorchvisionImages("ImageFolder", root, split) for split in ("train", "validation"))
    assert train.labels.bincount().tolist() == [9, 18]
    assert validation.labels.bincount().tolist() == [1, 2]


def test_the_training_folder_names_the_classes_of_a_folder_that_lacks_one(tmp_path):
    root = draw_image_folder(tmp_path, {"train": {"a": 2, "b": 2, "c": 2}, "test": {"b": 2, "c": 1}})
    test = TorchvisionImages("ImageFolder", root, "test")
    assert test.classes == ("a", "b", "c")
    assert test.labels.tolist() == [1, 1, 2]
    assert TorchvisionImages("ImageFolder", root, "test", classes=["c", "b"]).labels.tolist() == [1, 1, 0]


def test_what_an_image_folder_lacks_is_said(tmp_path):
    root = draw_image_folder(tmp_path / "x", {"train": {"a": 2, "b": 2}})
    with pytest.raises(DataError, match="has no test split"):
        TorchvisionImages("ImageFolder", root, "test")
    draw_image_folder(root, {"test": {"a": 1, "B": 1}})
    with pytest.raises(DataError, match=r"test / B is a class that .*train does not have"):
        TorchvisionImages("ImageFolder", root)
    with pytest.raises(DataError, match=r"x/train has no train"):
        TorchvisionImages("ImageFolder", root / "train")
    with pytest.raises(DataError, match=r"nowhere is no folder"):
        TorchvisionImages("ImageFolder", root / "nowhere")


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    root = draw_image_folder(tmp_path, {"train": {"a": 4, "b": 4}})
    data = TorchvisionImages("ImageFolder", root)
    file = data._images.samples[int(data.groups[2])][0]
    (tmp_path / file).write_text("no image")
    with pytest.raises(DataError, match=rf"image {data.groups[2]} of torchvision's ImageFolder .*{file}"):
        data[2]
    (root / "train/a/0.png").write_text("no image")
    with pytest.raises(DataError, match=r"image 0 of torchvision's ImageFolder"):
        TorchvisionImages("ImageFolder", root)


@pytest.mark.parametrize("name", ["CIFAR10", "FashionMNIST", "Food101", "SVHN", "DTD", "STL10", "Flowers102", "CelebA"])
def test_a_missing_set_is_said_with_its_root_and_how_to_get_it(tmp_path, name):
    with pytest.raises(DataError, match=rf"torchvision's {name} was expected under root={tmp_path}.*download: true"):
        TorchvisionImages(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DTD", {"train": "train", "validation": "val", "test": "test"}),
        ("Flowers102", {"train": "train", "validation": "val", "test": "test"}),
        ("FGVCAircraft", {"train": "train", "validation": "val", "test": "test"}),
        ("OxfordIIITPet", {"train": "trainval", "test": "test"}),
        ("SVHN", {"train": "train", "test": "test"}),
        ("STL10", {"train": "train", "test": "test"}),
        ("Country211", {"train": "train", "validation": "valid", "test": "test"}),
        ("GTSRB", {"train": "train", "test": "test"}),
        ("ImageNet", {"train": "train", "test": "val"}),
        ("Imagenette", {"train": "train", "test": "val"}),
        ("StanfordCars", {"train": "train", "test": "test"}),
    ],
)
def test_the_splits_of_a_set_are_those_its_class_accepts(tmp_path, name, expected):
    splits = own_splits(getattr(torchvision.datasets, name), {"root": str(tmp_path)})
    assert {split: arguments["split"] for split, arguments in splits.items()} == expected


def test_where_a_class_has_both_train_and_split_the_split_is_an_option():
    emnist = torchvision.datasets.EMNIST
    assert own_splits(emnist, {"split": "letters"})["test"] == {"split": "letters", "train": False}
    assert "split" in accepted_options(emnist)
    assert accepted_options(torchvision.datasets.CIFAR10) == ["download"]
    assert "split" not in accepted_options(torchvision.datasets.Food101)


class _Attributes(torchvision.datasets.VisionDataset):
    """Stands in for CelebA: a vector of attributes an image, and a list of names with an empty one at its end."""

    def __init__(self, root, split="train", download=False):
        super().__init__(root)
        verify_str_arg(split, "split", ("train", "valid", "test", "all"))
        self.attr = torch.tensor([[0, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 1]])
        self.attr_names = ["bald", "blond", "hat", ""]

    def __getitem__(self, index):
        return Image.new("RGB", (8, 6)), self.attr[index]

    def __len__(self):
        return 4


def test_vectors_of_classes_stay_multi_hot_floats_and_classes_choose_columns(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets, "CelebA", _Attributes)
    data = TorchvisionImages("CelebA", tmp_path, classes=["hat", "bald"])
    assert data.classes == ("hat", "bald")
    assert data.labels.tolist() == [[1, 0], [0, 1], [0, 1], [1, 0]]
    assert data[2]["label"].dtype == torch.float32
    assert data[2]["label"].tolist() == [0, 1]
    assert TorchvisionImages("CelebA", tmp_path).classes == ("bald", "blond", "hat")


def test_labels_without_an_attribute_are_found_by_decoding(monkeypatch):
    data = TorchvisionImages("FakeData", None, size=30, image_size=(3, 8, 9), num_classes=4)
    original = torchvision.datasets.FakeData(size=30, image_size=(3, 8, 9), num_classes=4)
    assert data.labels.tolist() == [int(original[int(row)][1]) for row in data.groups]
    assert data.classes == ("0", "1", "2", "3")
    with pytest.raises(DataError, match="FakeData has no test split"):
        TorchvisionImages("FakeData", None, "test")


def test_an_attribute_that_is_not_the_label_is_not_believed(tmp_path, monkeypatch):
    class Misleading(_Attributes):
        targets = ("seven", "eight", "nine", "ten")
        labels = (5, 6, 7, 8)

        def __getitem__(self, index):
            return Image.new("L", (8, 6)), [2, 1, 0, 2][index]

    monkeypatch.setattr(torchvision.datasets, "CelebA", Misleading)
    data = TorchvisionImages("CelebA", tmp_path, "test")
    assert data.labels.tolist() == [2, 1, 0, 2]
    assert data[0]["image"].shape == (3, 6, 8)


def test_synonyms_and_repeated_names_give_one_name_a_class(tmp_path, monkeypatch):
    class Synonyms(_Attributes):
        targets = (0, 1, 2, 1)
        classes = (("tench", "Tinca tinca"), ("crane",), ("crane",))

        def __getitem__(self, index):
            return Image.new("L", (8, 6)), self.targets[index]

    monkeypatch.setattr(torchvision.datasets, "CelebA", Synonyms)
    assert TorchvisionImages("CelebA", tmp_path, "test").classes == ("tench", "crane (1)", "crane (2)")


def test_a_set_that_is_not_for_classification_is_refused(tmp_path, monkeypatch):
    class Captions(_Attributes):
        def __getitem__(self, index):
            return Image.new("L", (8, 6)), "a dog on a lawn"

    monkeypatch.setattr(torchvision.datasets, "CelebA", Captions)
    with pytest.raises(DataError, match=r"Captions gives a str, not a class"):
        TorchvisionImages("CelebA", tmp_path)


def test_the_fingerprint_changes_with_split_and_classes(tmp_path):
    draw_food101(tmp_path)

    def fingerprint(**arguments):
        return TorchvisionImages("Food101", tmp_path, **arguments).fingerprint()

    assert fingerprint() == fingerprint()
    several = {fingerprint(), fingerprint(split="test"), fingerprint(classes=["ramen"]), fingerprint(validation=0.3)}
    assert len(several) == 4
