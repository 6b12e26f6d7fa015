"""Agreement of maps with keypoints: do the maps that win at the keypoints tell them apart (NMI, ARI)?

The protocol of unsupervised part discovery (Choudhury et al., NeurIPS 2021; van der Klis et al., PDiscoNet, ICCV 2023).
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor
from torchmetrics import Metric

from interpretable.errors import MetricError
from interpretable.metrics.finite import refuse_nan


def assign_keypoints(
    maps: Float[Tensor, "image map h w"], keypoints: Float[Tensor, "image keypoint 2"], offset: float, stride: int
) -> Int64[Tensor, "image keypoint"]:
    """Which map is largest at each keypoint.

    Maps are interpolated bilinearly between the centres of their units, constant beyond the outermost ones, at the
    centre of the pixel that holds the keypoint. A background competes if it is one of the maps.

    Args:
        maps: Activations of the K maps that compete.
        keypoints: x and y in image pixels, NaN where the keypoint is not visible.
        offset: Centre of unit 0 in pixels, along both axes.
        stride: Distance between neighbouring units in pixels.

    Returns:
        (N, P) in 0..K−1, −1 where the keypoint is not visible; equal activations go to the lower map.

    Raises:
        MetricError: A map has NaN.
    """
    refuse_nan("activation maps", maps.amax((-2, -1)))
    height, width = maps.shape[-2:]
    absent = keypoints.isnan().any(-1)
    pixel = torch.where(absent[..., None], 0, keypoints.double()).floor() + 0.5
    farthest = torch.tensor([width - 1, height - 1], device=maps.device)
    place = ((pixel - offset) / stride).clamp(min=0).minimum(farthest)  # in units of the grid
    lower = place.long()
    upper = (lower + 1).minimum(farthest)
    right, down = (place - lower).unbind(-1)  # (N, P)

    def corner(x: Tensor, y: Tensor) -> Tensor:
        unit = (y * width + x)[:, None].expand(-1, maps.shape[1], -1)
        return maps.flatten(2).gather(2, unit).double()  # (N, K, P)

    (left_x, top_y), (right_x, bottom_y) = lower.unbind(-1), upper.unbind(-1)
    top, bottom = (
        corner(left_x, y) * (1 - right)[:, None] + corner(right_x, y) * right[:, None] for y in (top_y, bottom_y)
    )
    largest = (top * (1 - down)[:, None] + bottom * down[:, None]).argmax(1)
    return torch.where(absent, -1, largest)


class PartClusteringResult(NamedTuple):
    """Scalars times 100, higher is better; NaN where no keypoint was assigned."""

    nmi: Tensor
    """Mutual information of keypoint and map over the arithmetic mean of their entropies, 0 to 100."""
    ari: Tensor
    """Rand index adjusted for chance: 100 for a relabelling, about 0 for chance, below 0 for less."""


def part_clustering(contingency: Int64[Tensor, "keypoint map"]) -> PartClusteringResult:
    """NMI and ARI between keypoints and the maps that are largest at them.

    With one keypoint and one map alone both are 100, with only one of the two 0, as scikit-learn defines them. NMI
    rises with the number of maps, so compare networks at the same number.

    Args:
        contingency: (P, K), how often map k was largest at keypoint p.
    """
    cells = torch.arange(contingency.numel(), device=contingency.device)
    pairs = cells.repeat_interleave(contingency.flatten()).cpu().numpy()
    scores = [torch.nan, torch.nan]
    if len(pairs):
        keypoint, winner = divmod(pairs, contingency.shape[1])
        scores = [100 * score(keypoint, winner) for score in (normalized_mutual_info_score, adjusted_rand_score)]
    return PartClusteringResult(*torch.tensor(scores, dtype=torch.float64, device=contingency.device))


class PartClustering(Metric):
    """NMI and ARI between keypoints and maps over all images seen, from one table of counts.

    Args:
        num_keypoints: Number of keypoints P.
        num_parts: Number of maps K that compete, a background included.
        kwargs: Passed to `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    contingency: Tensor

    def __init__(self, num_keypoints: int, num_parts: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("contingency", torch.zeros(num_keypoints, num_parts, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, assignments: Int64[Tensor, "image keypoint"]) -> None:
        """Takes in a batch of `assign_keypoints`; below 0 where a keypoint does not count.

        Raises:
            MetricError: The number of keypoints is another one, or a map is not among the K.
        """
        num_keypoints, num_parts = self.contingency.shape
        highest = int(assignments.max()) if assignments.numel() else -1
        if assignments.shape[1] != num_keypoints or highest >= num_parts:
            raise MetricError(
                f"Assignments must give {num_keypoints} keypoints a map below {num_parts}, got {assignments.shape[1]} "
                f"keypoints and maps up to {highest}; build PartClustering with these numbers."
            )
        cell = torch.arange(num_keypoints, device=assignments.device) * num_parts + assignments
        counts = cell[assignments >= 0].bincount(minlength=num_keypoints * num_parts)
        self.contingency += counts.view(num_keypoints, num_parts)

    def compute(self) -> PartClusteringResult:
        """The scores of all keypoints seen."""
        return part_clustering(self.contingency)
