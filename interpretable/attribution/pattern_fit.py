"""Patterns of all units of a network, estimated in one pass over a loader and kept in a file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from interpretable.activations import weights_digest
from interpretable.attribution.calls import Calls
from interpretable.attribution.method import checked_images
from interpretable.attribution.network import Network, explained
from interpretable.attribution.operations import Call, Kind, Rule, as_is
from interpretable.attribution.patterns import Estimator, UnitSums, added, first_images, patterns_of, unit_sums
from interpretable.errors import AttributionError
from interpretable.files import written_atomically
from interpretable.progress import Track, untracked
from interpretable.uncompiled import without_compilation

_ESTIMATOR, _DIGEST = "estimator", "weights"


@dataclass(frozen=True)
class Patterns:
    """The patterns of every weighted call of a network, in the order of its calls, batch norms folded in.

    A call whose output goes straight to a rectifier is estimated where it is positive; the others, such as the last
    layer and the summands of a residual sum, by the linear estimator.
    """

    tensors: tuple[Tensor, ...]
    """Of each call, in the shape of its weight."""
    estimator: Estimator
    """That of the calls before a rectifier."""
    weights: str
    """Digest of the weights that they are of."""

    @property
    def dead_units(self) -> tuple[int, ...]:
        """Of each call, how many units have no pattern, since they were never positive or never varied."""
        return tuple(int((pattern.flatten(1) == 0).all(1).sum()) for pattern in self.tensors)

    @classmethod
    def fit(
        cls,
        model: nn.Module,
        batches: Iterable[Any],
        *,
        estimator: Estimator = "two_component",
        track: Track = untracked,
    ) -> Self:
        """Estimates patterns in one pass; sums are kept in float64, two arrays as large as each weight.

        Args:
            model: Maps images to logits.
            batches: Batches of images, alone, first or under ``"image"``; of zero mean for ``"two_component"``.
            estimator: See `patterns_of`.
            track: Shows how far it is.

        Raises:
            AttributionError: There are no images, they are no finite numbers, or an operation of the network has no
                rule.
        """
        if estimator not in get_args(Estimator):
            raise AttributionError(f"An estimator must be one of {', '.join(get_args(Estimator))}, got {estimator!r}.")
        sums: tuple[UnitSums, ...] = ()
        weights: list[Tensor] = []
        with explained(model) as network:
            for batch in track(batches, "patterns"):
                images = checked_images(first_images(batch).to(network.device), network)
                calls, rectified = _weighted_calls(network, images)
                of_batch = tuple(
                    unit_sums(call, call.position in rectified and estimator != "linear") for call in calls
                )
                sums = tuple(added(pair) for pair in zip(sums, of_batch, strict=True)) if sums else of_batch
                weights = [call.operands[1] for call in calls if call.operands[1] is not None]
        if not sums:
            raise AttributionError("Patterns are estimated from images, got none; give one batch at least.")
        tensors = tuple(
            patterns_of(weight, of_call, estimator if position in rectified else "linear").to(weight.dtype)
            for position, (weight, of_call) in enumerate(zip(weights, sums, strict=True))
        )
        return cls(tensors, estimator, weights_digest(without_compilation(model)))

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file."""
        named = {f"{position:04d}": tensor.contiguous() for position, tensor in enumerate(self.tensors)}
        with written_atomically(Path(path)) as temporary:
            save_file(named, temporary, {_ESTIMATOR: self.estimator, _DIGEST: self.weights})

    @classmethod
    def load(cls, path: str | Path, model: nn.Module | None = None) -> Self:
        """Reads a file that `save` wrote.

        Args:
            path: The file.
            model: The network that they are to be of, if it is to be compared.

        Raises:
            AttributionError: The file is none, or of other weights.
        """
        try:
            with safe_open(path, "pt") as file:
                settings: Mapping[str, str] = file.metadata() or {}
                patterns = cls(
                    tuple(file.get_tensor(name) for name in sorted(file.keys())),
                    settings[_ESTIMATOR],  # type: ignore[arg-type]
                    settings[_DIGEST],
                )
        except (OSError, SafetensorError, KeyError) as error:
            raise AttributionError(f"{path} must be a file of patterns, but it cannot be read ({error}).") from error
        if model is not None:
            patterns.check(model)
        return patterns

    def check(self, model: nn.Module) -> None:
        """Compares the weights that the patterns are of with a network's.

        Raises:
            AttributionError: They differ.
        """
        if self.weights != weights_digest(without_compilation(model)):
            raise AttributionError(
                "Patterns must be of the network's own weights, but these are of others; estimate them again with "
                "Patterns.fit."
            )


def _weighted_calls(network: Network, images: Tensor) -> tuple[list[Call], set[int]]:
    """The weighted calls of a pass, and the positions of those whose output goes straight to a rectifier."""
    found: dict[int, Call] = {}
    rectified: set[int] = set()

    def note(call: Call) -> Tensor:
        if "transpose" in call.name:
            raise AttributionError("Patterns are not defined for transposed convolutions here; choose another method.")
        found[call.position] = call  # of a folded call, instead of the one without its batch norm
        return as_is(call)

    def rectify(call: Call) -> Tensor:
        origin = calls.origin(call.operands[0])
        if origin is not None:
            rectified.add(origin.position)
        return as_is(call)

    kinds = (Kind.SUM, Kind.SCALING, Kind.MAX_POOL, Kind.LINEAR, Kind.AFFINE)
    rules: dict[Kind, Rule] = {**dict.fromkeys(kinds, as_is), Kind.WEIGHTED: note, Kind.RECTIFIER: rectify}
    calls = Calls(rules, "PatternNet", fold=True)
    with calls:
        network(images.requires_grad_())
    return [found[position] for position in sorted(found)], rectified
