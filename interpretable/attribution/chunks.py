"""Work in chunks of examples that fit into memory."""

from collections.abc import Callable
from typing import TypeVar

import torch

from interpretable.errors import AttributionError
from interpretable.passes import examples_at_once
from interpretable.progress import Track, untracked

Result = TypeVar("Result")


def chunk_size(batch_size: int | None, device: torch.device) -> int:
    """Examples in a forward pass: as asked for, or what suits the device.

    Raises:
        AttributionError: Fewer than one is asked for.
    """
    if batch_size is None:
        return examples_at_once(device)
    if batch_size < 1:
        raise AttributionError(f"batch_size must be 1 or more, got {batch_size}.")
    return batch_size


def in_chunks(
    function: Callable[[slice], Result], total: int, size: int, track: Track = untracked, what: str = ""
) -> list[Result]:
    """What a function gives for one slice of examples after the other, in order.

    A slice that does not fit into memory is halved, and so are all that follow.

    Args:
        function: Called with slices of at most ``size`` examples that cover 0 to ``total``.
        total: How many examples there are.
        size: How many of them at once.
        track: Shows how far it is, in examples.
        what: What the examples are, for ``track``.

    Raises:
        AttributionError: A single example does not fit.
    """
    results: list[Result] = []
    done = 0
    for example in track(range(total), what):
        while example >= done:
            chunk = slice(done, min(done + size, total))
            try:
                results.append(function(chunk))
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                if size == 1:
                    raise AttributionError(
                        "One example must fit into memory, but it does not; use smaller images, or another device."
                    ) from error
                size = max(1, (chunk.stop - chunk.start) // 2)
            else:
                done = chunk.stop
    return results


def _is_out_of_memory(error: RuntimeError) -> bool:
    # The CPU's allocator has no class of errors of its own.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: " in str(error)
