"""Reading layers of any network in one forward pass, with nothing left behind on it."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from interpretable.errors import ModelError
from interpretable.uncompiled import uncompiled, without_compilation


class _Stop(BaseException):
    """Ends a forward pass; no `Exception`, so that a network which catches those does not swallow it."""


class LayerReader:
    """What `tap` yields: call it as the network to run a pass, or look at ``outputs`` of a pass that others ran."""

    def __init__(self, network: nn.Module, layers: tuple[str, ...], stop: bool) -> None:
        self._network = network
        self._layers = layers
        self._stop = stop
        self._running = False
        self._read: dict[str, Tensor] = {}

    @property
    def outputs(self) -> dict[str, Tensor]:
        """What the layers gave in the last pass, by name.

        Raises:
            ModelError: A layer was not reached.
        """
        missing = [name for name in self._layers if name not in self._read]
        if missing:
            raise ModelError(
                f"Every layer must run in a forward pass, got none of {', '.join(missing)}; name layers that the "
                "network calls, not containers that it only indexes."
            )
        return {name: self._read[name] for name in self._layers}

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Runs the network on its own arguments and returns the outputs of the layers by name.

        Raises:
            ModelError: A layer was not reached, or gave no tensor.
        """
        self._running = True
        try:
            self._network(*args, **kwargs)
        except _Stop as stop:
            if stop.args[0] is not self:  # of a reader around this one
                raise
        finally:
            self._running = False
        return self.outputs

    def forget(self, *_: Any) -> None:
        """A forward pre-hook of the network: a pass begins."""
        self._read = {}

    def read(self, name: str, output: object) -> None:
        """A forward hook of a layer: it has run."""
        if name in self._read:
            return
        if not isinstance(output, Tensor):
            raise ModelError(
                f"The layer {name} must give a tensor, got {type(output).__name__}; name a layer inside it or above it."
            )
        last = self._stop and self._running and len(self._read) + 1 == len(self._layers)
        # A copy, since a layer above may write into it in place; nothing runs after the last.
        self._read[name] = output if last else output.clone()
        if last:
            raise _Stop(self)


def layer_named(network: nn.Module, name: str) -> nn.Module:
    """The layer of a network that has a dotted name, as in ``named_modules()``.

    Raises:
        ModelError: The name is no layer's.
    """
    modules: dict[str, nn.Module] = {known: module for known, module in network.named_modules() if known}
    if name not in modules:
        close = difflib.get_close_matches(name, modules, n=3, cutoff=0.0)
        raise ModelError(
            f"A layer must be named as in {type(network).__name__}.named_modules(), got {name!r}; the closest are "
            f"{', '.join(close) or 'none, for it has no layers'}."
        )
    return modules[name]


@contextmanager
def tap(model: nn.Module, layers: Iterable[str], *, stop: bool = True) -> Iterator[LayerReader]:
    """Reads the outputs of named layers of any network, within its block alone.

    ``with tap(net, ["layer3"]) as read: maps = read(images)`` gives a dictionary of outputs by name. They come
    with their gradient graph where gradients are on, and inference mode and autocast hold as they do for the network
    itself. A pass of ``read`` ends at the last of the layers, so that a head costs nothing; with ``stop=False`` it goes
    on to the end. One that others run, such as a trainer, always does, and ``read.outputs`` are those of the last pass.
    A layer that runs several times in a pass is read at its first.

    A network of `torch.compile` is read in its uncompiled form, within the block: hooks that come after a compilation
    are not seen by compiled code. Its compiled code is used again afterwards. The network's hooks are as before when
    the block ends, also by an exception.

    Args:
        model: The network.
        layers: Dotted names of its modules as in ``named_modules()``, those of the network that was compiled.
        stop: Whether a pass of the reader ends when all layers have been read.

    Raises:
        ModelError: A name is no layer's.
    """
    network = without_compilation(model)
    names = tuple(dict.fromkeys(layers))
    if not names:
        raise ModelError("At least one layer must be named, got none; give names as in named_modules().")
    modules = {name: layer_named(network, name) for name in names}
    reader = LayerReader(network, names, stop)
    with ExitStack() as scope:
        scope.enter_context(uncompiled())
        scope.callback(network.register_forward_pre_hook(reader.forget, prepend=True).remove)
        for name in names:
            # The default binds this name, not the loop's last.
            hook = modules[name].register_forward_hook(lambda _, __, output, name=name: reader.read(name, output))
            scope.callback(hook.remove)
        yield reader


class UpTo(nn.Module):
    """A network up to one of its layers, whose output it gives; see `tap`."""

    def __init__(self, model: nn.Module, layer: str) -> None:
        super().__init__()
        self.model = model
        self._layer = layer

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The layer's output."""
        with tap(self.model, [self._layer]) as read:
            return read(*args, **kwargs)[self._layer]
