"""Decision-mode tree: what a class score rests on, from one rationale for all images down to one for each."""

from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from interpretable.documents import read_document, write_document
from interpretable.errors import SurrogateError
from interpretable.surrogates.black_box import linearise
from interpretable.surrogates.imitation import plain_parameters
from interpretable.surrogates.mode_growth import Assignment, Gain, grow
from interpretable.surrogates.mode_nodes import Predict
from interpretable.surrogates.mode_paths import ancestors, node_at, parse_paths
from interpretable.surrogates.mode_rationale import LinearRationales, filter_scale, linear_rationales
from interpretable.surrogates.mode_tree import (
    Selection,
    build_tree,
    fit_rationale,
    from_records,
    rounded,
    rows_of,
    to_records,
)
from interpretable.surrogates.records import DecisionModeRecord, DocumentRecord

PairScores = Literal["closed_form", "sparse"]
Intercept = Literal["vectorised", "map"]
Features = Float[np.ndarray, "image filter"]


class DecisionModeTree(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no type information
    """Tree of the modes in which a network decides for a class (Zhang et al., CVPR 2019).

    Each image has a linear rationale, y = g · x + b, with x the activations of the filters and g the gradient of the
    class score; the images' rationales are the leaves. Pairs of nodes are merged into coarser rationales while that
    raises the objective (`grow`); what is left stands below the root, which holds the mean rationale of all images.

    Where published descriptions differ the default is what the objective says, and the others are other readings. The
    selection is an exception: published trees weigh filters by the lasso, which tells contributions worse at every
    level, and below the root scores of other images too (docs/trees.md).

    Args:
        target: What the score is of, for the reader.
        cells: Cells of a map, h · w, that features are the sums over; 1 for features of any other kind.
        penalty: β, what log E pays for each node below the root, in nats.
        temperature: γ, the inverse of the mean score where None.
        selection: Filters in a merged rationale: ``"all"`` of them, those of α ≠ 0 by the lasso (``"binary"``), or each
            weighted by its α (``"sparse"``).
        sparsity: λ / √images of the lasso.
        pair_scores: Rationales that pairs are scored with: the mean direction with its intercept in closed form, or
            with the selection fitted to each pair, one lasso for each.
        gain: Which pair is merged: that with the largest Δ log E, or with the largest per image of the merged node.
        assignment: Whether an image stays below its own ancestors while the tree grows, or moves to the node with the
            largest cosine to its gradient, for which all pairs are scored anew after each merge.
        intercept: b of an image: what makes g · x + b its score, or that of the full maps, which `fit` is then given.

    Attributes:
        tree_: Its nodes, `ModeTree`.
        scale_: (D,) s of each filter.
        temperature_: γ.
        fitted_images_: Names by number of the images that it was fitted to, for its file; empty where rows are names
            enough.
        n_features_in_: Number of filters D.
    """

    def __init__(
        self,
        target: str = "",
        cells: int = 1,
        penalty: float = 1.0,
        temperature: float | None = None,
        selection: Selection = "all",
        sparsity: float = 1e-6,
        pair_scores: PairScores = "closed_form",
        gain: Gain = "objective",
        assignment: Assignment = "ancestors",
        intercept: Intercept = "vectorised",
    ) -> None:
        self.target = target
        self.cells = cells
        self.penalty = penalty
        self.temperature = temperature
        self.selection = selection
        self.sparsity = sparsity
        self.pair_scores = pair_scores
        self.gain = gain
        self.assignment = assignment
        self.intercept = intercept

    def fit(
        self,
        X: Float[np.ndarray, "image filter"],  # noqa: N803
        y: Float[np.ndarray, " image"] | Callable[[Any], Any],
        gradients: Float[np.ndarray, "image filter"] | None = None,
        intercepts: Float[np.ndarray, " image"] | None = None,
        progress: Callable[[int], None] = lambda merges: None,
    ) -> Self:
        """Grows the tree of images, those of the class as a rule.

        Args:
            X: Of each filter the sum over its map as the head sees it, or any other features.
            y: The class score, before any softmax or sigmoid, or the black box itself: a callable that gives the score
                of rows of features, whose gradients are then found by `linearise`.
            gradients: Of the scores at the features; for sums over maps the gradient's mean over cells.
            intercepts: Of the full maps, for ``intercept="map"``.
            progress: Called with the number of merges after each.

        Raises:
            SurrogateError: An argument is out of its range, arrays do not fit together or are not finite, scores are
                not above 0 on average, or a score depends on no filter.
        """
        self.check_arguments()
        if callable(y):
            y, gradients = linearise(y, np.asarray(X, dtype=np.float64))
        if gradients is None:
            raise SurrogateError("A decision-mode tree needs the gradients of its scores, got none; pass gradients=.")
        features, slopes, scores = (np.asarray(values, dtype=np.float64) for values in (X, gradients, y))
        _check_images(features, slopes)
        if scores.shape != features.shape[:1] or not np.isfinite(scores).all():
            raise SurrogateError(
                f"Scores must be one finite number for each of {len(features)} images, got shape {scores.shape}."
            )
        self.n_features_in_ = features.shape[1]
        self.scale_ = rounded(filter_scale(features, int(self.cells)))
        own = self._rationales_to_explain(features, slopes, scores, intercepts)
        temperature = 1 / own.scores.mean() if self.temperature is None else self.temperature
        self.temperature_ = float(rounded(np.array([temperature]))[0])
        merges = grow(
            own.features,
            own.gradients,
            own.scores,
            penalty=float(self.penalty),
            temperature=self.temperature_,
            gain=self.gain,
            assignment=self.assignment,
            predict=self._refit(own) if self.pair_scores == "sparse" else None,
            progress=progress,
        )
        self.tree_ = build_tree(own, merges, self.selection, self.sparsity)
        self.fitted_images_: tuple[int, ...] = ()
        return self

    def fitted_paths(self) -> Int[np.ndarray, "image depth"]:
        """Nodes from the root to each fitted image's own leaf, −1 after it."""
        check_is_fitted(self)
        leaves = np.flatnonzero(self.tree_.images >= 0)
        return ancestors(leaves[np.argsort(self.tree_.images[leaves])], self.tree_.parents)

    def paths(self, gradients: Features) -> Int[np.ndarray, "image depth"]:
        """Parse paths of any images, from the root to a leaf, −1 after it: at each node to the most similar rationale.

        Args:
            gradients: Of the class score at their features, as in `fit`.
        """
        check_is_fitted(self)
        slopes = np.asarray(gradients, dtype=np.float64)
        _check_images(slopes, slopes, self.n_features_in_)
        return parse_paths(slopes * self.scale_, self.tree_.weights, self.tree_.children)

    def predict(
        self,
        X: Features,  # noqa: N803
        gradients: Features,
        level: int | None = None,
        paths: Int[np.ndarray, "image depth"] | None = None,
    ) -> Float[np.ndarray, " image"]:
        """Score of images by the rationale at a level of their path, in the units of the scores that were fitted.

        Args:
            X: Features, as in `fit`.
            gradients: Of the class score at them.
            level: 1 for the root, 2 for the nodes below it, and so on; the leaves where None or where a path has ended.
                Where all images merged into one node, that is the root.
            paths: Where the images are, their parse paths where omitted.

        Returns:
            h(x) times the length of each image's own gradient, which rationales are in units of.
        """
        own, nodes = self._place(X, gradients, level, paths)
        heights = (own.features * self.tree_.weights[nodes]).sum(1) + self.tree_.intercepts[nodes]
        predicted: np.ndarray = heights * own.lengths
        return predicted

    def contributions(
        self,
        X: Features,  # noqa: N803
        gradients: Features,
        level: int | None = None,
        paths: Int[np.ndarray, "image depth"] | None = None,
    ) -> Float[np.ndarray, "image filter"]:
        """Contributions ρ = w ∘ x of the filters to each image's score at a level; see `predict`.

        Of a part, the contribution is the sum over its filters.
        """
        own, nodes = self._place(X, gradients, level, paths)
        contributed: np.ndarray = own.features * self.tree_.weights[nodes] * own.lengths[:, None]
        return contributed

    def to_record(self) -> DecisionModeRecord:
        """What ``tree.json`` holds of the tree."""
        check_is_fitted(self)
        return DecisionModeRecord(
            target=self.target,
            parameters={name: value for name, value in plain_parameters(self).items() if name != "target"},
            fitted_images=self.fitted_images_,
            scale=tuple(self.scale_.tolist()),
            temperature=self.temperature_,
            nodes=to_records(self.tree_),
        )

    @classmethod
    def from_record(cls, record: DecisionModeRecord) -> Self:
        """The tree of a record."""
        parameters: dict[str, Any] = dict(record.parameters)
        if unknown := sorted(set(parameters) - set(cls._get_param_names())):
            raise SurrogateError(
                f"parameters has {unknown[0]}, which this version does not know; build the tree again."
            )
        tree = cls(**parameters, target=record.target)
        tree.check_arguments()
        tree.scale_, tree.temperature_ = np.array(record.scale), record.temperature
        tree.n_features_in_ = len(record.scale)
        tree.fitted_images_ = record.fitted_images
        tree.tree_ = from_records(record.nodes)
        return tree

    def save(self, path: str | Path) -> None:
        """Writes the tree as JSON, atomically."""
        write_document(Path(path), DocumentRecord(decision_modes=(self.to_record(),)))

    @classmethod
    def load(cls, path: str | Path, target: str | None = None) -> Self:
        """Reads a tree that predicts and parses exactly as the saved one did.

        Args:
            path: What `save` or ``interpretable tree`` wrote.
            target: Which class's tree, where the file holds several.

        Raises:
            SurrogateError: The file is damaged, was edited, or has no such tree.
        """
        records = read_document(path, DocumentRecord).decision_modes
        targets = [record.target for record in records]
        if target is None and len(targets) == 1:
            (target,) = targets
        if target not in targets:
            raise SurrogateError(
                f"{path} holds decision-mode trees of {', '.join(targets) or 'none'}, asked for {target}; choose one "
                "of them with target=."
            )
        place = targets.index(target)
        try:
            return cls.from_record(records[place])
        except SurrogateError as error:
            raise SurrogateError(f"{path}: the field decision_modes[{place}].parameters is wrong: {error}") from error

    def _place(
        self,
        features: Features,
        gradients: Features,
        level: int | None,
        paths: Int[np.ndarray, "image depth"] | None,
    ) -> tuple[LinearRationales, Int[np.ndarray, " image"]]:
        """Images in the tree's units, and the node of each at a level."""
        if level is not None and level < 1:
            raise SurrogateError(f"Levels are counted from 1, the root, got {level}.")
        sums, slopes = np.asarray(features, dtype=np.float64), np.asarray(gradients, dtype=np.float64)
        _check_images(sums, slopes, self.n_features_in_)
        found = self.paths(gradients) if paths is None else paths
        if len(found) != len(sums):
            raise SurrogateError(f"Paths must be of the {len(sums)} images that features are of, got {len(found)}.")
        return linear_rationales(sums, slopes, np.zeros(len(sums)), self.scale_), node_at(found, level)

    def _rationales_to_explain(
        self, features: Features, slopes: Features, scores: np.ndarray, intercepts: np.ndarray | None
    ) -> LinearRationales:
        own = linear_rationales(features, slopes, scores, self.scale_)
        if (flat := int((own.lengths == 0).sum())) > 0:
            raise SurrogateError(
                f"Scores must depend on the filters, but {flat} of {len(scores)} have a gradient of 0; leave these "
                "images out."
            )
        if self.intercept == "map":
            if intercepts is None:
                raise SurrogateError("intercept='map' needs the intercepts of the full maps; pass intercepts=.")
            given = np.asarray(intercepts, dtype=np.float64)
            if given.shape != scores.shape or not np.isfinite(given).all():
                raise SurrogateError(
                    f"Intercepts must be one finite number for each of {len(scores)} images, got shape {given.shape}."
                )
            own = own._replace(intercepts=given / own.lengths)
            own = own._replace(scores=(own.features * own.gradients).sum(1) + own.intercepts)
        if self.temperature is None and not own.scores.mean() > 0:
            raise SurrogateError(
                f"The scores of {self.target or 'a class'} must be above 0 on average, as 1 / mean is the temperature, "
                f"got {own.scores.mean():.3g} over the length of their gradients; give the images that the network is "
                "right on, a margin instead of a logit, or temperature=."
            )
        return own

    def _refit(self, own: LinearRationales) -> Predict:
        def predict(leaves: np.ndarray, images: np.ndarray) -> np.ndarray:
            weights, intercept = fit_rationale(rows_of(own, leaves), self.selection, self.sparsity)
            predicted: np.ndarray = own.features[images] @ weights + intercept
            return predicted

        return predict

    def check_arguments(self) -> None:
        """Refuses arguments out of their range, as `fit` does.

        Raises:
            SurrogateError: One of them is.
        """
        choices = {
            "selection": Selection,
            "pair_scores": PairScores,
            "gain": Gain,
            "assignment": Assignment,
            "intercept": Intercept,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in get_args(allowed):
                words = " or ".join(map(repr, get_args(allowed)))
                raise SurrogateError(f"{name} must be {words}, got {getattr(self, name)!r}.")
        numbers = (self.cells, self.penalty, self.sparsity, 1 if self.temperature is None else self.temperature)
        if (
            not all(isinstance(number, Real) for number in numbers)
            or not np.isfinite(numbers).all()
            or min(numbers) < 0
            or self.cells < 1
            or self.temperature == 0
        ):
            raise SurrogateError(
                "cells must be at least 1, penalty and sparsity at least 0 and temperature above 0, got "
                f"{self.cells}, {self.penalty}, {self.sparsity} and {self.temperature}."
            )


def _check_images(features: np.ndarray, gradients: np.ndarray, filters: int | None = None) -> None:
    """Refuses features and gradients that are not finite, of the same images and of as many filters as fitted."""
    if features.ndim != 2 or features.shape != gradients.shape or len(features) == 0:
        raise SurrogateError(
            "Features and gradients must be of the same images and filters, one row for each image, got shapes "
            f"{features.shape} and {gradients.shape}."
        )
    if filters is not None and features.shape[1] != filters:
        raise SurrogateError(f"The tree was fitted to {filters} filters, got {features.shape[1]}.")
    if not (np.isfinite(features).all() and np.isfinite(gradients).all()):
        raise SurrogateError("Features and gradients must be finite, got NaN or infinity.")
