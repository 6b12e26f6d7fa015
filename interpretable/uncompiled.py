"""Running a compiled network in its uncompiled form: hooks and rules that come later are not seen by compiled code."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import torch
from torch import nn


def without_compilation(model: nn.Module) -> nn.Module:
    """The network that was compiled, which is the model itself where it was not."""
    return cast(nn.Module, getattr(model, "_orig_mod", model))


class _ForceEager:
    """Has compiled code run uncompiled, until the last of several blocks ends, in whichever order they do."""

    def __init__(self) -> None:
        self._blocks = 0
        self._scope = ExitStack()

    def __enter__(self) -> None:
        if not self._blocks:
            self._scope.enter_context(torch.compiler.set_stance("force_eager"))
        self._blocks += 1

    def __exit__(self, *_: object) -> None:
        self._blocks -= 1
        if not self._blocks:
            self._scope.close()


_FORCE_EAGER = _ForceEager()


@contextmanager
def uncompiled() -> Iterator[None]:
    """Within the block compiled modules and functions run as they were written; blocks may nest and overlap."""
    with _FORCE_EAGER:
        yield
