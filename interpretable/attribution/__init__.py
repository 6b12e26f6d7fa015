"""Post-hoc attribution: what of an image decided for a class.

One verb, `attribute`, and a class per method with the same call. Every method explains logits, gives the same for an
image in a batch as alone, and leaves the network as it was.
"""

import difflib
from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from interpretable.attribution.cam import CAM
from interpretable.attribution.deep_lift import DeepLIFT
from interpretable.attribution.deep_taylor import DeepTaylor
from interpretable.attribution.grad_cam import GradCAM
from interpretable.attribution.gradient import GradientTimesInput, Saliency
from interpretable.attribution.guided_grad_cam import GuidedGradCAM
from interpretable.attribution.integrated_gradients import IntegratedGradients
from interpretable.attribution.interior_gradient import InteriorGradient
from interpretable.attribution.lrp import LRP
from interpretable.attribution.method import ExplainingMethod, Method
from interpretable.attribution.occlusion import Occlusion
from interpretable.attribution.part_filters import PartFilterExplanation
from interpretable.attribution.pattern_fit import Patterns
from interpretable.attribution.pattern_methods import PatternAttribution, PatternNet
from interpretable.attribution.rectifiers import DeconvNet, GuidedBackprop
from interpretable.attribution.rise import RISE
from interpretable.attribution.smooth_grad import SmoothGrad
from interpretable.attribution.targets import Target
from interpretable.errors import AttributionError

METHODS: dict[str, type[Method]] = {
    "saliency": Saliency,
    "gradient_times_input": GradientTimesInput,
    "smooth_grad": SmoothGrad,
    "interior_gradient": InteriorGradient,
    "integrated_gradients": IntegratedGradients,
    "deconvnet": DeconvNet,
    "guided_backprop": GuidedBackprop,
    "lrp": LRP,
    "deep_taylor": DeepTaylor,
    "deep_lift": DeepLIFT,
    "pattern_net": PatternNet,
    "pattern_attribution": PatternAttribution,
    "cam": CAM,
    "grad_cam": GradCAM,
    "guided_grad_cam": GuidedGradCAM,
    "occlusion": Occlusion,
    "rise": RISE,
    "part_filters": PartFilterExplanation,
}
"""Every method by the name that `attribute` takes."""

__all__ = [
    "CAM",
    "LRP",
    "METHODS",
    "RISE",
    "DeconvNet",
    "DeepLIFT",
    "DeepTaylor",
    "ExplainingMethod",
    "GradCAM",
    "GradientTimesInput",
    "GuidedBackprop",
    "GuidedGradCAM",
    "IntegratedGradients",
    "InteriorGradient",
    "Method",
    "Occlusion",
    "PartFilterExplanation",
    "PatternAttribution",
    "PatternNet",
    "Patterns",
    "Saliency",
    "SmoothGrad",
    "Target",
    "attribute",
    "method_named",
]


def attribute(
    model: nn.Module, images: Tensor, target: Target, method: str = "integrated_gradients", **options: Any
) -> Tensor:
    """What of each image decided for a class, by any method; signed, unreduced and detached.

    Args:
        model: Maps images (B, C, H, W) to logits (B, K'); left as it was.
        images: (B, C, H, W), as the network takes them.
        target: A class, one for each image (B,), several for each (B, K), or ``"predicted"``.
        method: A key of `METHODS`.
        **options: Of the method's class.

    Returns:
        (B, C, H, W), or (B, K, C, H, W) for a target (B, K). Of methods that explain by a layer's maps (B, 1, h, w) and
        (B, K, 1, h, w), or with ``upsample=True`` (B, 1, H, W) and (B, K, 1, H, W).

    Raises:
        AttributionError: There is no such method or option, or the method is not for such a network, images or target.
    """
    return method_named(method, **options)(model, images, target)


def method_named(name: str, **options: Any) -> Method:
    """A method with its options.

    Raises:
        AttributionError: There is no such method, it has no such option, or lacks one that it needs.
    """
    if name not in METHODS:
        closest = difflib.get_close_matches(name, METHODS, n=3, cutoff=0.0)
        raise AttributionError(
            f"A method must be a key of METHODS, got {name!r}; the closest are {', '.join(closest)}."
        )
    known = [field.name for field in fields(METHODS[name])]
    for option in options:
        if option not in known:
            raise AttributionError(f"The options of {name} are {', '.join(known)}, got {option!r}.")
    try:
        return METHODS[name](**options)
    except TypeError as error:
        raise AttributionError(f"{name} cannot be used without options that it needs ({error}).") from error
