"""What ``prototypes.json`` says of prototypes, as plain numbers and names."""

from collections.abc import Sequence
from typing import Any

from interpretable.commands.prototype_selections import Selection
from interpretable.exemplars.exemplar_records import CriticismRecord, ErrorsRecord, PrototypeRecord, SelectionRecord
from interpretable.exemplars.exemplar_view import ErrorCurve


def selection_record(selection: Selection, classes: Sequence[str], layer: str) -> SelectionRecord:
    """A selection.

    Args:
        selection: The selection.
        classes: Names of the labels.
        layer: Of filters.
    """
    critic, images = selection.critic, selection.images

    def described(place: int) -> dict[str, Any]:
        row = selection.rows[place]
        return {
            "index": int(images.indices[row]),
            "label": classes[images.labels[row]],
            "group": int(images.groups[row]),
            "witness": float(critic.witness_[place]),
        }

    return SelectionRecord(
        name=selection.name,
        filter=selection.filter,
        layer="" if selection.filter is None else layer,
        images=len(selection.rows),
        gamma=critic.gamma_,
        kernel_mean=critic.kernel_mean_,
        off_diagonal_ratio=critic.off_diagonal_ratio_,
        regularizer_weight=critic.regularizer_weight_,
        mmd2=tuple(critic.mmd2_.tolist()),
        random_mmd2_mean=tuple(selection.random.random_mean.tolist()),
        random_mmd2_deviation=tuple(selection.random.random_deviation.tolist()),
        prototypes=tuple(
            PrototypeRecord(**described(place), weight=float(weight))
            for place, weight in zip(critic.prototype_indices_, critic.prototype_weights_, strict=True)
        ),
        criticisms=tuple(
            CriticismRecord(**described(place), log_residual=float(log_residual))
            for place, log_residual in zip(critic.criticism_indices_, critic.criticism_terms_[:, 1], strict=True)
        ),
    )


def errors_record(errors: ErrorCurve) -> ErrorsRecord:
    """A curve of errors."""
    return ErrorsRecord(
        prototypes=tuple(errors.prototypes.tolist()),
        random_mean=tuple(errors.random_mean.tolist()),
        random_deviation=tuple(errors.random_deviation.tolist()),
        all_rows=errors.all_rows,
    )
