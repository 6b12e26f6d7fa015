"""Filter purity: of how many classes the images are that excite a filter most."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics import Metric

from interpretable.errors import MetricError
from interpretable.metrics.class_labels import refuse_unknown_class
from interpretable.metrics.finite import refuse_nan

TOP_IMAGES = 100
"""Images of a filter that count."""

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
    _check_top(top)
    _check(values, labels, num_classes)
    values = values.detach().clamp(min=0)
    # The top-th largest value of each filter; of the images that have just this value the first ones fill up.
    threshold = values.topk(min(top, len(values)), dim=0).values[-1] if len(values) else 0
    above, tied = values > threshold, (values == threshold) & (values > 0)
    chosen = above | (tied & (tied.cumsum(0) <= top - above.sum(0)))
    return _purity(chosen.T.double() @ one_hot(labels, num_classes).double())


def _check_top(top: int) -> None:
    if top < 1:
        raise MetricError(f"The number of top images must be 1 or more, got {top}; the usual one is {TOP_IMAGES}.")


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


def _strongest(table: Float[Tensor, "image filter 3"], top: int) -> Float[Tensor, "top filter 3"]:
    """The rows of each filter with the highest values, the lower index where they are equal."""
    order = table[..., 2].argsort(0)
    order = order.gather(0, table[..., 0].gather(0, order).argsort(dim=0, descending=True, stable=True)[:top])
    return table.gather(0, order[..., None].expand(-1, -1, 3)).clamp(min=0)


def _merge(kept: Float[Tensor, "rank top filter 3"]) -> Float[Tensor, "top filter 3"]:
    return _strongest(kept.flatten(0, 1), kept.shape[1])


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
        _check_top(top)
        self.num_classes = num_classes
        self.top = top
        # Value, label and index of each filter's top images; value 0 marks a free place.
        self.add_state("kept", torch.zeros(top, num_filters, 3, dtype=torch.float64), dist_reduce_fx=_merge)

    def update(
        self,
        values: Float[Tensor, "image filter"],
        labels: Int64[Tensor, " image"],
        index: Int64[Tensor, " image"],
    ) -> None:
        """Takes in the peak activations of a batch, its classes and its images' indices in the data set."""
        _check(values, labels, self.num_classes)
        for part, *names in zip(*(torch.split(tensor, _CHUNK) for tensor in (values, labels, index)), strict=True):
            columns = [part.detach().double(), *(name[:, None].expand_as(part).double() for name in names)]
            self.kept = _strongest(torch.cat([self.kept, torch.stack(columns, -1)]), self.top)

    def compute(self) -> FilterPurityResult:
        """Purity over all images seen."""
        value, label, _ = self.kept.transpose(0, 1).unbind(-1)
        counts = value.new_zeros(len(value), self.num_classes)
        return _purity(counts.scatter_add_(1, label.long(), (value > 0).double()))
