"""Part purity: how often a filter fires on one and the same part, on the images that excite it most.

The purity of a prototype is the share of its top patches that show one part (Nauta et al., PIP-Net, CVPR 2023); here
the patch is the peak, and the part is known by its pixels.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from interpretable.metrics.finite import refuse_nan
from interpretable.metrics.top_images import TOP_IMAGES, merge_ranks, no_images, strongest

_CHUNK = 256
"""Images that are ranked at once against those kept so far."""


class PartPurityResult(NamedTuple):
    """Purity of each filter, higher is better, and its mean over the filters that fire on an image with a part."""

    purity: Tensor
    """(C,) float64 in 0..1; NaN for a filter that fires on no image with a part."""
    part: Tensor
    """(C,) int64, the part most often hit, the lowest of equally frequent ones; −1 where none was ever hit."""
    mean: Tensor
    """NaN where no filter fires on an image with a part."""


def part_purity(
    positions: Float[Tensor, "image filter 2"],
    values: Float[Tensor, "image filter"],
    masks: Bool[Tensor, "image part mask_h mask_w"],
    image_size: tuple[int, int],
    top: int = TOP_IMAGES,
) -> PartPurityResult:
    """Share of each filter's top images whose peak lies in the mask of the part that it hits most often.

    A filter's top images are those with its highest peaks among the images that show any part and on which it is not
    silent. Masks may overlap. A peak beyond the image's edge, where padding puts the centres of some units, hits none.

    Args:
        positions: Image positions (x, y) of the peaks in pixels.
        values: Peak activations; an image on which a filter is silent (0 or less) never counts for it.
        masks: Pixels of each part, at any resolution; none where an image does not show the part.
        image_size: (H, W) of the images in pixels, which the masks cover.
        top: How many images count at the most; equal activations go to the lower image index.

    Raises:
        MetricError: There are NaN activations, or ``top`` is below 1.
    """
    index = torch.arange(len(values), device=values.device)
    kept = no_images(top, values.shape[1], masks.shape[1]).to(values.device)
    return _purity(_take_in(kept, positions, values, masks, index, image_size))


def _take_in(
    kept: Tensor, positions: Tensor, values: Tensor, masks: Tensor, index: Tensor, image_size: tuple[int, int]
) -> Tensor:
    refuse_nan("peak activations", values)
    batch = (torch.split(tensor.detach(), _CHUNK) for tensor in (positions, values, masks, index))
    for place, peak, mask, name in zip(*batch, strict=True):
        strength = torch.where(mask.flatten(1).any(1)[:, None], peak, 0)
        columns = torch.stack([strength.double(), name[:, None].expand_as(peak).double()], -1)
        hits = peaks_in_masks(place, mask, image_size).double()
        kept = strongest(torch.cat([kept, torch.cat([columns, hits], -1)]), len(kept))
    return kept


def peaks_in_masks(
    positions: Float[Tensor, "image filter 2"],
    masks: Bool[Tensor, "image part mask_h mask_w"],
    image_size: tuple[int, int],
) -> Bool[Tensor, "image filter part"]:
    """Whether each peak lies on a pixel of each part's mask; arguments as for `part_purity`."""
    size = positions.new_tensor(masks.shape[:1:-1], dtype=torch.float64)  # width, height
    pixel = (positions.double() * size / positions.new_tensor(image_size[::-1], dtype=torch.float64)).floor()
    on_image = ((pixel >= 0) & (pixel < size)).all(-1)  # (N, C)
    column, row = torch.where(on_image[..., None], pixel, 0).long().unbind(-1)
    cell = (row * masks.shape[-1] + column)[:, None].expand(-1, masks.shape[1], -1)
    return (masks.flatten(2).gather(2, cell) & on_image[:, None]).transpose(1, 2)


def _purity(kept: Float[Tensor, "top filter entry"]) -> PartPurityResult:
    fires = kept[..., 0] > 0
    number = fires.sum(0)
    shares = (kept[..., 2:] * fires[..., None]).sum(0) / number.clamp(min=1)[:, None]
    purity, part = F.pad(shares, (1, 0)).max(1)  # the first column stands for no part
    purity = torch.where(number > 0, purity, torch.nan)
    return PartPurityResult(purity, part - 1, purity.nanmean())


class PartPurity(Metric):
    """Part purity of a layer's filters, in memory that does not grow with the images.

    Args:
        num_filters: Number of filters C.
        num_parts: Number of parts P.
        top: Images of a filter that count.
        kwargs: Passed to `torchmetrics.Metric`.

    Raises:
        MetricError: ``top`` is below 1.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    kept: Tensor

    def __init__(self, num_filters: int, num_parts: int, top: int = TOP_IMAGES, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("kept", no_images(top, num_filters, num_parts), dist_reduce_fx=merge_ranks)

    def update(
        self,
        positions: Float[Tensor, "image filter 2"],
        values: Float[Tensor, "image filter"],
        masks: Bool[Tensor, "image part mask_h mask_w"],
        index: Int64[Tensor, " image"],
        image_size: tuple[int, int],
    ) -> None:
        """Takes in a batch; arguments as for `part_purity`, ``index`` being the images' positions in the data set."""
        self.kept = _take_in(self.kept, positions, values, masks, index, image_size)

    def compute(self) -> PartPurityResult:
        """Purity over all images seen."""
        return _purity(self.kept)
