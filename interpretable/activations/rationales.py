"""Linear rationales: how a class score depends on each filter, image by image (Zhang et al. 2019, §3)."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call

from interpretable.errors import ModelError


class Rationales(NamedTuple):
    """Of each image and chosen class, where the head is linearised at the image's own maps."""

    gradients: Float[Tensor, "image chosen filter"]
    """Gradient of the class's logit y, averaged over the cells of each filter's map."""
    intercepts: Float[Tensor, "image chosen"]
    """b in y = Σ ∂y/∂x · x + b over all cells, exact for a piecewise-linear head."""


def rationales(
    head: Callable[[Tensor], Tensor],
    maps: Float[Tensor, "image filter h w"],
    classes: Int64[Tensor, "image chosen"],
) -> Rationales:
    """Gradients of class logits at the maps that a head sees, vectorised per filter (Zhang et al. 2019, §3).

    The averages are the paper's g⁽ᵈ⁾ but for its scale s_d, the mean of a filter's map over all images, which is known
    only when all of them have been seen: g⁽ᵈ⁾ = s_d · gradients, with x⁽ᵈ⁾ = Σ_hw x / s_d beside it. Computed in
    float32, whatever the types of the maps and of the weights of a head that is a module, outside of any inference mode
    or autocast that the caller is in; the head's parameters get no gradient.

    Args:
        head: Maps (N, C, h, w) to logits (N, K).
        maps: What the head is given: after the mask, where the network has one.
        classes: Which logits, from 0 to K − 1, of each image.

    Raises:
        ModelError: The head does not give logits (N, K), or they do not depend on the maps.
    """
    device = maps.device.type
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False):
        leaf = maps.detach().clone().float().requires_grad_()  # a tensor of inference mode cannot ask for gradients
        logits = _in_float32(head)(leaf.clone())  # the head may write into what it is given
        if logits.ndim != 2 or not logits.requires_grad:
            found = f"shape {tuple(logits.shape)}" if logits.ndim != 2 else "logits without a gradient"
            raise ModelError(f"A head must give logits (images, classes) that depend on its maps, got {found}.")
        chosen = logits.gather(1, classes.clone())
        gradients = []
        intercepts = []
        for gradient, intercept in linearised(chosen, leaf):
            gradients.append(gradient.mean((-2, -1)))
            intercepts.append(intercept)
    return Rationales(torch.stack(gradients, 1), torch.stack(intercepts, 1))


def linearised(
    logits: Float[Tensor, "image chosen"], maps: Float[Tensor, "image filter h w"]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Gradient (B, C, h, w) at the maps and intercept (B,) of one column of logits after the other.

    y = Σ gradient · maps + intercept; around the maps a piecewise-linear head is that function.

    Args:
        logits: Of a pass in which no image depends on another.
        maps: What they were computed from, with gradients on.
    """
    for column in logits.unbind(1):
        (gradient,) = torch.autograd.grad(column.sum(), maps, retain_graph=True)
        yield gradient, column.detach() - (gradient * maps.detach()).sum((1, 2, 3))


def _in_float32(head: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The head, with its weights and buffers in float32."""
    if not isinstance(head, nn.Module):
        return head
    state = {**dict(head.named_parameters()), **dict(head.named_buffers())}
    others = {name: value for name, value in state.items() if value.is_floating_point() and value.dtype != torch.float}
    single = {name: value.float() for name, value in others.items()}
    return partial(functional_call, head, single) if single else head
