"""Picture files of unknown origin, turned into frames with bounded memory, or refused with one reason.

The size is read from the header and checked before a decoder sees the file; OpenCV is told the same bound
by drivers.child in case the header lies. Nothing but a regular file is ever opened: a FIFO would block and
opening a device can have effects. Runs in a child, because a decoder can still crash or hang.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
OPENCV_BYTES_MIN: Final = 32  # its WebP reader refuses shorter files, though a plain picture fits in 30
PIXELS_MAX: Final = 50_000_000  # the cameras of today's phones; 16-bit RGBA takes 8 bytes for each
FRAME_PIXELS_MAX: Final = 12_000_000  # what is scanned; larger pictures are reduced by a power of two
HIDDEN_BELOW_ALPHA: Final = 128  # more transparent than not: the page behind it is white
JPEG_SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # ITU-T T.81, table B.1
JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length

Size = tuple[int, int]


class Outcome(StrEnum):
    """What became of one picture file."""

    READ = "read"
    SEVERAL_CODES = "several_codes"
    FRAGMENT = "fragment"
    NOTHING_FOUND = "nothing_found"
    NOT_A_PICTURE = "not_a_picture"
    NOT_A_FILE = "not_a_file"
    MISSING = "missing"
    NO_PERMISSION = "no_permission"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    CRASHED = "crashed"
    TIMEOUT = "timeout"


class PictureRefusedError(Exception):
    """The file gives no frame; `outcome` is the reason as a word and `detail` as a sentence."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(outcome, detail)
        self.outcome = outcome
        self.detail = detail


def load(path: Path, *, pixels_max: int = PIXELS_MAX) -> NDArray[np.uint8]:
    """Return the picture as a frame of eight bits, grey (H x W) or BGR (H x W x 3).

    The first frame of an animation is taken, 16 bits are cut to 8, transparent parts become white, rotation
    tags are ignored (codes are read in every direction). Raises PictureRefusedError, and nothing else.
    """
    data = file_bytes(path)
    size = header_size(data)
    if size is None:
        raise PictureRefusedError(Outcome.NOT_A_PICTURE, "not a PNG, JPEG, WebP, GIF or BMP file")
    width, height = size
    if not (width > 0 and height > 0):
        raise PictureRefusedError(Outcome.UNREADABLE, f"the header says {width} x {height} pixels")
    if width * height > pixels_max:
        raise PictureRefusedError(
            Outcome.TOO_LARGE, f"{width} x {height} pixels; at most {pixels_max} are decoded"
        )
    return _decode(data, _reduction(width * height))


def file_bytes(path: Path) -> bytes:
    """Return the content of a regular file of at most FILE_BYTES_MAX; raises PictureRefusedError."""
    try:
        _refuse_special(path.stat())
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            _refuse_special(os.fstat(handle))  # it may have been swapped in between
            data = file.read(FILE_BYTES_MAX + 1)
    except PermissionError as error:
        raise PictureRefusedError(Outcome.NO_PERMISSION, "no permission to read the file") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PictureRefusedError(Outcome.MISSING, "no such file") from error
    except (OSError, ValueError) as error:
        raise PictureRefusedError(Outcome.UNREADABLE, f"cannot be opened: {error}") from error
    if len(data) > FILE_BYTES_MAX:
        raise PictureRefusedError(Outcome.TOO_LARGE, f"larger than {FILE_BYTES_MAX} bytes")
    return data


def _refuse_special(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise PictureRefusedError(Outcome.NOT_A_FILE, "not a regular file")


def _reduction(pixels: int) -> int:
    factor = 1
    while pixels > FRAME_PIXELS_MAX * factor * factor:
        factor *= 2
    return factor


# Decoding


def _decode(data: bytes, factor: int) -> NDArray[np.uint8]:
    try:
        import cv2  # noqa: PLC0415 - 20 MB that only a child with picture files pays for
    except ImportError as error:
        raise PictureRefusedError(Outcome.UNREADABLE, "OpenCV is not installed (python3-opencv)") from error
    try:
        data = data.ljust(OPENCV_BYTES_MIN, b"\0")
        picture = cv2.imdecode(_as_array(data), _flags(cv2, data, factor))
        if picture is None:
            raise PictureRefusedError(
                Outcome.UNREADABLE, "the picture is damaged or of an unsupported variant"
            )
        return _as_frame(cv2, picture)
    except MemoryError as error:
        raise PictureRefusedError(Outcome.TOO_LARGE, "decoding takes too much memory") from error
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise PictureRefusedError(Outcome.TOO_LARGE, "decoding takes too much memory") from error
        raise PictureRefusedError(Outcome.UNREADABLE, f"the decoder gave up: {error.err}") from error


def _as_array(data: bytes) -> NDArray[np.uint8]:
    import numpy as np  # noqa: PLC0415 - the parent process imports this module for its words alone

    return np.frombuffer(data, np.uint8)


def _flags(cv2: Any, data: bytes, factor: int) -> int:
    if not data.startswith(b"\xff\xd8"):
        return int(cv2.IMREAD_UNCHANGED)  # the only way to see transparency
    reduced = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
    return int(reduced.get(factor, cv2.IMREAD_REDUCED_COLOR_8) | cv2.IMREAD_IGNORE_ORIENTATION)


def _as_frame(cv2: Any, picture: NDArray[Any]) -> NDArray[np.uint8]:
    factor = _reduction(picture.shape[0] * picture.shape[1])
    if factor > 1:  # first of all, so that the steps below copy the small picture only
        picture = cv2.resize(picture, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    if picture.dtype.itemsize > 1:
        picture = (picture >> 8).astype("uint8")
    if picture.ndim == 3 and picture.shape[2] == 4:
        picture[picture[..., 3] < HIDDEN_BELOW_ALPHA] = 255
        picture = picture[..., :3].copy()
    return picture


# Sizes from headers


def header_size(data: bytes) -> Size | None:
    """Return (width, height) as the header of a PNG, JPEG, WebP, GIF or BMP says; None for all else.

    A cut-off or nonsensical header of a known format gives (0, 0). Never raises.
    """
    for matches, size in _FORMATS:
        if matches(data):
            try:
                return size(data)
            except (struct.error, IndexError):
                return 0, 0
    return None


def _png(data: bytes) -> Size:
    width, height = struct.unpack_from(">II", data, 16)  # IHDR comes first (PNG, 11.2.2)
    return width, height


def _gif(data: bytes) -> Size:
    width, height = struct.unpack_from("<HH", data, 6)  # logical screen descriptor (GIF89a, 18)
    return width, height


def _bmp(data: bytes) -> Size:
    header_bytes = struct.unpack_from("<I", data, 14)[0]
    width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", data, 18)
    return width, abs(height)  # a negative height means rows from the top


def _webp(data: bytes) -> Size:
    kind = data[12:16]  # RFC 9649, sections 2.5 to 2.7
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return 0, 0


def _jpeg(data: bytes) -> Size:
    at = 2
    while True:  # ends: each turn moves on by at least one byte, and the end of the data raises
        if data[at] != 0xFF or data[at + 1] == 0xFF:  # padding between segments (T.81, B.1.1.2)
            at += 1
            continue
        marker = data[at + 1]
        if marker in JPEG_SOF:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2
        if marker not in JPEG_BARE:
            at += struct.unpack_from(">H", data, at)[0]


_FORMATS: Final[tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Size]], ...]] = (
    (lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    (lambda data: data.startswith(b"\xff\xd8\xff"), _jpeg),
    (lambda data: data.startswith(b"RIFF") and data[8:12] == b"WEBP", _webp),
    (lambda data: data.startswith((b"GIF87a", b"GIF89a")), _gif),
    (lambda data: data.startswith(b"BM"), _bmp),
)
