"""Codes in picture files, each file decoded in a child process: one result per file, whatever the file is.

One child serves many files. It is killed and replaced when it crashes, takes too long or too much memory; the
file in its hands gets that as its result, and the next file a new child.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from drivers.camera import SeenCode, decode_reads
from drivers.child import Child, GarbledLineError, Message
from drivers.picture_files import PIXELS_MAX, Outcome

POLL_S: Final = 0.05  # how often the child's memory is looked at
START_S: Final = 30.0  # Python and its libraries from a slow card
LINE_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What one picture may cost."""

    seconds_max: float = 15.0
    """For decoding and scanning together; a large photograph takes a small board a few seconds."""
    memory_mb_max: int = 512
    """MiB of resident memory of the child."""
    pixels_max: int = PIXELS_MAX
    """Width times height as the file's header says."""


@dataclass(frozen=True, slots=True)
class PictureResult:
    """What was found in one file."""

    file: str
    reads: tuple[SeenCode, ...]
    """The distinct codes; payloads are bytes as the code holds them."""
    outcome: Outcome
    ms: float
    """Milliseconds for decoding and scanning, without the start of a child."""
    detail: str = ""
    """Why there is no result, as a sentence; empty otherwise."""


def read_pictures(
    paths: Iterable[Path],
    *,
    limits: PictureLimits = PictureLimits(),
    monotonic: Callable[[], float] = time.monotonic,
) -> Generator[PictureResult, None, None]:
    """Yield one result for each file; folders are walked in the order of names, not through links.

    Raises nothing because of a file. Close the iterator (or exhaust it) to end the child.
    """
    desk = _Desk(limits, monotonic)
    try:
        for path, obstacle in _walk(paths):
            if obstacle is None:
                yield desk.result(path)
            else:
                yield PictureResult(
                    str(path), (), _obstacle_outcome(obstacle), 0.0, f"cannot be listed: {obstacle}"
                )
    finally:
        desk.close()


def _walk(paths: Iterable[Path]) -> Iterator[tuple[Path, OSError | None]]:
    for path in paths:
        try:
            folder = path.is_dir()
        except OSError as error:
            yield path, error
            continue
        if folder:
            yield from sorted(_folder_files(path), key=lambda found: found[0])
        else:
            yield path, None


def _folder_files(folder: Path) -> list[tuple[Path, OSError | None]]:
    blocked: list[OSError] = []
    found: list[tuple[Path, OSError | None]] = []
    for parent, _, names in os.walk(folder, onerror=blocked.append):
        found.extend((Path(parent, name), None) for name in names)
    return found + [(Path(os.fsdecode(error.filename or folder)), error) for error in blocked]


def _obstacle_outcome(error: OSError) -> Outcome:
    return Outcome.NO_PERMISSION if isinstance(error, PermissionError) else Outcome.UNREADABLE


class _Desk:
    """Puts files before the child and replaces the child when it breaks."""

    def __init__(self, limits: PictureLimits, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._child: Child | None = None

    def result(self, path: Path) -> PictureResult:
        started = self._monotonic()
        try:
            child = self._child or self._hire()
            started = self._monotonic()
            child.send({"file": str(path)})  # a child that is gone shows when the answer is awaited
            return _result(path, self._answer(child, self._limits.seconds_max))
        except _BrokenError as broken:
            words, outcome = str(broken), broken.outcome
        except GarbledLineError as garbled:
            words, outcome = f"the decoding process wrote {garbled}", Outcome.CRASHED
        self.close(now=True)
        return PictureResult(str(path), (), outcome, round((self._monotonic() - started) * 1000, 2), words)

    def close(self, *, now: bool = False) -> None:
        if self._child is not None:
            self._child.end(now=now)
            self._child = None

    def _hire(self) -> Child:
        child = self._child = Child("drivers.picture_worker", line_bytes_max=LINE_BYTES_MAX)
        child.send({"memory_mb_max": self._limits.memory_mb_max, "pixels_max": self._limits.pixels_max})
        self._answer(child, START_S)
        return child

    def _answer(self, child: Child, seconds: float) -> Message:
        """Wait for one message; raises _BrokenError when the child ends, hangs or grows instead."""
        until = self._monotonic() + seconds
        while True:
            messages = child.receive(POLL_S)
            if messages:
                return messages[0]
            if child.ended:
                raise _BrokenError(Outcome.CRASHED, f"the decoding process ended: {child.wait()}")
            if self._monotonic() > until:
                raise _BrokenError(Outcome.TIMEOUT, f"not done after {seconds:g} s")
            if child.memory_mb() > self._limits.memory_mb_max:
                raise _BrokenError(Outcome.TOO_LARGE, f"takes more than {self._limits.memory_mb_max} MiB")


class _BrokenError(Exception):
    def __init__(self, outcome: Outcome, words: str) -> None:
        super().__init__(words)
        self.outcome = outcome


def _result(path: Path, answer: Message) -> PictureResult:
    try:
        outcome, ms, detail = Outcome(answer["outcome"]), float(answer["ms"]), str(answer["detail"])
    except (KeyError, ValueError, TypeError) as error:
        raise GarbledLineError("an answer without its parts") from error
    return PictureResult(str(path), decode_reads(answer.get("reads")), outcome, ms, detail)
