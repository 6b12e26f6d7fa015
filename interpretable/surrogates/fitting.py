"""All surrogates of a network, from the stores of its training and test images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from interpretable.activations import ActivationStore
from interpretable.errors import SurrogateError
from interpretable.progress import Track
from interpretable.surrogates.class_scores import ClassScores, Kind, StoredScores, class_score
from interpretable.surrogates.decision_mode_tree import DecisionModeTree
from interpretable.surrogates.fidelity import FidelityRow, fidelity_table
from interpretable.surrogates.filter_tree import FilterTree
from interpretable.surrogates.level_measures import LevelMeasures, level_measures
from interpretable.surrogates.linear_surrogate import LinearSurrogate


@dataclass(frozen=True)
class ExplainedClass:
    """The decision modes of a class."""

    target: int
    tree: DecisionModeTree
    fitted: ClassScores
    """Scores of the images that the tree was fitted to."""
    fitted_images: Int[np.ndarray, " image"]
    """Their indices in the training data."""
    tested: ClassScores
    """Scores of all test images."""
    levels: list[LevelMeasures]
    """The tree against the network on the test images."""


@dataclass(frozen=True)
class FittedSurrogates:
    """What was fitted to a network."""

    classes: dict[str, ExplainedClass]
    skipped: dict[str, str]
    """Classes that could not be explained, with the reason."""
    filter_tree: FilterTree
    linear: LinearSurrogate
    fidelity: list[FidelityRow]
    """Of the filter tree by depth and of the linear surrogate on the test images."""


@dataclass(frozen=True)
class SurrogateFit:
    """How surrogates are fitted to the network whose stores these are."""

    train: ActivationStore
    test: ActivationStore
    kind: Kind = "margin"
    images: int = 2000
    """Training images of a class at most, spread evenly over those that there are."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Of `DecisionModeTree`."""

    def run(
        self,
        targets: Sequence[int],
        parts: Mapping[str, Sequence[int]],
        logits_without: Float[np.ndarray, "image removed output"],
        track: Track,
    ) -> FittedSurrogates:
        """Fits and measures all of them.

        Args:
            targets: Classes whose decision modes are sought.
            parts: Filters of each part.
            logits_without: Of the test images, with all filters first, then without those of each part.
            track: Shows how far it is.

        Raises:
            SurrogateError: None of the classes can be explained.
        """
        trained, tested = StoredScores(self.train, self.kind), StoredScores(self.test, self.kind)
        classes, skipped = {}, {}
        for target in track(targets, "decision modes"):
            name = self.train.classes[target]
            try:
                classes[name] = self._explain(target, trained.of(target), tested.of(target), parts, logits_without)
            except SurrogateError as error:
                skipped[name] = str(error)
        if not classes:
            raise SurrogateError(next(iter(skipped.values())))
        peaks, test_peaks = (peaks_of(store) for store in (self.train, self.test))
        decided, test_decided = (network_decisions(store) for store in (self.train, self.test))
        return FittedSurrogates(
            classes=classes,
            skipped=skipped,
            filter_tree=FilterTree().fit(peaks, decided),
            linear=LinearSurrogate().fit(peaks, decided),
            fidelity=fidelity_table(peaks, decided, test_peaks, test_decided, self.test.labels.numpy(), track=track),
        )

    def _explain(
        self,
        target: int,
        trained: ClassScores,
        tested: ClassScores,
        parts: Mapping[str, Sequence[int]],
        logits_without: np.ndarray,
    ) -> ExplainedClass:
        # A rationale of no filter explains nothing: the head is silent on such an image.
        fires = trained.features[trained.of_class].any(0)
        usable = np.flatnonzero(trained.of_class & (trained.gradients[:, fires] != 0).any(1))
        if not len(usable):
            raise SurrogateError(
                "no training image of the class has a rationale; train on some, or choose other classes"
            )
        chosen = usable[np.linspace(0, len(usable) - 1, min(self.images, len(usable))).astype(int)]
        info = self.train.layer().info
        fitted = trained.rows(chosen)
        tree = DecisionModeTree(self.train.classes[target], info.height * info.width, **self.parameters)
        tree.fit(fitted.features, fitted.scores, fitted.gradients, fitted.intercepts)
        tree.fitted_images_ = tuple(self.train.recorded.numpy()[chosen].tolist())
        removed = class_score(logits_without, target, self.kind)
        return ExplainedClass(
            target=target,
            tree=tree,
            fitted=fitted,
            fitted_images=self.train.recorded.numpy()[chosen],
            tested=tested,
            levels=level_measures(tree, tested, parts, removed[:, :1] - removed[:, 1:]),
        )


def peaks_of(store: ActivationStore) -> Float[np.ndarray, "image filter"]:
    """Peaks of the top layer's part filters."""
    layer = store.layer()
    peaks: np.ndarray = layer.peaks[:][:, : layer.info.filters].numpy()
    return peaks


def network_decisions(store: ActivationStore) -> Int[np.ndarray, " image"]:
    """Classes that the network decides for."""
    logits = store.logits[:]
    decided: np.ndarray = (logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()).numpy()
    return decided
