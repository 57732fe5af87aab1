"""The child that decodes picture files one at a time (`python -m drivers.picture_worker`).

Each line {"file"} that comes in is answered by one {"outcome", "detail", "reads", "ms"} line. A first line
{"memory_mb_max", "pixels_max"} sets the limits. The file is treated as if a camera held it: the same frame is
offered to a fresh reader until it has read something, at most HOLD_FRAMES times.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NoReturn

from drivers.camera_worker import encode_reads
from drivers.child import Message, Parent, bound_memory
from drivers.picture_files import Outcome, PictureRefusedError, load
from drivers.qr import HOLD_FRAMES, Read, Reader

LIBRARIES_MB = 512  # address space that OpenCV and the decoders map, hardly touched
READS_MAX = 128  # of the largest QR code (2953 bytes) this many still fit the parent's line


def outcome_of(reads: tuple[Read, ...]) -> Outcome:
    """Return what a picture with these reads is; a fragment prevails, since none of it may be verified."""
    if not reads:
        return Outcome.NOTHING_FOUND
    if any(read.fragment for read in reads):
        return Outcome.FRAGMENT
    return Outcome.SEVERAL_CODES if len({read.payload for read in reads}) > 1 else Outcome.READ


def look_at(path: Path, reader: Reader, pixels_max: int) -> Message:
    """Return the answer for one file."""
    started = time.monotonic()
    reads: tuple[Read, ...] = ()
    try:
        reads = _hold(path, reader, pixels_max)
        outcome, detail = outcome_of(reads), ""
    except PictureRefusedError as refused:
        outcome, detail = refused.outcome, refused.detail
    except MemoryError:
        outcome, detail = Outcome.TOO_LARGE, "looking for codes takes too much memory"
    ms = round((time.monotonic() - started) * 1000, 2)
    return {"outcome": outcome, "detail": detail, "reads": encode_reads(reads[:READS_MAX]), "ms": ms}


def _hold(path: Path, reader: Reader, pixels_max: int) -> tuple[Read, ...]:
    frame = load(path, pixels_max=pixels_max)
    reader.reset()
    for _ in range(HOLD_FRAMES):
        if reads := reader.scan(frame):
            return reads
    return ()


def main() -> NoReturn:
    """Answer for file after file until the parent ends the conversation."""
    parent = Parent()
    limits = parent.hear()
    if limits is not None:
        bound_memory(limits["memory_mb_max"] + LIBRARIES_MB)
        parent.tell({"ready": True})
        reader = Reader()
        while (said := parent.hear()) is not None:
            parent.tell(look_at(Path(said["file"]), reader, limits["pixels_max"]))
    parent.leave(0)


if __name__ == "__main__":
    main()
