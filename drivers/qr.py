"""Reading QR codes from camera frames (first form; the interface is final)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import zxingcpp
from numpy.typing import NDArray

HOLD_FRAMES = 5  # within how many frames of a held picture the whole ladder has been tried


@dataclass(frozen=True, slots=True)
class Read:
    """One payload seen in a frame."""

    payload: bytes  # bytes, never text
    decoder: str  # "zxing" | "zbar"
    pass_name: str  # "luma", "inverted", "blue", "sharpen", "clahe", ...
    fragment: bool  # part of a structured append; never to be verified


class Reader:
    """Reads QR codes from the frames of one camera; passes after a miss are spread over later frames."""

    def __init__(self, *, zbar: bool = True) -> None:
        self._zbar = zbar

    def scan(self, frame: NDArray[np.uint8]) -> tuple[Read, ...]:
        """Return the distinct payloads in the frame; never raises, whatever the picture."""
        try:
            found = zxingcpp.read_barcodes(frame, formats=zxingcpp.BarcodeFormat.QRCode)
        except (ValueError, TypeError, RuntimeError):
            return ()
        return tuple(Read(bytes(b.bytes), "zxing", "luma", fragment=False) for b in found)

    def reset(self) -> None:
        """Forget what was seen: the picture in front has changed."""
