import pytest
import torch

from interpretable.attribution.deep_lift import DeepLIFT
from interpretable.attribution.rectifiers import DeconvNet, GuidedBackprop
from interpretable.errors import AttributionError
from interpretable.models import BACKBONES, InterpretableCNN

WORKS = ("works", "works", "works")
METHODS = (GuidedBackprop(), DeconvNet(), DeepLIFT())

# Guided backpropagation, DeconvNet and DeepLIFT: that they work, or the operation that they have no rule for.
EXPECTED = {
    "small": WORKS,
    "alexnet": WORKS,
    "vgg11": WORKS,
    "vgg13": WORKS,
    "vgg16": WORKS,
    "vgg11_bn": WORKS,
    "vgg13_bn": WORKS,
    "vgg16_bn": WORKS,
    "resnet18": WORKS,
    "resnet34": WORKS,
    "resnet50": WORKS,
    "densenet121": WORKS,
    "mobilenet_v2": WORKS,
    "mobilenet_v3_small": ("hardswish", "hardswish", "works"),
    "mobilenet_v3_large": ("hardswish", "hardswish", "works"),
    "efficientnet_b0": ("silu", "silu", "works"),
    "convnext_tiny": ("layer_norm", "layer_norm", "layer_norm"),
    "inception_v3": WORKS,
}


def network(name: str) -> InterpretableCNN:
    """The backbone alone, with weights that are drawn in less time than its own."""
    with torch.device("meta"):
        net = InterpretableCNN(name, 3, part_layers=0)
    net = net.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in net.parameters():
            bound = (6 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 1
            parameter.uniform_(-bound, bound)
        for key, buffer in net.named_buffers():
            buffer.fill_(key.endswith(("running_var", "scale")))
    return net


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_is_explained_or_the_operation_without_a_rule_is_named(name):
    net = network(name)
    image = torch.randn(1, 3, net.smallest_input, net.smallest_input)
    for method, expected in zip(METHODS, EXPECTED[name], strict=True):
        if expected != "works":
            with pytest.raises(AttributionError, match=f"has none for {expected};"):
                method(net, image, 1)
            continue
        attributions = method(net, image, 1)
        assert attributions.shape == image.shape
        assert torch.isfinite(attributions).all()
        assert attributions.abs().sum() > 0
