"""How well the nearest prototype names test images."""

from collections.abc import Sequence

import numpy as np

from interpretable.commands.pictures import in_turn
from interpretable.commands.prototype_features import ComparedImages
from interpretable.commands.prototype_request import recorded_layers
from interpretable.commands.prototype_selections import RANDOM_PICKS, Selection, random_picks
from interpretable.commands.stores import predict_split
from interpretable.data.splits import Split
from interpretable.errors import ConfigurationError, DataError
from interpretable.exemplars.exemplar_view import ErrorCurve
from interpretable.exemplars.nearest_prototype import nearest_prototype_errors
from interpretable.runs import Run


def tells_classes_apart(split: Split, labels: Sequence[np.ndarray]) -> bool:
    """Whether prototypes of images with these labels have errors: there are several classes, not of test images."""
    return split != "test" and len(np.unique(np.concatenate(labels))) > 1


def has_test_images(run: Run, labels: Sequence[np.ndarray]) -> bool:
    """Whether there are test images with some of these labels."""
    try:
        test = predict_split(run, "test").predict_dataset.labels.numpy()
    except DataError:  # the data set has no test images
        return False
    return bool(np.isin(test, np.concatenate(labels)).any())


def check_test_layer(run: Run, layer: str) -> None:
    """Refuses a layer that is not recorded of test images.

    Raises:
        ConfigurationError: It is not.
    """
    recorded = recorded_layers(run, "test")
    if layer not in recorded:
        raise ConfigurationError(
            f"Errors need {layer} of the test images too, of which {', '.join(recorded)} is recorded; record it with "
            f"`interpretable activations RUN --overwrite --split test --layer {layer}`, or choose another with --layer."
        )


def errors_of(selections: Sequence[Selection], test: ComparedImages) -> ErrorCurve:
    """Error on test images of the nearest prototype, of the selections in turn, beside images picked at random.

    Those picked at random are as many from each selection's images as it has prototypes, in the same order.

    Args:
        selections: Of classes; test images of others are left out.
        test: The test images.
    """
    images = selections[0].images
    everything = np.concatenate([selection.rows for selection in selections])
    shown = np.isin(test.labels, images.labels[everything])
    rows, labels = test.rows[shown], test.labels[shown]

    def errors(references: np.ndarray) -> np.ndarray:
        return nearest_prototype_errors(images.rows[references], images.labels[references], rows, labels)

    sizes = [len(selection.prototypes) for selection in selections]
    order = in_turn(np.repeat(np.arange(len(sizes)), sizes).tolist(), [-n for size in sizes for n in range(size)])
    chosen = np.concatenate([selection.prototypes for selection in selections])[order]
    generator = np.random.default_rng(selections[0].critic.random_state)
    random = []
    for _ in range(RANDOM_PICKS):
        picks = [
            one.rows[random_picks(images.groups[one.rows], size, generator)]
            for one, size in zip(selections, sizes, strict=True)
        ]
        random.append(errors(np.concatenate(picks)[order]))
    return ErrorCurve(
        "nearest prototype",
        errors(chosen),
        np.mean(random, axis=0),
        np.std(random, axis=0),
        float(errors(everything)[-1]),
    )
