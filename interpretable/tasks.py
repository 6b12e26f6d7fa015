"""The three classification tasks: what a network's outputs mean, what they cost and how they are scored."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    BinaryCalibrationError,
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MultilabelAccuracy,
)

from interpretable.errors import ConfigurationError

Task = Literal["multiclass", "binary", "multilabel"]


def num_outputs(task: Task, num_classes: int) -> int:
    """Outputs of the network: one per class, a single one for one category against background."""
    return 1 if task == "binary" else num_classes


def memberships(task: Task, labels: Tensor, num_classes: int) -> Tensor:
    """(B, outputs) float, whether an image belongs to the class of an output; labels (B,) int64 or (B, K) multi-hot."""
    if task == "binary":
        return labels.float().reshape(-1, 1)
    return labels.float() if labels.ndim == 2 else F.one_hot(labels, num_classes).float()


def task_loss(task: Task, logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy for multiclass, else the logistic loss averaged over images and outputs; a scalar."""
    if labels.ndim == 2 and task != "multilabel":
        raise ConfigurationError(
            f"task={task} needs one class per image, but the data has several labels per image: use task=multilabel."
        )
    if task == "multiclass":
        return F.cross_entropy(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, memberships(task, labels, logits.shape[1]).to(logits.dtype))


def probabilities(task: Task, logits: Tensor) -> Tensor:
    """(B, outputs) in [0, 1]; they sum to 1 for multiclass alone."""
    return logits.softmax(-1) if task == "multiclass" else logits.sigmoid()


def scores(task: Task, logits: Tensor, labels: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """What each metric of `task_metrics` and `per_class_accuracy` is updated with, (predictions, targets)."""
    likely = probabilities(task, logits.detach().float())
    if task == "multiclass":
        return {"accuracy": (likely.argmax(-1), labels), "calibration_error": (likely, labels)}
    target = memberships(task, labels, logits.shape[1]).long()
    decisions = (likely > 0.5).long()
    calibration = (likely.flatten(), target.flatten())
    if task == "binary":
        return {"accuracy": (decisions[:, 0], target[:, 0]), "calibration_error": calibration}
    return {"accuracy": (decisions, target), "calibration_error": calibration}


def task_metrics(task: Task, num_classes: int) -> MetricCollection:
    """Accuracy (share of right decisions) and expected calibration error, 15 bins."""
    # Each metric takes its own predictions (see `scores`): compute groups would share states across them.
    return MetricCollection(
        {
            "accuracy": MultilabelAccuracy(num_classes, average="micro")
            if task == "multilabel"
            else MulticlassAccuracy(num_classes, average="micro"),
            "calibration_error": MulticlassCalibrationError(num_classes)
            if task == "multiclass"
            else BinaryCalibrationError(),
        },
        compute_groups=False,
    )


def per_class_accuracy(task: Task, num_classes: int) -> Metric:
    """(K,) share of each class's images that are recognised; of each output's right decisions for multilabel."""
    if task == "multilabel":
        return MultilabelAccuracy(num_classes, average="none")
    return MulticlassAccuracy(num_classes, average="none")
