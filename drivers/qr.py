"""Reading QR codes from camera frames.

Most frames show no code, most codes read at once, and a few are held in bad light or out of focus. So each
frame goes through three gates, and only what passes one pays for the next:

1. Is there anything like modules, and has anything changed since nothing was found? A sample of every fourth
   pixel tells. If not, the frame is done (every REST_LOOK-th is looked at all the same).
2. One pass of zxing-cpp over the luma: reads everyday codes.
3. After a miss one rung of a ladder: a few passes over views in which more shows (qr_passes). Frames that
   follow get the next rungs, and HOLD_FRAMES frames have seen them all. The pass that read last comes first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import zxingcpp

from drivers.appearance import appearance
from drivers.qr_passes import (
    PASSES,
    Frame,
    Picture,
    channel,
    luma,
    may_hold_code,
    sample_of,
    shrink,
    threshold,
)
from drivers.structured_append import is_fragment

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOLD_FRAMES = 5  # within how many frames of a held picture the whole ladder has been tried

# One rung per frame, the best by measured gain first (bench/bench_reader.py). "channel" stands for the colour
# plane that shows most, "zbar" for pyzbar on the thresholded luma. Where even the brightest part is dark,
# other passes promise more.
RUNGS: Final = (
    ("channel", "tone", "threshold"),
    ("deblur",),
    ("deblur_2",),
    ("zbar", "equalise"),
    ("upsample", "sharpen", "median", "soften"),
)
DARK_RUNGS: Final = (
    ("lift", "equalise"),
    ("channel", "tone", "threshold"),
    ("deblur",),
    ("deblur_2", "upsample", "sharpen"),
    ("zbar",),
)

SIDE_PX_MAX: Final = 4608  # the largest side zxing-cpp is given; 20 megapixels in one pass
SIDE_PX_MIN: Final = 16
SMALL_SIDE_PX: Final = 320  # a smaller picture is not a camera's, and costs nothing to look at
STEPS_MIN: Final = 4  # up and down, both ways, in a tile of 32 x 32 pixels; codes show 8 and more
NIGHT_BELOW: Final = 45  # grey level; a darker frame may hide a code below the steps that count
CHANGE_LEVELS: Final = 8
NIGHT_CHANGE_LEVELS: Final = 4
CHANGE_SAMPLES: Final = 12  # of 19200 at 640 x 480: fewer than a code's worth of change is noise
REST_LOOK: Final = 30  # about every two seconds


@dataclass(frozen=True, slots=True)
class Read:
    """One payload seen in a frame."""

    payload: bytes  # bytes, never text
    decoder: str  # "zxing" | "zbar"
    pass_name: str  # "luma", "blue", "tone", "threshold", "deblur", ...
    fragment: bool  # part of a structured append; never to be verified
    appearance: str = "none"  # the colour of its modules (`drivers.appearance`), where it was looked at


class Reader:
    """Reads QR codes from the frames of one camera; passes after a miss are spread over later frames."""

    def __init__(self, *, zbar: bool = True) -> None:
        self._zbar = zbar
        self.reset()

    def reset(self) -> None:
        """Forget what was seen: the picture in front has changed."""
        self._reference: Frame | None = None  # the sample of the scene that is being worked on
        self._empty = False
        self._tried = 0  # rungs tried in vain since the scene changed
        self._rung = 0
        self._rested = 0
        self._latest: Frame | None = None  # the sample of the frame whose luma was read in vain
        self._lucky = ""

    def scan(self, frame: NDArray[np.uint8]) -> tuple[Read, ...]:
        """Return the distinct payloads in the frame, height x width grey or height x width x 3 BGR.

        Never raises for any picture: what is no picture, or too small for a code, gives nothing; sides over
        SIDE_PX_MAX are reduced first.
        """
        picture = _as_picture(frame)
        if picture is None:
            return ()
        try:
            return self._look(shrink(picture, SIDE_PX_MAX))
        except Exception:  # noqa: BLE001 - a stranger's picture ends no gate, whatever a C library says of it
            return ()

    def _look(self, frame: Frame) -> tuple[Read, ...]:
        sample = sample_of(frame)
        self._note_change(frame, sample)
        if self._at_rest():
            return ()
        reads = self._read_luma(frame, sample)
        if not reads and not self._empty:
            reads = self._climb(Picture(frame, sample))
        if reads:
            self._tried = self._rung = 0
            self._empty, self._latest = False, None
            self._lucky = reads[0].pass_name
        return reads

    def _note_change(self, frame: Frame, sample: Frame) -> None:
        """Start over with a changed scene; the ladder goes on, or a moving phone would see one rung only."""
        if self._unchanged(sample):
            return
        self._reference, self._tried, self._rested = sample, 0, 0
        self._empty = min(frame.shape[:2]) >= SMALL_SIDE_PX and not _may_hold_code(sample)

    def _unchanged(self, sample: Frame) -> bool:
        reference = self._reference
        if reference is None or reference.shape != sample.shape:
            return False
        # Where nothing was, a look for modules is cheaper than a comparison.
        return not _may_hold_code(sample) if self._empty else _same(reference, sample)

    def _at_rest(self) -> bool:
        if not self._empty and self._tried < HOLD_FRAMES:
            return False
        self._rested += 1
        return self._rested % REST_LOOK != 0

    def _read_luma(self, frame: Frame, sample: Frame) -> tuple[Read, ...]:
        if self._latest is not None and np.array_equal(self._latest, sample):
            return ()  # the very same picture: its luma has been read
        reads = _zxing(luma(frame), "luma", frame)
        self._latest = sample
        return reads

    def _climb(self, picture: Picture) -> tuple[Read, ...]:
        rungs = DARK_RUNGS if picture.dark else RUNGS
        names: tuple[str, ...] = rungs[self._rung]
        self._rung = (self._rung + 1) % len(rungs)
        self._tried += 1
        if self._lucky in PASSES:
            names = (self._lucky, *(name for name in names if name != self._lucky))
        for name in names:
            if reads := self._try(name, picture):
                return reads
        return ()

    def _try(self, name: str, picture: Picture) -> tuple[Read, ...]:
        if name == "zbar":
            return _zbar(threshold(picture)) if self._zbar else ()
        if name in PASSES:
            seen = PASSES[name](picture)
            return () if seen is None else _zxing(seen, name)
        found = channel(picture)
        return () if found is None else _zxing(found[1], found[0])


def _as_picture(frame: object) -> Frame | None:
    """Return the frame if it is one, without an alpha plane; None for anything else."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim not in {2, 3}:
        return None
    if min(frame.shape[:2]) < SIDE_PX_MIN:
        return None
    if frame.ndim == 2:
        return frame
    if frame.shape[2] == 1:
        return frame[..., 0]
    return frame[..., :3] if frame.shape[2] in {3, 4} else None


def _same(reference: Frame, sample: Frame) -> bool:
    levels = CHANGE_LEVELS if int(sample.max()) >= NIGHT_BELOW else NIGHT_CHANGE_LEVELS
    difference = np.maximum(reference, sample)
    difference -= np.minimum(reference, sample)
    return int(np.count_nonzero(difference > levels)) < CHANGE_SAMPLES


def _may_hold_code(sample: Frame) -> bool:
    if int(sample.max()) < NIGHT_BELOW:
        return int(sample.max()) > 0
    return may_hold_code(sample, STEPS_MIN)


# zxing-cpp


_QR_CODE: Final[Any] = zxingcpp.BarcodeFormat.QRCode  # alone: with all formats on, noise is read as codes


def _zxing(grey: Frame, pass_name: str, colours: Frame | None = None) -> tuple[Read, ...]:
    """Read the codes of a grey picture; `colours` is the same picture as the camera gave it."""
    found = zxingcpp.read_barcodes(grey, formats=_QR_CODE)
    return _distinct(
        Read(
            bytes(code.bytes),
            "zxing",
            pass_name,
            is_fragment(code),
            "none" if colours is None else appearance(colours, code.position),
        )
        for code in found
        if code.format not in _other_formats()
    )


@cache
def _other_formats() -> frozenset[Any]:
    """Return what version 3 of zxing-cpp counts among the QR codes, and version 2 and every gate do not."""
    names = ("MicroQRCode", "RMQRCode")
    return frozenset(getattr(zxingcpp.BarcodeFormat, name, None) for name in names)


def _distinct(reads: Iterable[Read]) -> tuple[Read, ...]:
    return tuple({(read.payload, read.fragment): read for read in reads}.values())


# zbar


@cache
def _pyzbar() -> Any:
    try:
        from pyzbar import pyzbar  # noqa: PLC0415 - optional, and loads a C library
    except ImportError:
        return None
    return pyzbar


def _zbar(grey: Frame) -> tuple[Read, ...]:
    """Read with pyzbar what it can be trusted with.

    It re-codes bytes that are not ASCII (GB18030 is mistaken for Shift-JIS), so that only ASCII is taken. For
    a structured append it raises a ValueError (its orientation is unknown): there is nothing to verify.
    """
    pyzbar = _pyzbar()
    if pyzbar is None:
        return ()
    try:
        found = pyzbar.decode(grey, symbols=[pyzbar.ZBarSymbol.QRCODE])
    except ValueError:
        return ()
    return _distinct(Read(code.data, "zbar", "zbar", fragment=False) for code in found if code.data.isascii())
