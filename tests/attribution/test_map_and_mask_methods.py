"""What holds of every method that explains by maps or by masks."""

import copy

import pytest
import torch
from explained_nets import CLASSES, drawn_images, hooks, interpretable
from torch import Tensor, nn

from interpretable.attribution.cam import CAM
from interpretable.attribution.grad_cam import GradCAM
from interpretable.attribution.guided_grad_cam import GuidedGradCAM
from interpretable.attribution.method import Method
from interpretable.attribution.occlusion import Occlusion
from interpretable.attribution.part_filters import PartFilterExplanation
from interpretable.attribution.rise import RISE

METHODS = {
    "cam": (CAM, {"upsample": True}),
    "grad_cam": (GradCAM, {"upsample": True}),
    "grad_cam of another layer": (GradCAM, {"layer": "trunk.features.2"}),
    "guided_grad_cam": (GuidedGradCAM, {}),
    "part_filters": (PartFilterExplanation, {}),
    "occlusion": (Occlusion, {"window": (5, 7), "stride": (4, 5)}),
    "rise": (RISE, {"masks": 12, "cells": 3}),
}
every_method = pytest.mark.parametrize("name", METHODS)
LABELS = torch.tensor([[4, 0], [1, 1], [2, 3]])


def made(name: str, **options: object) -> Method:
    method, own = METHODS[name]
    return method(**own, **options)


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@every_method
def test_a_batch_is_its_images_one_by_one_and_several_classes_are_each_alone(name: str) -> None:
    model, images = interpretable(), drawn_images()
    found = made(name)(model, images, LABELS)
    assert found.dtype == torch.float64
    assert not found.requires_grad
    assert not torch.allclose(found[0], found[2])
    for column in (0, 1):
        same(made(name)(model, images, LABELS[:, column]), found[:, column])
        for image in range(3):
            alone = made(name)(model, images[image : image + 1], int(LABELS[image, column]))
            same(alone[0], found[image, column])


@every_method
@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_size_of_chunks_changes_nothing(name: str, size: int) -> None:
    model, images = interpretable(), drawn_images()
    same(made(name, batch_size=size)(model, images, LABELS), made(name)(model, images, LABELS))


@every_method
@pytest.mark.parametrize("caller", [torch.inference_mode, torch.no_grad])
def test_it_works_inside_of_what_a_trainer_evaluates_in(name: str, caller: type[torch.no_grad]) -> None:
    model, images = interpretable(), drawn_images()
    expected = made(name)(model, images, LABELS)
    with caller():
        found = made(name)(model, images.clone(), LABELS)
    same(found, expected)


class Failing(nn.Linear):
    """A last layer that can be told to fail."""

    fail = False

    def forward(self, x: Tensor) -> Tensor:
        if self.fail:
            raise RuntimeError("inside the network")
        return super().forward(x)


@every_method
@pytest.mark.parametrize("fail", [False, True], ids=["success", "exception"])
def test_nothing_is_left_on_the_network(name: str, fail: bool) -> None:
    model, images = interpretable(), drawn_images()
    model.head.fc = Failing(6, CLASSES).double()
    model.head.fc.fail = fail
    model.train()
    model.trunk.features[3].eval()
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    state = copy.deepcopy(model.state_dict())
    parameters = list(model.parameters())
    gradients = [parameter.grad.clone() for parameter in parameters]
    modes = [module.training for module in model.modules()]
    before, random = images.clone(), torch.get_rng_state()
    if fail:
        with pytest.raises(RuntimeError, match="inside the network"):
            made(name)(model, images, LABELS)
    else:
        made(name)(model, images, LABELS)
    assert hooks(model) == 0
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert all(one is other for one, other in zip(parameters, model.parameters(), strict=True))
    assert all(torch.equal(one, other.grad) for one, other in zip(gradients, parameters, strict=True))
    assert all(parameter.requires_grad for parameter in parameters)
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), random)
