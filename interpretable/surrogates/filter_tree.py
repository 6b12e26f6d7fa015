"""CART on filter peaks that imitates a network's decisions."""

from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from interpretable.documents import read_document, write_document
from interpretable.errors import SurrogateError
from interpretable.surrogates.imitation import checked, held_out, plain_decisions, plain_parameters, restored
from interpretable.surrogates.records import DocumentRecord, FilterTreeRecord
from interpretable.surrogates.tree_nodes import (
    TreeNodes,
    collapse_strengths,
    importances,
    nodes_from,
    nodes_of,
    records_of,
    walk,
)


class FilterTree(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A decision tree (CART, Gini impurity) over filter peaks whose classes are the decisions of a black box.

    With ``pruning="validation"`` a stratified share of the rows is held out, a tree is grown on the others, of the α of
    its cost-complexity path the one is taken whose tree agrees with most decisions held out (the largest of equals,
    so the simplest tree), and a tree is grown on all rows and pruned with it. Decisions too rare to share stay among
    the fitted rows; where nothing can be held out, all rows judge.

    Args:
        max_depth: Levels below the root, or None for any number.
        min_samples_leaf: Rows that a leaf has at least.
        pruning: "validation", or the α itself, 0 for no pruning.
        validation_fraction: Share of the rows held out.
        random_state: Seed of what is held out and of the order in which filters are tried, which decides between
            splits that are equally good.

    Attributes:
        tree_: Its nodes, `TreeNodes`.
        classes_: (K,) decisions in ascending order.
        n_features_in_: Number of filters D.
        pruning_: The α that it is pruned with.
        feature_importances_: (D,) share of each filter in the fall of impurity, summing to 1.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "max_depth": [Interval(Integral, 1, None, closed="left"), None],
        "min_samples_leaf": [Interval(Integral, 1, None, closed="left")],
        "pruning": [StrOptions({"validation"}), Interval(Real, 0, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "random_state": [Interval(Integral, 0, 2**32 - 1, closed="both")],
    }

    tree_: TreeNodes
    classes_: np.ndarray
    n_features_in_: int
    pruning_: float
    feature_importances_: np.ndarray

    def __init__(
        self,
        max_depth: int | None = 8,
        min_samples_leaf: int = 1,
        pruning: float | Literal["validation"] = "validation",
        validation_fraction: float = 0.2,
        random_state: int = 0,
    ) -> None:
        self.max_depth = max_depth
        self.min_samples_leaf = min_samples_leaf
        self.pruning = pruning
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike | Callable[[Any], Any]) -> Self:  # noqa: N803
        """Fits the tree to peaks (N, D) and decisions (N,), or to what a black box decides on them (`decisions_of`).

        Raises:
            ValueError: Peaks or decisions are not what scikit-learn accepts.
            SurrogateError: The black box fails.
        """
        X, self.classes_, codes = checked(self, X, y, np.float32)  # noqa: N806
        self.pruning_ = self._validated(X, codes) if self.pruning == "validation" else float(self.pruning)
        self.tree_ = self._grown(X, codes, self.pruning_)
        self.feature_importances_ = importances(self.tree_, self.n_features_in_)
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """The decision (N,) with most fitted rows in the leaf of each row, the first of equals."""
        return self._decisions_at(self.apply(X))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """(N, K): share of each decision among the fitted rows of the leaf."""
        leaves = self.apply(X)
        shares: np.ndarray = self.tree_.counts[leaves] / self.tree_.images[leaves, None]
        return shares

    def predict_at_depth(self, X: ArrayLike, depth: int) -> np.ndarray:  # noqa: N803
        """Decisions (N,) of the nodes ``depth`` levels below the root, or of leaves above; the root is at depth 0.

        Raises:
            SurrogateError: The depth is negative.
        """
        if depth < 0:
            raise SurrogateError(f"depth must be 0 (the root) or more, got {depth}.")
        levels = self._levels(X)
        return self._decisions_at(levels[:, min(depth, levels.shape[1] - 1)])

    def apply(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """Number of the leaf (N,) that each row comes to."""
        return self._levels(X)[:, -1]

    def decision_path_of(self, X: ArrayLike) -> list[list[int]]:  # noqa: N803
        """Numbers of the nodes on each row's way, from the root to its leaf."""
        levels = self._levels(X)
        new = np.diff(levels, axis=1, prepend=-1) != 0
        ways = np.split(levels[new], new.sum(1).cumsum()[:-1])
        return [way.tolist() for way in ways]

    def to_record(self) -> FilterTreeRecord:
        """The fitted tree as plain numbers and names.

        Raises:
            SurrogateError: The decisions are neither integers nor strings.
        """
        check_is_fitted(self)
        return FilterTreeRecord(
            parameters=plain_parameters(self),
            decisions=plain_decisions(self.classes_),
            num_features=self.n_features_in_,
            pruning=self.pruning_,
            nodes=records_of(self.tree_),
        )

    @classmethod
    def from_record(cls, record: FilterTreeRecord) -> Self:
        """The tree that a record describes, with the same predictions and ways as when it was written.

        Raises:
            SurrogateError: The record does not describe a tree.
        """
        tree = restored(cls, record.parameters, record.decisions, record.num_features)
        tree.tree_ = nodes_from(record.nodes, len(record.decisions), record.num_features)
        tree.pruning_ = record.pruning
        tree.feature_importances_ = importances(tree.tree_, record.num_features)
        return tree

    def save(self, path: str | Path) -> None:
        """Writes a JSON file that holds this tree alone, atomically."""
        write_document(Path(path), DocumentRecord(filter_tree=self.to_record()))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads the filter tree of a file.

        Raises:
            SurrogateError: There is no such file, it is damaged or edited, or holds no filter tree.
        """
        record = read_document(path, DocumentRecord).filter_tree
        if record is None:
            raise SurrogateError(f"{path} holds no filter_tree; save one there, or read another file.")
        return cls.from_record(record)

    def _levels(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        check_is_fitted(self)
        return walk(self.tree_, validate_data(self, X, dtype=np.float32, reset=False))

    def _decisions_at(self, nodes: np.ndarray) -> np.ndarray:
        decided: np.ndarray = self.classes_[self.tree_.counts[nodes].argmax(1)]
        return decided

    def _grown(self, peaks: np.ndarray, codes: np.ndarray, alpha: float) -> TreeNodes:
        cart = DecisionTreeClassifier(
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            ccp_alpha=alpha,
            random_state=self.random_state,
        )
        return nodes_of(cart.fit(peaks, codes), len(self.classes_))

    def _validated(self, peaks: np.ndarray, codes: np.ndarray) -> float:
        """The α of most agreement on the rows held out, the largest of equals."""
        fitted, judged = held_out(codes, self.validation_fraction, self.random_state)
        nodes = self._grown(peaks[fitted], codes[fitted], 0.0)
        levels = walk(nodes, peaks[judged])
        strengths = collapse_strengths(nodes)
        right = nodes.counts[levels].argmax(-1) == codes[judged, None]  # at each level
        inner = strengths[np.isfinite(strengths)]
        alphas = np.concatenate([[0.0], np.unique(inner)])
        agreeing = [
            np.take_along_axis(right, (strengths[levels] <= alpha).argmax(1)[:, None], 1).sum() for alpha in alphas
        ]
        return float(alphas[len(alphas) - 1 - int(np.argmax(agreeing[::-1]))])
