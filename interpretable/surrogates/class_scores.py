"""The score of a class, and its linear rationales, from the activation store of a network."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from interpretable.activations import ActivationStore
from interpretable.errors import SurrogateError

Kind = Literal["margin", "logit"]


class ClassScores(NamedTuple):
    """Of each image of a store, for one class; y ≈ gradients · features + intercepts."""

    features: Float[np.ndarray, "image filter"]
    """Sum over the cells of each map as the head sees it."""
    scores: Float[np.ndarray, " image"]
    """y."""
    gradients: Float[np.ndarray, "image filter"]
    """Of the score at the maps, mean over their cells."""
    intercepts: Float[np.ndarray, " image"]
    """Of the full maps: exact for a piecewise-linear head."""
    thresholds: Float[np.ndarray, " image"]
    """Score above which the network decides for the class."""
    of_class: Bool[np.ndarray, " image"]
    """Whether the class is the image's label."""
    rivals: Int[np.ndarray, " image"]
    """The other class of the largest logit, which a margin is over; −1 where there is no other logit."""

    def rows(self, images: Int[np.ndarray, " row"] | Bool[np.ndarray, " image"]) -> "ClassScores":
        """Those of some images."""
        return ClassScores(*(values[images] for values in self))


def class_score(logits: Float[np.ndarray, "*image output"], target: int, kind: Kind) -> Float[np.ndarray, "*image"]:
    """The class's logit, or its margin over the largest other logit, which is above 0 where the class is decided for.

    Of one output the class 1 has its logit and the class 0 its negative, for either kind.
    """
    if logits.shape[-1] == 1:
        return logits[..., 0] if target else -logits[..., 0]
    return logits[..., target] - (_rivals(logits, target).max(-1) if kind == "margin" else 0)


@dataclass(frozen=True)
class StoredScores:
    """Scores of every class on the images of a store.

    The margin is what a decision between several classes rests on, and has a rationale of its own for each rival even
    where the logits have one for all images, as those of a linear head do.
    """

    store: ActivationStore
    kind: Kind = "margin"

    def of(self, target: int) -> ClassScores:
        """Those of one class.

        Raises:
            SurrogateError: The store lacks the rationales that they need, or the images have several labels.
        """
        if self.store.labels.ndim != 1:
            raise SurrogateError(
                f"Classes are explained one against all others and need one label per image, got "
                f"{self.store.labels.shape[1]}; explain a run on single-label data."
            )
        logits = self._logits
        if not 0 <= target < max(logits.shape[1], 2):
            raise SurrogateError(f"The class must be 0 to {max(logits.shape[1], 2) - 1}, got {target}.")
        scores, rows = class_score(logits, target, self.kind), np.arange(len(logits))
        if logits.shape[1] == 1:
            column = self._column(0)
            sign = 1 if target else -1
            gradients = sign * self._gradients[:, column].astype(np.float64)
            intercepts = sign * self._intercepts[:, column]
            thresholds, rivals = np.zeros(len(scores)), np.full(len(scores), -1)
        else:
            column = self._column(target)
            gradients, intercepts = self._gradients[:, column].astype(np.float64), self._intercepts[:, column]
            others = _rivals(logits, target)
            thresholds, rivals = others.max(-1), others.argmax(-1)
            if self.kind == "margin":
                thresholds = np.zeros(len(scores))
                columns = np.array([self._column(other) for other in range(logits.shape[1])])[rivals]
                gradients = gradients - self._gradients[rows, columns]
                intercepts = intercepts - self._intercepts[rows, columns]
        return ClassScores(
            self._features, scores, gradients, intercepts, thresholds, self.store.labels.numpy() == target, rivals
        )

    def _column(self, output: int) -> int:
        chosen = self.store.manifest.rationales
        if not isinstance(chosen, tuple) or output not in (kept := [min(c, self._logits.shape[1] - 1) for c in chosen]):
            names = self.store.classes
            raise SurrogateError(
                f"{self.store.folder} has no rationales of {names[output] if output < len(names) else output}; write "
                "it again with `--rationales` and the names of all classes."
            )
        return kept.index(output)

    @cached_property
    def _features(self) -> np.ndarray:
        return self.store.masked_sums[:].double().numpy()

    @cached_property
    def _logits(self) -> np.ndarray:
        return self.store.logits[:].double().numpy()

    @cached_property
    def _gradients(self) -> np.ndarray:
        return self.store.rationales[:].numpy()  # float32: those of all classes are by far the largest array

    @cached_property
    def _intercepts(self) -> np.ndarray:
        return self.store.intercepts[:].double().numpy()


def _rivals(logits: np.ndarray, target: int) -> np.ndarray:
    """Logits with that of the class out of the running."""
    others = logits.copy()
    others[..., target] = -np.inf
    return others
