"""Colours of signed attributions on a grey picture: one scale rule for every method and image."""

import numpy as np

PERCENTILE = 99.5
"""Of the magnitudes of a picture: where its colours are full, so that single pixels do not decide about all others."""

FOR, AGAINST = (178, 24, 43), (33, 102, 172)
"""Red and blue that remain distinct to colour-blind readers (ColorBrewer's RdBu)."""

_LUMINANCE = (0.299, 0.587, 0.114)
_PALEST = 0.55
"""Grey of black pixels: on a darker one blue would be lost."""

_COVER = 0.8
"""Share of full colour in a pixel at the most: the picture stays visible below."""


def full_colour(values: np.ndarray) -> float:
    """Magnitude at which colours are full: a percentile of |values|, their maximum where that is 0.

    Args:
        values: (H, W) signed attributions of one image.

    Returns:
        Above 0; 0 where all values are.
    """
    magnitudes = np.abs(values)
    return float(np.percentile(magnitudes, PERCENTILE)) or float(magnitudes.max())


def overlaid(picture: np.ndarray, values: np.ndarray, full: float) -> np.ndarray:
    """A pale grey picture under red where values are positive and blue where they are negative.

    The share of colour grows with |values|, from none at 0 to four fifths from ``full`` on.

    Args:
        picture: (H, W, 3) uint8.
        values: (H, W).
        full: Of `full_colour`.

    Returns:
        (H, W, 3) uint8.
    """
    grey = 255 * _PALEST + (1 - _PALEST) * (picture @ np.array(_LUMINANCE))
    cover = _COVER * np.clip(np.abs(values) / (full or 1.0), 0, 1)[..., None]
    colour = np.where(values[..., None] > 0, FOR, AGAINST)
    pixels: np.ndarray = ((1 - cover) * grey[..., None] + cover * colour).round().astype(np.uint8)
    return pixels
