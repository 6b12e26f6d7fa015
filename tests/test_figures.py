import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from interpretable.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from interpretable.figures import COLOURS, OUTLINE, TopImageRow, draw_learning_curves, draw_top_images
from interpretable.receptive_field import ReceptiveField


def pixels_near(picture, colour, tolerance=0.1):
    return int((np.abs(picture[..., :3] - np.array(to_rgb(colour))).max(-1) < tolerance).sum())


def test_curves_show_training_and_validation_in_their_own_colours(tmp_path):
    history = [{"epoch": float(e), "train/loss": 2.0 - e, "val/loss": 2.5 - e} for e in range(2)]
    path = tmp_path / "new" / "curves.png"
    draw_learning_curves(history, path)
    both = matplotlib.image.imread(path)
    assert pixels_near(both, COLOURS["train"]) > 100
    assert pixels_near(both, COLOURS["val"]) > 100
    draw_learning_curves([{k: v for k, v in epoch.items() if k != "val/loss"} for epoch in history], path)
    assert pixels_near(matplotlib.image.imread(path), COLOURS["val"]) == 0
    assert [file.name for file in path.parent.iterdir()] == ["curves.png"]


@pytest.mark.parametrize("silent", [False, True])
def test_the_outline_surrounds_the_unit_that_fires(tmp_path, silent):
    maps = torch.zeros(1, 1, 8, 8)
    if not silent:
        maps[0, 0, 2, 6] = 1.0
    blue = ((torch.tensor([0.0, 0.0, 1.0]) - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD))[:, None, None]
    path = tmp_path / "filters_layer1.png"
    rows = [TopImageRow("filter 3", blue.expand(1, 3, 64, 64), maps[0])]
    draw_top_images(rows, ReceptiveField(9, 8, 4.0), "top images", path)
    picture = matplotlib.image.imread(path)
    yellow = np.argwhere(np.abs(picture[..., :3] - np.array(to_rgb(OUTLINE))).max(-1) < 0.1)
    assert (len(yellow) == 0) == silent
    if not silent:
        photograph = np.argwhere(np.abs(picture[..., :3] - [0, 0, 1]).max(-1) < 0.1)
        low, high = photograph.min(0), photograph.max(0)
        row, column = (yellow.mean(0) - low) / (high - low) * 64
        assert row == pytest.approx(8 * 2 + 4, abs=2)
        assert column == pytest.approx(8 * 6 + 4, abs=2)


def test_the_outline_of_a_region_at_the_border_is_closed(tmp_path):
    maps = torch.zeros(1, 8, 8)
    maps[0, 0, 3] = 1.0
    path = tmp_path / "filters_layer1.png"
    draw_top_images([TopImageRow("top", torch.zeros(1, 3, 64, 64), maps)], ReceptiveField(9, 8, 4.0), "", path)
    picture = matplotlib.image.imread(path)
    grey = np.argwhere(np.abs(picture[..., :3] - np.array(IMAGENET_MEAN)).max(-1) < 0.1)
    low, high = grey.min(0), grey.max(0)
    yellow = np.argwhere(np.abs(picture[..., :3] - np.array(to_rgb(OUTLINE))).max(-1) < 0.2)
    rows, columns = ((yellow - low) / (high - low) * 64).T
    along_the_border = columns[rows < 2]
    assert np.ptp(along_the_border) > 6
    assert np.diff(np.unique(along_the_border)).max() < 2
