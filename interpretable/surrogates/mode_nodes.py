"""The nodes of a growing tree of decision modes, and what each pair of them would cost if it were merged."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from interpretable.surrogates.mode_rationale import CANCELLED

Predict = Callable[[Int[np.ndarray, " leaf"], Int[np.ndarray, " image"]], Float[np.ndarray, " image"]]
"""Fits a rationale to the images of some leaves and says what it predicts for some images."""

_LEAST = np.finfo(np.float64).tiny
"""What Θ is at the least: images whose scores are 700/γ below the largest count as this far below."""

_NEARLY_ALL = 0.999


class ModeNodes:
    """Nodes in slots 0 to N − 1; a merged node takes the lower slot of its two, which is that of its lowest image.

    Sums over a node's leaves make all that is known of its rationale: with G = Σg, the direction is G / ‖G‖, so that
    products of images with G, and of the G of two nodes, give what any merged node would predict.
    """

    alive: np.ndarray
    """(slot,) which slots hold a node."""
    number: np.ndarray
    """(slot,) of the node in the tree."""

    def __init__(
        self,
        features: Float[np.ndarray, "image filter"],
        gradients: Float[np.ndarray, "image filter"],
        scores: Float[np.ndarray, " image"],
        penalty: float,
        temperature: float,
        predict: Predict | None = None,
    ) -> None:
        count = len(scores)
        self._penalty, self._temperature, self._predict = penalty, temperature, predict
        self.alive, self.number = np.ones(count, dtype=bool), np.arange(count)
        self._merged = 0
        self._leaf_slot = np.arange(count)  # (image,) the node that its leaf is below
        self._slot = self._leaf_slot.copy()  # (image,) the node that predicts it
        self._size, self._score_sum = np.ones(count), scores.copy()
        self._gradients = gradients
        self._products = gradients @ features.T  # (slot, image) G · x
        self._gram = gradients @ gradients.T  # (slot, slot) G · G
        self._sums = self._products.copy()  # (slot, slot) G of the first · Σx of the second
        self._predicted = scores.copy()  # (image,) ŷ
        self._largest = float((temperature * scores).max())  # exponents are taken relative to it
        self._weigh()
        self._joint = np.full((count, count), np.inf)  # (slot, slot) what a merged node would have of Θ
        self._change = np.full((count, count), np.inf)  # (slot, slot) what a merge would add to Θ
        self._shift = np.zeros((count, count))  # (slot, slot) what it would add to Σŷ
        self._nearest = np.zeros(count, dtype=np.int64)  # (slot,) the partner of the lowest cost

    def gain(self, first: int, second: int) -> float:
        """Δ log E of a merge."""
        return float(self._gains((np.array([first]), np.array([second])))[0])

    @property
    def dominated(self) -> bool:
        """Whether one node has nearly all of Θ, so that its costs are equal up to rounding."""
        return bool(self._of_slot.max() > _NEARLY_ALL * self._of_slot.sum())

    def cheapest_pair(self) -> tuple[int, int]:
        """The pair of the largest Δ log E where every image is below its own ancestors, in O(N).

        There a merge leaves Σŷ as it is, since the intercepts are those of least squares, and Θ decides alone.
        """
        slots = np.flatnonzero(self.alive)
        first = int(slots[self._change[slots, self._nearest[slots]].argmin()])
        return first, int(self._nearest[first])

    def best_pair(self, per_image: bool) -> tuple[int, int]:
        """The pair of the largest Δ log E, or of the largest per image of the merged node, in O(k²)."""
        slots = np.flatnonzero(self.alive)
        gains = self._gains(np.ix_(slots, slots))
        if per_image:
            images = np.bincount(self._slot, minlength=len(self.alive))[slots]
            gains = gains / np.maximum(images[:, None] + images, 1)
        first, second = np.unravel_index(gains.argmax(), gains.shape)
        return int(slots[first]), int(slots[second])

    def join(self, first: int, second: int) -> None:
        """Merges two nodes into the slot of the first, the lower one."""
        for sums in (self._size, self._score_sum, self._products, self._gram, self._sums):
            sums[first] += sums[second]
        for square in (self._gram, self._sums):
            square[:, first] += square[:, second]
        self.alive[second] = False
        for square in (self._joint, self._change):
            square[second] = square[:, second] = np.inf
        self.number[first] = len(self.alive) + self._merged
        self._merged += 1
        for slot_of_image in (self._leaf_slot, self._slot):
            slot_of_image[slot_of_image == second] = first
        self._predict_again(first)
        self._weigh()

    def assign_by_cosine(self) -> None:
        """Gives every image to the node whose direction has the largest cosine to its gradient."""
        directions = np.zeros_like(self._gradients)
        np.add.at(directions, self._leaf_slot, self._gradients)
        slots = np.flatnonzero(self.alive)
        lengths = np.linalg.norm(directions[slots], axis=1)
        lengths = np.where(lengths > CANCELLED * self._size[slots], lengths, np.inf)
        cosines = self._gradients @ (directions[slots] / lengths[:, None]).T
        self._slot = slots[cosines.argmax(1)]
        for slot in slots:
            self._predict_again(int(slot))
        self._weigh()

    def compare(self, slots: Int[np.ndarray, " slot"]) -> None:
        """Finds anew what it would cost to merge a node with each other one, or all nodes with one another."""
        every = np.arange(len(self.alive))
        for slot in slots:
            others = np.flatnonzero(self.alive & (every > slot if len(slots) > 1 else every != slot))
            joint, shift = self._against(int(slot), others)
            change = joint - self._of_slot[slot] - self._of_slot[others]
            for square, values in ((self._joint, joint), (self._change, change), (self._shift, shift)):
                square[slot, others] = square[others, slot] = values
        # A node keeps its partner unless that is gone, has changed, or is no longer the best, or first of the best.
        renewed = ~self.alive
        renewed[slots] = True
        stale = np.flatnonzero(self.alive & (renewed | renewed[self._nearest]))
        for slot in stale:  # a row at a time: no copy of the matrix
            self._nearest[slot] = self._change[slot].argmin()
        for slot in slots if len(slots) == 1 else ():
            before = self._change[every, self._nearest]
            nearer = (self._change[slot] < before) | ((self._change[slot] == before) & (slot < self._nearest))
            self._nearest[nearer & self.alive & (every != slot)] = slot

    def _against(self, slot: int, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a node merged with each of others would have of Θ, and what that adds to Σŷ, (other,) each."""
        own = np.flatnonzero(self._slot == slot)
        position = np.full(len(self.alive), -1)
        position[others] = np.arange(len(others))
        theirs = np.flatnonzero(position[self._slot] >= 0)
        partner = position[self._slot[theirs]]  # (their image,) position of its node among the others
        of_own, of_theirs = (
            self._mean_predictions(slot, others, own, theirs, partner)
            if self._predict is None
            else self._fitted_predictions(slot, others, own, theirs, partner)
        )
        joint = self._weights(of_own).sum(1) + np.bincount(partner, self._weights(of_theirs), len(others))
        shift = of_own.sum(1) - self._predicted[own].sum()
        shift += np.bincount(partner, of_theirs - self._predicted[theirs], len(others))
        return joint, shift

    def _mean_predictions(
        self, slot: int, others: np.ndarray, own: np.ndarray, theirs: np.ndarray, partner: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the merged nodes predict, (other, own image) and (their image,), along their mean directions."""
        squares, diagonal = np.diagonal(self._gram), np.diagonal(self._sums)
        square = squares[slot] + 2 * self._gram[slot, others] + squares[others]
        length = np.sqrt(np.maximum(square, 0))
        # Opposite rationales have no mean direction: only the intercept is left.
        length = np.where(length > CANCELLED * (self._size[slot] + self._size[others]), length, np.inf)
        inner = diagonal[slot] + self._sums[slot, others] + self._sums[others, slot] + diagonal[others]
        intercept = (self._score_sum[slot] + self._score_sum[others] - inner / length) / (
            self._size[slot] + self._size[others]
        )
        of_own = (self._products[slot, own] + self._products[np.ix_(others, own)]) / length[:, None] + intercept[
            :, None
        ]
        products = self._products[slot, theirs] + self._products[self._slot[theirs], theirs]
        return of_own, products / length[partner] + intercept[partner]

    def _fitted_predictions(
        self, slot: int, others: np.ndarray, own: np.ndarray, theirs: np.ndarray, partner: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same by fitting each merged node anew."""
        assert self._predict is not None
        of_own, of_theirs = np.empty((len(others), len(own))), np.empty(len(theirs))
        for position, other in enumerate(others):
            leaves = np.flatnonzero(np.isin(self._leaf_slot, (slot, other)))
            images = theirs[partner == position]
            found = self._predict(leaves, np.concatenate([own, images]))
            of_own[position], of_theirs[partner == position] = found[: len(own)], found[len(own) :]
        return of_own, of_theirs

    def _predict_again(self, slot: int) -> None:
        """What a node predicts for its images."""
        images = np.flatnonzero(self._slot == slot)
        if self._predict is not None:
            self._predicted[images] = self._predict(np.flatnonzero(self._leaf_slot == slot), images)
            return
        length = np.sqrt(max(self._gram[slot, slot], 0))
        length = length if length > CANCELLED * self._size[slot] else np.inf
        intercept = (self._score_sum[slot] - self._sums[slot, slot] / length) / self._size[slot]
        self._predicted[images] = self._products[slot, images] / length + intercept

    def _weigh(self) -> None:
        """What each node has of Θ."""
        self._of_slot = np.bincount(self._slot, self._weights(self._predicted), len(self.alive))

    def _weights(self, predicted: np.ndarray) -> np.ndarray:
        """exp(γŷ), relative to the largest score; a prediction far beyond it costs infinitely much."""
        with np.errstate(over="ignore"):
            weights: np.ndarray = np.exp(self._temperature * predicted - self._largest)
        return weights

    def _gains(self, pairs: tuple[np.ndarray, ...]) -> np.ndarray:
        """Δ log E of pairs of slots, also where one of them has nearly all of Θ."""
        first, second = np.broadcast_arrays(*pairs)
        left = self._of_slot.copy()
        largest = np.argsort(left)[-2:]
        left[largest] = 0
        # Σ over all other nodes, in which no large term is added and taken away again.
        others = left.sum() - (left[first] + left[second])
        for slot in largest:
            others = others + np.where((first == slot) | (second == slot), 0, self._of_slot[slot])
        after = np.maximum(others, 0) + self._joint[pairs]
        growth = np.log(np.maximum(after, _LEAST)) - np.log(self._of_slot.sum())
        gains: np.ndarray = self._penalty + self._temperature * self._shift[pairs] - len(self.alive) * growth
        return gains
