"""The eleven basic colour names of English, given to pixels by the nearest prototype in CIELAB."""

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy.typing import NDArray

# Typical shades in sRGB. The corners of the gamut would not do: pure blue lies so far out in CIELAB that every muted
# blue is nearer to grey.
PROTOTYPES = {
    "black": (25, 25, 25),
    "blue": (50, 90, 170),
    "brown": (120, 75, 45),
    "grey": (128, 128, 128),
    "green": (50, 140, 60),
    "orange": (235, 130, 40),
    "pink": (235, 150, 175),
    "purple": (125, 60, 150),
    "red": (190, 35, 40),
    "white": (240, 240, 240),
    "yellow": (230, 205, 50),
}
COLOURS = tuple(PROTOTYPES)

# IEC 61966-2-1: light of each of the 256 levels, and CIE XYZ of the three primaries.
_LEVEL = np.arange(256) / 255
_LIGHT = np.where(_LEVEL <= 0.04045, _LEVEL / 12.92, ((_LEVEL + 0.055) / 1.055) ** 2.4).astype(np.float32)
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_SHARE_OF_WHITE = (_XYZ / _XYZ.sum(1, keepdims=True)).astype(np.float32)
_LAB = np.array([[0, 116, 0], [500, -500, 0], [0, 200, -200]], np.float32)
_KNEE = 6 / 29  # of the cube root, which is a straight line below it


def cielab(rgb: UInt8[np.ndarray, "3 pixel"]) -> Float32[np.ndarray, "3 pixel"]:
    """L*, a* and b* of sRGB colours, seen under the white of sRGB, D65 (CIE 15:2004, 8.2.1)."""
    share = _SHARE_OF_WHITE @ _LIGHT[rgb]
    root = np.where(share > _KNEE**3, np.cbrt(share), share / (3 * _KNEE**2) + 4 / 29)
    values: NDArray[np.float32] = (_LAB @ root).astype(np.float32)
    values[0] -= 16
    return values


_CENTRES = cielab(np.array(list(PROTOTYPES.values()), np.uint8).T)


def colour_names(rgb: UInt8[np.ndarray, "3 height width"]) -> Int64[np.ndarray, "height width"]:
    """Position in COLOURS of the name of each pixel: the prototype at the smallest distance in CIELAB, ties lowest."""
    # Half of |q - p|² without |p|², which is the same for all prototypes q.
    distance = (_CENTRES**2).sum(0)[:, None] / 2 - _CENTRES.T @ cielab(rgb.reshape(3, -1))
    return np.asarray(distance.argmin(0).reshape(rgb.shape[1:]))
