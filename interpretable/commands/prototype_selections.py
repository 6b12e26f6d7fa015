"""Prototypes and criticisms of sets of images, each beside as many images picked at random."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from interpretable.commands.pictures import in_turn
from interpretable.commands.prototype_features import ComparedImages
from interpretable.exemplars import MMDCritic
from interpretable.exemplars.exemplar_records import CriticismRecord, ErrorsRecord, PrototypeRecord, SelectionRecord
from interpretable.exemplars.exemplar_view import ErrorCurve, Mmd2Curve
from interpretable.exemplars.nearest_prototype import nearest_prototype_errors
from interpretable.progress import Track, untracked

RANDOM_PICKS = 20
"""Sets of images picked at random that prototypes are compared with."""


class Selection(NamedTuple):
    """What was chosen of a set of images."""

    name: str
    images: ComparedImages
    rows: np.ndarray
    """(n,) which of the images it was chosen from; what is fitted counts along them."""
    critic: MMDCritic
    random: Mmd2Curve

    @property
    def prototypes(self) -> np.ndarray:
        """(m,) rows of the images."""
        chosen: np.ndarray = self.rows[self.critic.prototype_indices_]
        return chosen

    @property
    def criticisms(self) -> np.ndarray:
        """(c,) rows of the images."""
        chosen: np.ndarray = self.rows[self.critic.criticism_indices_]
        return chosen


def select(
    name: str,
    images: ComparedImages,
    rows: np.ndarray,
    parameters: Mapping[str, Any],
    weights: np.ndarray | None = None,
    track: Track = untracked,
) -> Selection:
    """Chooses among some images; fewer than asked for where there are not as many, or not of as many photographs.

    Args:
        name: Of the set.
        images: The images.
        rows: (n,) which of them to choose from.
        parameters: Of `MMDCritic`.
        weights: (n,) how much each counts.
        track: Shows how far it is.
    """
    features, groups = images.rows[rows], images.groups[rows]
    asked = MMDCritic(**parameters)
    most = len(np.unique(groups))
    prototypes = min(asked.n_prototypes, most)
    # Two crops of one photograph can leave the criticisms a photograph less than there are images.
    asked.set_params(n_prototypes=prototypes, n_criticisms=min(asked.n_criticisms, most - prototypes))
    critic = asked.fit(features, images.labels[rows], groups=groups, sample_weight=weights, track=track)
    generator = np.random.default_rng(critic.random_state)
    curves = [critic.mmd2_of(generator.permutation(len(rows))[:prototypes]) for _ in range(RANDOM_PICKS)]
    return Selection(
        name, images, rows, critic, Mmd2Curve(name, critic.mmd2_, np.mean(curves, axis=0), np.std(curves, axis=0))
    )


def errors_of(selections: Sequence[Selection], test: ComparedImages) -> ErrorCurve:
    """Error on test images of the nearest prototype, of the selections in turn, beside images picked at random.

    Those picked at random are as many from each selection's images as it has prototypes, in the same order.
    """
    images = selections[0].images
    sizes = [len(selection.prototypes) for selection in selections]
    order = in_turn(np.repeat(np.arange(len(sizes)), sizes).tolist(), [-n for size in sizes for n in range(size)])
    chosen = np.concatenate([selection.prototypes for selection in selections])[order]
    generator = np.random.default_rng(selections[0].critic.random_state)
    random = []
    for _ in range(RANDOM_PICKS):
        picks = [generator.choice(one.rows, size, replace=False) for one, size in zip(selections, sizes, strict=True)]
        random.append(_errors(images, np.concatenate(picks)[order], test))
    everything = np.concatenate([selection.rows for selection in selections])
    return ErrorCurve(
        "nearest prototype",
        _errors(images, chosen, test),
        np.mean(random, axis=0),
        np.std(random, axis=0),
        float(_errors(images, everything, test)[-1]),
    )


def selection_record(selection: Selection, classes: Sequence[str]) -> SelectionRecord:
    """What ``prototypes.json`` says of a selection."""
    critic, images = selection.critic, selection.images

    def described(row: int) -> dict[str, Any]:
        label = int(images.labels[row])
        return {
            "index": int(images.indices[row]),
            "label": classes[label] if classes else str(label),
            "group": int(images.groups[row]),
            "witness": float(critic.witness_[np.flatnonzero(selection.rows == row)[0]]),
        }

    return SelectionRecord(
        name=selection.name,
        images=len(selection.rows),
        gamma=critic.gamma_,
        kernel_mean=critic.kernel_mean_,
        off_diagonal_ratio=critic.off_diagonal_ratio_,
        regularizer_weight=critic.regularizer_weight_,
        mmd2=tuple(critic.mmd2_.tolist()),
        random_mmd2_mean=tuple(selection.random.random_mean.tolist()),
        random_mmd2_deviation=tuple(selection.random.random_deviation.tolist()),
        prototypes=tuple(
            PrototypeRecord(**described(row), weight=float(weight))
            for row, weight in zip(selection.prototypes, critic.prototype_weights_, strict=True)
        ),
        criticisms=tuple(
            CriticismRecord(**described(row), log_residual=float(log_residual))
            for row, log_residual in zip(selection.criticisms, critic.criticism_terms_[:, 1], strict=True)
        ),
    )


def errors_record(errors: ErrorCurve) -> ErrorsRecord:
    """A curve of errors as plain numbers."""
    return ErrorsRecord(
        prototypes=tuple(errors.prototypes.tolist()),
        random_mean=tuple(errors.random_mean.tolist()),
        random_deviation=tuple(errors.random_deviation.tolist()),
        all_rows=errors.all_rows,
    )


def _errors(images: ComparedImages, references: np.ndarray, test: ComparedImages) -> np.ndarray:
    return nearest_prototype_errors(images.rows[references], images.labels[references], test.rows, test.labels)
