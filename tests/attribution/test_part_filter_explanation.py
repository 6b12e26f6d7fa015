import pytest
import torch
from explained_nets import CLASSES, Holder, chain, drawn_images, drawn_weights, interpretable
from torch import nn
from torch.nn import functional as F

from interpretable.activations import rationales
from interpretable.attribution.cam import CAM
from interpretable.attribution.part_filters import PartFilterExplanation
from interpretable.errors import AttributionError
from interpretable.models import InterpretableCNN
from interpretable.upsampling import upsample

ALL = torch.arange(CLASSES).expand(3, -1)
same = {"rtol": 0, "atol": 1e-12}


def with_deep_head(**options: object) -> InterpretableCNN:
    """A rectifier in place and a convolution above the part filters, so that gradients differ from cell to cell."""
    layers = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 4, 3),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(4 * 6 * 8, CLASSES),
    )
    options = {"cut": "0", "part_layers": 2, "beta": 2.0, **options}
    return InterpretableCNN.from_module(drawn_weights(layers), example=drawn_images(1), **options).double().eval()


NETS = {
    "linear head": interpretable,
    "two layers": lambda: interpretable(part_layers=2),
    "plain twin": lambda: interpretable(mask=False),
    "backbone's own map": lambda: interpretable(first_layer="backbone"),
    "a share of part filters": lambda: interpretable(part_share=0.5),
    "deep head": with_deep_head,
    "held": lambda: Holder(interpretable()),
}


@pytest.mark.parametrize("name", NETS)
def test_filters_and_intercept_sum_to_the_logit_and_so_do_cells(name: str) -> None:
    model, images = NETS[name](), drawn_images()
    found = PartFilterExplanation(batch_size=2).explain(model, images, ALL)
    with torch.no_grad():
        logits = model(images)
    assert found.contributions.shape == (3, CLASSES, 6)
    torch.testing.assert_close(found.contributions.sum(-1) + found.intercepts, logits, **same)
    torch.testing.assert_close(found.attributions.sum((2, 3, 4)) + found.intercepts, logits, **same)
    torch.testing.assert_close(PartFilterExplanation()(model, images, ALL), found.attributions, **same)
    assert found.contributions.abs().max() > 1e-4


@pytest.mark.parametrize("mask", [True, False])
def test_cells_are_the_gradient_at_what_the_head_sees_times_what_it_sees(mask: bool) -> None:
    model, images, labels = with_deep_head(mask=mask), drawn_images(), [4, 0, 2]
    top = model.part_filters[-1]
    found = PartFilterExplanation(top=6).explain(model, images, labels)
    for image, label in enumerate(labels):
        with torch.no_grad():
            seen = top.mask(model.forward_features(images[image : image + 1])[-1])
        seen.requires_grad_()
        logit = model.head(seen.clone())[0, label]
        (gradient,) = torch.autograd.grad(logit, seen)
        cells = (gradient * seen)[0].detach()
        assert gradient[0, 0].unique().numel() > 9
        order = sorted(range(6), key=lambda number, cells=cells: -cells[number].sum().item())
        torch.testing.assert_close(found.attributions[image, 0], cells.sum(0), **same)
        torch.testing.assert_close(found.contributions[image], cells.sum((1, 2)), **same)
        torch.testing.assert_close(found.intercepts[image], logit.detach() - cells.sum(), **same)
        assert found.filters[image].tolist() == order
        torch.testing.assert_close(found.filter_maps[image], cells[order], **same)


def test_with_a_linear_head_it_is_the_class_activation_map_over_its_cells_and_intercepts_are_biases() -> None:
    model, images = interpretable(), drawn_images()
    found = PartFilterExplanation().explain(model, images, ALL)
    torch.testing.assert_close(80 * found.attributions, CAM()(model, images, ALL), **same)
    torch.testing.assert_close(found.intercepts, model.head.fc.bias.detach().expand(3, -1), **same)


def test_it_is_made_of_the_rationales_of_the_head() -> None:
    model, images = with_deep_head().float(), drawn_images().float()
    with torch.no_grad():
        seen = model.part_filters[-1].mask(model.forward_features(images)[-1])
    found = PartFilterExplanation().explain(model, images, ALL)
    torch.testing.assert_close(found.intercepts, rationales(model.head, seen, ALL).intercepts, rtol=0, atol=1e-6)


def test_a_silent_filter_contributes_nothing_and_of_equal_filters_the_lowest_comes_first() -> None:
    model, images = interpretable(norm=False), drawn_images()
    with torch.no_grad():
        for layer in (model.part_filters[0].conv.weight, model.part_filters[0].conv.bias):
            layer[3] = -layer[3].abs()
            layer[5] = layer[2]
        model.part_filters[0].conv.bias[3] = -100
        model.head.fc.weight[:, 5] = model.head.fc.weight[:, 2]
    found = PartFilterExplanation(top=6).explain(model, images, ALL)
    assert not found.contributions[..., 3].any()
    assert torch.equal(found.contributions[..., 2], found.contributions[..., 5])
    places = found.filters.argsort(-1)
    assert (places[..., 2] < places[..., 5]).all()


def test_maps_of_the_top_filters_have_their_numbers_and_as_many_as_there_are() -> None:
    model, images = interpretable(), drawn_images()
    for top, count in ((1, 1), (4, 4), (20, 6)):
        found = PartFilterExplanation(top=top).explain(model, images, ALL)
        assert found.filter_maps.shape == (3, CLASSES, count, 8, 10)
        expected = found.contributions.gather(-1, found.filters)
        torch.testing.assert_close(found.filter_maps.sum((-2, -1)), expected, **same)
        assert torch.equal(expected, found.contributions.sort(-1, descending=True).values[..., :count])


def test_maps_are_upsampled_where_the_units_of_the_top_part_layer_lie() -> None:
    images = drawn_images()
    for net in (interpretable(part_layers=2), with_deep_head()):
        coarse = PartFilterExplanation().explain(net, images, 1)
        fine = PartFilterExplanation(upsample=True).explain(Holder(net), images, 1)
        for name in ("attributions", "filter_maps"):
            expected = upsample(getattr(coarse, name), (16, 20), net.receptive_fields[-1], (16, 20))
            torch.testing.assert_close(getattr(fine, name), expected, **same)
        assert torch.equal(fine.contributions, coarse.contributions)
        assert not torch.allclose(expected, F.interpolate(coarse.filter_maps, (16, 20), mode="bilinear"))


def test_networks_without_part_layers_too_few_filters_and_unknown_classes_are_refused() -> None:
    for model in (chain(), interpretable(part_layers=0)):
        with pytest.raises(AttributionError, match=f"with part layers, got {type(model).__name__} without any"):
            PartFilterExplanation()(model, drawn_images(), 0)
    with pytest.raises(AttributionError, match="top must be 1 filter or more, got 0"):
        PartFilterExplanation(top=0)
    with pytest.raises(AttributionError, match="from 0 to 4"):
        PartFilterExplanation()(interpretable(), drawn_images(), 5)
