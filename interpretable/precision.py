"""Arithmetic as fine as its type, whatever a training has set."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Within the block products of float32 are products of float32, not of TF32 or bfloat16; after it, as before.

    ‖x‖² + ‖y‖² − 2 x·y cancels: the ten bits of TF32 leave nothing of a small distance.
    """
    above = torch.backends.fp32_precision  # type: ignore[attr-defined]  # which a backend with "none" follows
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.no_grad(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        for backend, setting in zip(backends, before, strict=True):
            backend.fp32_precision = "none" if setting == above else setting
