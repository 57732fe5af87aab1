"""The colour in which a code is drawn: what people see, and never a proof of anything."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SIDE_SAMPLES: Final = 64  # along each side of a code: enough for a median, whatever its size
CHROMA_MIN: Final = 48  # between the strongest and the weakest of the three channels; less is black or grey

# Hues in degrees, both ends included; between them nobody would name one of the three.
_HUES: Final = (("red", 340, 360), ("red", 0, 20), ("yellow", 35, 70), ("green", 80, 170))


def appearance(frame: NDArray[np.uint8], corners: Any) -> str:
    """Return green, yellow or red when the dark modules of a code have that colour, else other.

    `frame` is height x width x 3 BGR, `corners` the position that zxing-cpp gives; none for a grey frame or a
    code of which nothing lies in the frame.
    """
    points = [corners.top_left, corners.top_right, corners.bottom_right, corners.bottom_left]
    left, right = (max(0, f(point.x for point in points)) for f in (min, max))
    top, bottom = (max(0, f(point.y for point in points)) for f in (min, max))
    if frame.ndim != 3 or right <= left or bottom <= top:
        return "none"
    step = max(1, min(right - left, bottom - top) // SIDE_SAMPLES)
    pixels = frame[top : bottom + 1 : step, left : right + 1 : step].reshape(-1, 3).astype(np.int32)
    if not len(pixels):
        return "none"
    brightness = pixels.sum(axis=1)
    low, high = np.percentile(brightness, (10, 90))
    dark = pixels[brightness <= (low + high) / 2]
    return _name(*(int(value) for value in np.median(dark, axis=0)))


def _name(blue: int, green: int, red: int) -> str:
    strongest, chroma = max(blue, green, red), max(blue, green, red) - min(blue, green, red)
    if chroma < CHROMA_MIN:
        return "other"
    if strongest == red:
        sixth = (green - blue) / chroma % 6
    elif strongest == green:
        sixth = (blue - red) / chroma + 2
    else:
        sixth = (red - green) / chroma + 4
    return next((name for name, first, last in _HUES if first <= sixth * 60 <= last), "other")
