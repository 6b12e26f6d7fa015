"""Filter purity: of how many classes the images are that excite a filter most."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics import Metric

from interpretable.metrics.class_labels import refuse_unknown_class
from interpretable.metrics.finite import refuse_nan
from interpretable.metrics.top_images import TOP_IMAGES, check_top, merge_ranks, no_images, strongest

_CHUNK = 1024
"""Images that are ranked at once against those kept so far."""


class FilterPurityResult(NamedTuple):
    """Purity of each filter and its mean over the filters that fire at all."""

    entropy: Tensor
    """(C,) float64 in nats, over the classes of its top images: 0 where there is one class; NaN for a silent filter."""
    share: Tensor
    """(C,) float64, of the most frequent class among them; NaN for a silent filter."""
    category: Tensor
    """(C,) int64, that class, the lowest of equally frequent ones; −1 for a silent filter."""
    mean_entropy: Tensor
    """NaN where no filter fires."""
    mean_share: Tensor
    """NaN where no filter fires."""


def filter_purity(
    values: Float[Tensor, "image filter"], labels: Int64[Tensor, " image"], num_classes: int, top: int = TOP_IMAGES
) -> FilterPurityResult:
    """Distribution over classes of the images that excite each filter most.

    Args:
        values: Peak activations; an image on which a filter is silent (0 or less) never counts for it.
        labels: Classes of the images.
        num_classes: Number of classes K.
        top: How many images count at the most; equal activations go to the lower image index.

    Raises:
        MetricError: There are NaN activations, labels outside 0..K−1, or ``top`` is below 1.
    """
    check_top(top)
    _check(values, labels, num_classes)
    values = values.detach().clamp(min=0)
    # The top-th largest value of each filter; of the images that have just this value the first ones fill up.
    threshold = values.topk(min(top, len(values)), dim=0).values[-1] if len(values) else 0
    above, tied = values > threshold, (values == threshold) & (values > 0)
    chosen = above | (tied & (tied.cumsum(0) <= top - above.sum(0)))
    return _purity(chosen.T.double() @ one_hot(labels, num_classes).double())


def _check(values: Tensor, labels: Tensor, num_classes: int) -> None:
    refuse_nan("peak activations", values)
    refuse_unknown_class(labels, num_classes)


def _purity(counts: Float[Tensor, "filter class"]) -> FilterPurityResult:
    number = counts.sum(1)
    shares = counts / number[:, None]  # NaN for a silent filter
    entropy = torch.special.entr(shares).sum(1)
    share, category = shares.max(1)
    category = torch.where(number > 0, category, -1)
    return FilterPurityResult(entropy, share, category, entropy.nanmean(), share.nanmean())


class FilterPurity(Metric):
    """Purity of a layer's filters, in memory that does not grow with the images.

    Args:
        num_filters: Number of filters C.
        num_classes: Number of classes K.
        top: Images of a filter that count.
        kwargs: Passed to `torchmetrics.Metric`.

    Raises:
        MetricError: ``top`` is below 1.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    kept: Tensor

    def __init__(self, num_filters: int, num_classes: int, top: int = TOP_IMAGES, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.add_state("kept", no_images(top, num_filters, 1), dist_reduce_fx=merge_ranks)

    def update(
        self,
        values: Float[Tensor, "image filter"],
        labels: Int64[Tensor, " image"],
        index: Int64[Tensor, " image"],
    ) -> None:
        """Takes in the peak activations of a batch, its classes and its images' indices in the data set."""
        _check(values, labels, self.num_classes)
        for part, *names in zip(*(torch.split(tensor, _CHUNK) for tensor in (values, index, labels)), strict=True):
            columns = [part.detach().double(), *(name[:, None].expand_as(part).double() for name in names)]
            self.kept = strongest(torch.cat([self.kept, torch.stack(columns, -1)]), len(self.kept))

    def compute(self) -> FilterPurityResult:
        """Purity over all images seen."""
        value, _, label = self.kept.transpose(0, 1).unbind(-1)
        counts = value.new_zeros(len(value), self.num_classes)
        return _purity(counts.scatter_add_(1, label.long(), (value > 0).double()))
