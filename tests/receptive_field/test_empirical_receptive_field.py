import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from oracles.empirical_receptive_field import mean_discrepancy, size
from torch import Tensor, nn

from interpretable.errors import MetricError, ModelError
from interpretable.receptive_field import (
    EmpiricalReceptiveField,
    Occluder,
    ReceptiveField,
    empirical_receptive_field,
    region_masks,
    theoretical_receptive_field,
)

PIXEL = Occluder(side=1, stride=1)


def averaging(kernel: int, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    """A convolution of one filter that weighs every pixel the same."""
    conv = nn.Conv2d(3, 1, kernel, stride, padding, bias=False)
    nn.init.ones_(conv.weight)
    return conv


def measured(module: nn.Module, images: Tensor, **options: object) -> EmpiricalReceptiveField:
    """The field of filter 0 on all the images."""
    top = torch.arange(len(images))[None]
    field = options.pop("field", None) or theoretical_receptive_field(module)
    return empirical_receptive_field(module, images, torch.tensor([0]), top, field, **options)


def displaced(window: Tensor) -> set[tuple[int, int]]:
    """Rows and columns from the central pixel of what is not zero."""
    half = [length // 2 for length in window.shape]
    return {(int(r) - half[0], int(c) - half[1]) for r, c in window.nonzero()}


def square(first: int, last: int) -> set[tuple[int, int]]:
    return {(r, c) for r in range(first, last + 1) for c in range(first, last + 1)}


def test_a_pixel_that_is_hidden_alone_shows_exactly_the_kernel() -> None:
    result = measured(averaging(5), torch.rand(3, 3, 16, 16), occluder=PIXEL, threshold=0.0)
    assert displaced(result.discrepancy[0]) == square(-2, 2)
    assert result.size.tolist() == [5.0]
    assert result.images.tolist() == [3]


def test_nothing_outside_the_kernel_changes_the_unit_even_where_the_stated_field_is_larger() -> None:
    wide = ReceptiveField(15, 1, 2.5)
    images = torch.rand(3, 3, 24, 24, dtype=torch.float64)
    result = measured(averaging(5).double(), images, occluder=PIXEL, threshold=0.0, field=wide)
    assert displaced(result.discrepancy[0] > 1e-12) == square(-2, 2)


@pytest.mark.parametrize(("kernel", "side", "stride"), [(3, 5, 1), (7, 5, 1), (5, 11, 3), (8, 11, 3), (9, 4, 2)])
def test_a_field_is_no_wider_than_kernel_and_occluder(kernel: int, side: int, stride: int) -> None:
    images = torch.rand(4, 3, 40, 40)
    result = measured(averaging(kernel), images, occluder=Occluder(side, stride), threshold=0.0)
    sides = [len({place[axis] for place in displaced(result.discrepancy[0])}) for axis in (0, 1)]
    # Several images fall differently on the grid of places, which adds up to a stride less one at either end.
    assert max(sides) <= kernel + side - 1 + 2 * (stride - 1)
    assert min(sides) >= kernel + side - stride
    if stride == 1:
        assert result.size.item() == kernel + side - 1


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 6), (6, 3)])
def test_a_filter_that_looks_at_one_pixel_has_its_field_at_that_offset(row: int, column: int) -> None:
    conv = nn.Conv2d(3, 1, 7, 2, 1, bias=False)
    nn.init.zeros_(conv.weight)
    conv.weight.data[:, :, row, column] = 1.0
    result = measured(conv, torch.rand(4, 3, 30, 34), occluder=PIXEL)
    assert displaced(result.region[0]) == {(row - 3, column - 3)}
    assert result.size.item() == 1.0
    # 7×7, stride 2, padding 1: unit j is centred at 2.5 + 2j.
    assert torch.equal(result.positions % 2, torch.full((1, 4, 2), 0.5))


@pytest.mark.parametrize("kernel", [3, 4])
def test_the_centre_is_that_of_the_theoretical_field(kernel: int) -> None:
    net = nn.Sequential(averaging(kernel, 2, 1), nn.AvgPool2d(2))
    field = theoretical_receptive_field(net)
    result = measured(net, torch.rand(5, 3, 32, 32), occluder=PIXEL, threshold=0.0)
    rows, columns = zip(*displaced(result.discrepancy[0]), strict=True)
    for pixels in (rows, columns):
        assert max(pixels) - min(pixels) + 1 == field.size
        # The centre of the pixels min … max, from the first edge of the pixel that holds the unit's centre.
        assert (min(pixels) + max(pixels) + 1) / 2 == (field.offset + field.stride) % 1


def network() -> nn.Sequential:
    """Three filters, of which the last is often silent; a stride, an even kernel and padding."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 4, 2, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, 1, 1), nn.ReLU()
    )
    nn.init.constant_(net[3].bias, 0.2)
    net[3].bias.data[2] = -0.2
    return net.double()


def wider(net: nn.Sequential) -> nn.Sequential:
    """With a last convolution that sees more than a small image."""
    conv = nn.Conv2d(3, 3, 3, padding=4, dilation=4)
    nn.init.constant_(conv.bias, 0.1)
    return nn.Sequential(*net, conv, nn.ReLU()).double()


class Gated(nn.Module):
    """Weighs channels by what it sees of the whole map, as squeeze-and-excitation does."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        maps = self.module(x)
        return maps * torch.sigmoid(10 * maps.mean((2, 3), keepdim=True))


@pytest.mark.parametrize("batch_size", [7, 256])
@pytest.mark.parametrize("occluder", [Occluder(5, 3, 1), Occluder(4, 1, 2), Occluder(6, 3)])
@pytest.mark.parametrize("change", [nn.Sequential, wider, Gated])
def test_the_measurement_equals_the_literal_protocol(
    change: Callable[[nn.Module], nn.Module], occluder: Occluder, batch_size: int
) -> None:
    net = change(network())
    images = torch.randn(6, 3, 14, 17, dtype=torch.float64)
    filters, top = torch.tensor([2, 0]), torch.tensor([[0, 1, 2, 3], [5, 1, 3, 0]])
    field = theoretical_receptive_field(net)
    result = empirical_receptive_field(net, images, filters, top, field, occluder=occluder, batch_size=batch_size)
    places = math.prod(len(occluder.corners(length)) for length in (14, 17))
    net.eval()

    def literal_network(image: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net(torch.from_numpy(image)[None])[0].numpy()

    for number, channel in enumerate(filters.tolist()):
        expected = mean_discrepancy(
            literal_network,
            [images[i].numpy() for i in top[number].tolist()],
            channel,
            field.offset,
            field.stride,
            occluder.side,
            occluder.stride,
            occluder.noise(places, 3).double().numpy(),
        )
        window = result.discrepancy[number]
        half = [length // 2 for length in window.shape]
        found = {(r, c): float(window[r + half[0], c + half[1]]) for r, c in displaced(window)}
        if change is Gated:  # a gate sees the occluder from outside the field, which does not count
            expected = {key: value for key, value in expected.items() if max(map(abs, key)) < field.size / 2 - 1}
            found = {key: value for key, value in found.items() if key in expected}
        assert len(expected) > 20
        assert found == pytest.approx({key: value for key, value in expected.items() if value > 1e-13}, abs=1e-12)
        if change is not Gated:
            assert result.size[number].item() == pytest.approx(size(expected, 0.2), abs=1e-12)
    if change is not wider:
        assert 0 < result.images[0] < 4  # the oracle leaves silent images out, so there must be some
        assert result.images[1] == 4


def test_silent_images_have_no_position_and_a_filter_without_an_image_no_size() -> None:
    conv = averaging(3)
    images = torch.rand(3, 3, 12, 12)
    images[1] *= -1
    field = theoretical_receptive_field(conv)
    result = empirical_receptive_field(conv, images, torch.tensor([0, 0]), torch.tensor([[0, 1], [1, 1]]), field)
    assert result.images.tolist() == [1, 0]
    assert result.positions.isnan().all(-1).tolist() == [[False, True], [True, True]]
    assert result.size[0] > 0
    assert result.size[1].isnan()
    assert not result.region[1].any()


def test_hiding_what_does_not_matter_gives_size_zero() -> None:
    conv = averaging(3)
    nn.init.zeros_(conv.weight)
    conv.bias = nn.Parameter(torch.ones(1))
    result = measured(conv, torch.rand(2, 3, 12, 12))
    assert result.size.tolist() == [0.0]
    assert result.images.tolist() == [2]


@pytest.mark.parametrize("change", [nn.Sequential, Gated])
def test_filters_together_equal_each_alone_in_any_order(change: Callable[[nn.Module], nn.Module]) -> None:
    net = change(network())
    images = torch.randn(5, 3, 20, 20, dtype=torch.float64)
    field = theoretical_receptive_field(network())
    filters, top = torch.tensor([0, 1, 2]), torch.tensor([[0, 3], [3, 4], [1, 0]])
    together = empirical_receptive_field(net, images, filters, top, field)
    for row in range(3):
        alone = empirical_receptive_field(net, images, filters[[row]], top[[row]].flip(1), field)
        assert alone.size.item() == together.size[row].item()
        torch.testing.assert_close(alone.discrepancy[0], together.discrepancy[row], rtol=1e-12, atol=1e-15)
        assert torch.equal(alone.positions.flip(1)[0].nan_to_num(), together.positions[row].nan_to_num())


class CountsPixels(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.pixels = 0

    def forward(self, x: Tensor) -> Tensor:
        self.pixels += x[:, 0].numel()
        return self.module(x)


def test_only_places_that_touch_a_field_are_run_and_only_the_field_is_where_that_is_less() -> None:
    conv = averaging(5)
    field = theoretical_receptive_field(conv)
    net = CountsPixels(conv)
    image = torch.rand(1, 3, 64, 64)
    empirical_receptive_field(net, image, torch.tensor([0]), torch.tensor([[0]]), field)
    # The whole image once, then the kernel's 5×5: twice intact and with at most 5² of 18² places of the occluder.
    assert 64**2 + (2 + 4**2) * 5**2 <= net.pixels <= 64**2 + (2 + 5**2) * 5**2
    net.pixels = 0
    filters = torch.zeros(200, dtype=torch.long)
    empirical_receptive_field(net, image, filters, filters[:, None], field)
    # The whole image for all of them: twice intact and with each place.
    assert net.pixels <= (2 + 5**2) * 64**2


def test_the_indices_of_the_images_pass_through_the_progress_bar_once() -> None:
    seen = []

    def progress(order: list[int]) -> list[int]:
        seen.extend(order)
        return order

    conv = averaging(3)
    top = torch.tensor([[3, 1], [1, 0]])
    field = theoretical_receptive_field(conv)
    empirical_receptive_field(conv, torch.rand(4, 3, 12, 12), torch.tensor([0, 0]), top, field, progress=progress)
    assert seen == [0, 1, 3]


def test_masks_lie_round_the_peaks_and_are_cut_off_at_the_border() -> None:
    region = torch.zeros(1, 5, 3, dtype=torch.bool)
    region[0, 1:3] = True  # the row above the centre and the centre's own
    positions = torch.tensor([[[4.5, 3.0], [0.0, 0.5], [-0.5, 5.5], [math.nan, math.nan]]])
    masks = region_masks(region, positions, (6, 7))
    expected = torch.zeros(1, 4, 6, 7, dtype=torch.bool)
    expected[0, 0, 2:4, 3:6] = True
    expected[0, 1, 0:1, 0:2] = True
    expected[0, 2, 4:6, 0:1] = True
    assert torch.equal(masks, expected)


def test_a_mask_covers_exactly_the_pixels_that_the_unit_sees() -> None:
    conv = averaging(6, 2, 2)
    images = torch.rand(6, 3, 18, 22)
    result = measured(conv, images, occluder=PIXEL, threshold=0.0)
    masks = region_masks(result.region, result.positions, (18, 22))[0]
    for image, mask in zip(images, masks, strict=True):
        leaf = image[None].clone().requires_grad_()
        (seen,) = torch.autograd.grad(conv(leaf).amax(), leaf)
        assert torch.equal(mask, seen[0].sum(0) > 0)


def test_a_measurement_leaves_nothing_behind() -> None:
    net = nn.Sequential(nn.ReLU(inplace=True), network().float(), nn.Dropout())
    net[1].eval()
    before = copy.deepcopy(net.state_dict())
    modes = [layer.training for layer in net.modules()]
    images = torch.randn(2, 3, 14, 14)
    originals = images.clone()
    random_state = torch.get_rng_state()
    result = measured(net, images)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [layer.training for layer in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(images, originals)
    assert not any(part.is_inference() for part in result)


@pytest.mark.parametrize(
    ("net", "images", "error", "sentence"),
    [
        (averaging(3), [torch.rand(3, 10, 30)] * 2, MetricError, "as large as the occluder, got 10 pixels"),
        (averaging(3), [torch.rand(3, 20, 20), torch.rand(3, 20, 21)], MetricError, "one size, got .* for image 1"),
        (averaging(3), [torch.rand(3, 20, 20), torch.full((3, 20, 20), math.nan)], MetricError, "NaN on image 1"),
        (averaging(3), [], MetricError, "is a mean over images"),
        (nn.Sequential(averaging(3), nn.Flatten()), [torch.rand(3, 20, 20)], ModelError, "feature map"),
    ],
    ids=["small", "sizes", "nan", "none", "flat"],
)
def test_what_has_no_field_is_refused_in_a_sentence(
    net: nn.Module, images: list[Tensor], error: type, sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        measured(net, images, field=ReceptiveField(3, 1, 1.5))
