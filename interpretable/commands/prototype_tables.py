"""Tables of prototypes: how well they represent their images, and how well they name others."""

from collections.abc import Sequence

import numpy as np

from interpretable.activations import ActivationStore
from interpretable.commands.prototype_selections import Selection
from interpretable.commands.tree_tables import Rows
from interpretable.exemplars.exemplar_view import ErrorCurve


def selection_rows(selections: Sequence[Selection]) -> Rows:
    """MMD² of each selection's prototypes beside that of images picked at random, the columns' names first."""
    header = ("set", "chosen", "MMD²", "random", "γ", "K off/on")
    return (
        header,
        *(
            (
                one.name,
                f"{len(one.prototypes)} of {len(one.rows)}",
                f"{one.critic.mmd2_[-1]:.1e}",
                f"{one.random.random_mean[-1]:.1e} ± {one.random.random_deviation[-1]:.0e}",
                f"{one.critic.gamma_:.2g}",
                f"{one.critic.off_diagonal_ratio_:.3g}",
            )
            for one in selections
        ),
    )


def error_rows(errors: ErrorCurve, test: ActivationStore, selections: Sequence[Selection]) -> Rows:
    """Errors with all prototypes, as many images at random, all images, and of the network itself."""
    labels = np.unique(np.concatenate([one.images.labels[one.rows] for one in selections]))
    truth, logits = test.labels.numpy(), test.logits[:].numpy()
    shown = np.isin(truth, labels)
    decided = logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).astype(np.int64)
    among = "" if len(labels) == len(test.classes) else f" (of all {len(test.classes)} classes)"
    return (
        ("reference images", "number", "error"),
        ("prototypes", str(len(errors.prototypes)), f"{errors.prototypes[-1]:.1%}"),
        ("at random", str(len(errors.prototypes)), f"{errors.random_mean[-1]:.1%} ± {errors.random_deviation[-1]:.1%}"),
        ("all", str(sum(len(one.rows) for one in selections)), f"{errors.all_rows:.1%}"),
        (f"none: the network{among}", "", f"{np.mean(decided[shown] != truth[shown]):.1%}"),
    )


def fewer_criticisms(selections: Sequence[Selection], asked: int) -> str:
    """A line of the selections with fewer criticisms than were asked for, empty without any."""
    fewer = [f"{one.name} {len(one.criticisms)}" for one in selections if len(one.criticisms) < asked]
    if not fewer:
        return ""
    return (
        f"Criticisms fewer than {asked}, as no more photographs have an image that is no prototype: {', '.join(fewer)}"
    )
