"""A network as a function from images to feature maps, left as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from interpretable.errors import ModelError
from interpretable.frozen import frozen


@contextmanager
def feature_maps(module: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """The module as a function from images (B, C, H, W) to feature maps (B, C', h, w), as `frozen` runs it.

    Raises:
        ModelError: When the function is called and its output is no feature map.
    """
    with frozen(module) as run:

        def maps(images: Tensor) -> Tensor:
            output = run(images)
            if not isinstance(output, Tensor) or output.ndim != 4:
                found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
                raise ModelError(
                    f"The receptive field is that of a feature map (B, C, h, w), got {found}; cut the module earlier."
                )
            return output

        yield maps
