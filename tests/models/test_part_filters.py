import pytest
import torch
from torch import nn

from interpretable.models import PartFilters


def maps(*, batch: int = 3, filters: int = 5, h: int = 9, w: int = 12) -> torch.Tensor:
    return torch.rand(batch, filters, h, w, dtype=torch.float64)


def test_a_mask_keeps_each_peak_and_never_raises_a_cell() -> None:
    z = maps()
    masked = PartFilters(5).mask(z)
    assert torch.equal(masked.flatten(2).amax(-1), z.flatten(2).amax(-1))
    assert torch.equal(masked.flatten(2).argmax(-1), z.flatten(2).argmax(-1))
    assert (masked <= z).all()
    assert (masked >= 0).all()


def test_a_mask_falls_linearly_to_zero_a_quarter_of_the_map_away() -> None:
    z = torch.ones(1, 1, 8, 16)
    z[0, 0, 3, 7] = 2.0
    masked = PartFilters(1).mask(z)
    assert masked[0, 0, 3].tolist() == [0, 0, 0, 0, 0.25, 0.5, 0.75, 2, 0.75, 0.5, 0.25, 0, 0, 0, 0, 0]
    assert masked[0, 0, :, 7].tolist() == [0, 0, 0.5, 2, 0.5, 0, 0, 0]


def test_the_gradient_through_a_mask_is_the_mask_itself() -> None:
    z = maps().requires_grad_()
    layer = PartFilters(5)
    upstream = torch.randn_like(z)
    masked = layer.mask(z)
    (gradient,) = torch.autograd.grad(masked, z, upstream)
    # d(z·m)/dz = m alone: the template moves with the peak, but no gradient flows through its place.
    torch.testing.assert_close(gradient, upstream * (masked / z).detach(), rtol=1e-12, atol=1e-12)


def test_the_plain_twin_passes_maps_through_and_has_the_same_parameters() -> None:
    torch.manual_seed(3)
    masked = PartFilters(5, convolution=True)
    torch.manual_seed(3)
    plain = PartFilters(5, convolution=True, mask=False)
    z = maps()
    assert torch.equal(plain.mask(z), z)
    assert masked.state_dict().keys() == plain.state_dict().keys() == {"conv.weight", "conv.bias", "beta"}
    assert all(torch.equal(a, b) for a, b in zip(masked.parameters(), plain.parameters(), strict=True))


def test_the_first_layer_has_no_parameters_and_rectifies_only() -> None:
    x = torch.randn(2, 4, 7, 7)
    first = PartFilters(4)
    assert not list(first.parameters())
    assert torch.equal(first(x), x.clamp(min=0))
    assert torch.equal(first(first(x)), first(x))


def test_a_further_layer_is_a_he_initialised_convolution_of_as_many_filters() -> None:
    layer = PartFilters(256, convolution=True)
    assert isinstance(layer.conv, nn.Conv2d)
    assert layer.conv.weight.shape == (256, 256, 3, 3)
    assert layer.conv.weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
    assert (layer.conv.bias == 0).all()
    x = torch.randn(2, 256, 7, 11)
    assert torch.equal(layer(x), layer.conv(x).clamp(min=0))


def test_a_centroid_layer_sits_where_the_mass_is() -> None:
    z = torch.zeros(1, 1, 9, 9)
    z[0, 0, 0, 0], z[0, 0, 4:7, 4:7] = 1.1, 1.0
    by_peak, by_mass = PartFilters(1).mask(z), PartFilters(1, position="centroid").mask(z)
    assert by_peak[0, 0, 5, 5] == 0
    assert by_peak[0, 0, 0, 0] == z[0, 0, 0, 0]
    assert by_mass[0, 0, 5, 5] > 0
    assert by_mass[0, 0, 0, 0] == 0


def test_channels_beyond_the_share_of_part_filters_pass_unmasked() -> None:
    z = maps()
    layer = PartFilters(5, part_share=0.5)
    assert layer.num_filters == 3
    masked = layer.mask(z)
    assert torch.equal(masked[:, :3], PartFilters(3).mask(z[:, :3]))
    assert torch.equal(masked[:, 3:], z[:, 3:])
    assert not torch.equal(masked[:, 2], z[:, 2])


def test_each_filter_can_have_a_slope_of_its_own() -> None:
    z = maps(filters=2)
    layer = PartFilters(2)
    layer.beta.copy_(torch.tensor([3.0, 6.0]))
    masked = layer.mask(z)
    for c, beta in enumerate((3.0, 6.0)):
        assert torch.equal(masked[:, c : c + 1], PartFilters(1, beta=beta).mask(z[:, c : c + 1]))
