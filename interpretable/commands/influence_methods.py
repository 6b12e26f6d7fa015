"""Influence of a run's training images by each method."""

from collections.abc import Callable
from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn import functional as F

from interpretable.commands.influence_batches import logits_of
from interpretable.commands.influence_checkpoints import network_at
from interpretable.commands.influence_request import InfluenceMethod, Request
from interpretable.commands.terminal import show_progress
from interpretable.influence import LastLayer, LastLayerInfluence, TracIn, last_layer_features
from interpretable.influence.ek_fac import EKFAC
from interpretable.influence.weight_layers import weight_layers


class Influence(NamedTuple):
    """Of N training images, in their order; tensors are on the CPU."""

    labels: Tensor
    """(N,) int64."""
    predicted: Tensor
    """(N,) int64, by the run's own network."""
    itself: Tensor
    """(N,) float64, self-influence."""
    on_queries: Tensor | None
    """(T, N) float64; None without queries."""
    damping: float | None
    """What the method used for all parameters alike; None where it has none, or one for each layer."""
    layers: tuple[str, ...]
    """Whose weights, and biases, are looked at."""


_HEAD = ("the last linear layer",)


def influence_of(request: Request) -> Influence:
    """Influence of the training images on themselves and on the queries, by the method that is asked for.

    Raises:
        InfluenceError: The method does not fit the network.
    """
    return METHODS[cast(InfluenceMethod, request.asked.method)](request)


def _last_layer(request: Request) -> Influence:
    network = request.run.model.net
    seen = last_layer_features(network, request.training, show_progress)
    estimator = LastLayerInfluence(damping=request.asked.damping).fit(seen, show_progress)
    itself = estimator.self_influence(show_progress)
    on_queries = None
    if request.queries is not None:
        on_queries = estimator.influence(last_layer_features(network, request.queries.batches), show_progress)
    return _influence(seen.labels, _predicted(seen), itself, on_queries, estimator.damping_, _HEAD)


def _trac_in(request: Request) -> Influence:
    networks = [network_at(request.run, checkpoint) for checkpoint in request.checkpoints]
    seen = [last_layer_features(network, request.training, show_progress) for network in networks]
    estimator = TracIn().fit(seen, [checkpoint.learning_rate for checkpoint in request.checkpoints])
    itself = estimator.self_influence(show_progress)
    on_queries = None
    if request.queries is not None:
        tested = [last_layer_features(network, request.queries.batches) for network in networks]
        on_queries = estimator.influence(tested, show_progress)
    names = [checkpoint.path.stem for checkpoint in request.checkpoints]
    if "best" in names:
        predicted = _predicted(seen[names.index("best")])
    else:
        predicted = logits_of(request.run, request.training, request.asked.batch_size).argmax(1)
    return _influence(seen[0].labels, predicted, itself, on_queries, None, _HEAD)


def _ek_fac(request: Request) -> Influence:
    network, asked, training = request.run.model.net, request.asked, request.training
    estimator = EKFAC(damping=asked.damping, layers=_trained_layers(network), batch_size=asked.batch_size)
    estimator.fit(network, training, show_progress)
    itself = estimator.self_influence(training, show_progress)
    on_queries = None
    if request.queries is not None:
        on_queries = estimator.influence(request.queries.batches, training, show_progress)
    predicted = logits_of(request.run, training, asked.batch_size).argmax(1)
    return _influence(training.labels, predicted, itself, on_queries, asked.damping, tuple(estimator.factors_))


METHODS: dict[InfluenceMethod, Callable[[Request], Influence]] = {
    "last_layer": _last_layer,
    "trac_in": _trac_in,
    "ek_fac": _ek_fac,
}


def _influence(
    labels: Tensor,
    predicted: Tensor,
    itself: Tensor,
    on_queries: Tensor | None,
    damping: float | None,
    layers: tuple[str, ...],
) -> Influence:
    on_queries = None if on_queries is None else on_queries.double().cpu()
    return Influence(labels.cpu(), predicted.cpu(), itself.double().cpu(), on_queries, damping, layers)


def _predicted(seen: LastLayer) -> Tensor:
    return F.linear(seen.features, seen.weight, seen.bias).argmax(1)


def _trained_layers(network: nn.Module) -> list[str]:
    """Layers whose weights the training changed: those of frozen ones are what they are without any image."""
    layers, _ = weight_layers(network, None)
    return [name for name, layer in layers.items() if layer.weight.requires_grad]
