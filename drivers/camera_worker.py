"""The camera child, `python -m drivers.camera_worker`: looks for codes in the newest frame.

One JSON line with the fields of CameraSettings comes in; JSON lines go out:

    {"type": "reads", "reads": [{"payload_b64", "decoder", "pass", "fragment", "appearance"}],
     "mono_ns", "frame"}
    {"type": "health", "fps", "brightness", "sharpness", "frozen", "frame_age_ms", "frames", "skipped",
     "unreadable", "memory_mb"}
    {"type": "fault", "problem", "advice"}      and then the process ends with EXIT_FAULT

Two threads share one slot. The capture thread overwrites it with each frame; the decoding thread takes the
newest, so a slow decoder skips frames and never works through a queue of old ones. The health report comes
from the decoding thread: when a decoder hangs, the reports stop, which is what the parent listens for. When
the camera hangs, frames stop while reports go on; then this process says so and ends, because a thread inside
a V4L2 call cannot be ended otherwise. Reopening is the parent's work: a new process is a clean start.
"""

from __future__ import annotations

import base64
import time
import traceback
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Condition, Event, Thread
from typing import Final, NoReturn

import numpy as np

from drivers.camera import CameraSettings, SourceKind
from drivers.camera_sources import Frame, FrameSource, make_source
from drivers.child import Message, Parent, bound_memory, resident_mb
from drivers.errors import DeviceError, DeviceNotAvailable
from drivers.qr import Read, Reader

EXIT_FAULT: Final = 3
EXIT_CRASH: Final = 1
LIBRARIES_MB: Final = 1024  # address space, hardly touched: OpenCV maps 300, libcamera with numpy more
HEALTH_S: Final = 1.0
OPEN_S: Final = 20.0  # importing libcamera and starting a sensor on a small board
REOPEN_S: Final = 5.0  # a camera that stays frozen is closed and opened again this often
MISSED_WAIT_S: Final = 0.05  # a source that has no frame is not asked in a tight loop
READS_MAX: Final = 8  # a line stays below its bound however many codes somebody holds up
SAMPLE_STEP_PX: Final = 16
PLAIN_BELOW: Final = 12  # grey levels between the darkest and the brightest sample of a picture of nothing


def encode_reads(reads: Iterable[Read]) -> list[Message]:
    """Return reads as JSON carries them."""
    return [
        {
            "payload_b64": base64.b64encode(read.payload).decode("ascii"),
            "decoder": read.decoder,
            "pass": read.pass_name,
            "fragment": read.fragment,
            "appearance": read.appearance,
        }
        for read in reads
    ]


class FrozenWatch:
    """Tells whether the frames have been the same for `frozen_s`.

    A digest of every 16th pixel in both directions is compared: sensor noise alone changes it. Frames without
    any structure say nothing (a camera in the dark repeats itself after compression) and show as brightness.
    """

    def __init__(self, frozen_s: float) -> None:
        self._frozen_s = frozen_s
        self._digest: int | None = None
        self._since = 0.0

    def see(self, frame: Frame, now: float) -> bool:
        """Return whether this frame, seen at the monotonic second `now`, makes the camera frozen."""
        sample = np.ascontiguousarray(frame[::SAMPLE_STEP_PX, ::SAMPLE_STEP_PX])
        digest = zlib.crc32(sample.data)
        if digest != self._digest or int(sample.max()) - int(sample.min()) < PLAIN_BELOW:
            self._digest, self._since = digest, now
        return now - self._since >= self._frozen_s


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame with the monotonic time at which it was there and its number."""

    frame: Frame
    mono_ns: int
    number: int
    frozen: bool


class Slot:
    """The newest frame, handed from the capture thread to the decoding thread."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._fresh = False
        self.newest: Shot | None = None
        self.skipped = 0
        self.fault: DeviceError | None = None
        self.crash: BaseException | None = None

    def put(self, frame: Frame, mono_ns: int, *, frozen: bool) -> None:
        """Replace the newest frame; one that nobody took counts as skipped."""
        with self._changed:
            self.skipped += self._fresh
            number = self.newest.number + 1 if self.newest else 1
            self.newest, self._fresh = Shot(frame, mono_ns, number, frozen), True
            self._changed.notify()

    def give_up(self, error: BaseException) -> None:
        """Tell the decoding thread that no more frames will come, and why."""
        with self._changed:
            self.fault = error if isinstance(error, DeviceError) else None
            self.crash = None if self.fault else error
            self._changed.notify()

    def take(self, timeout_s: float) -> Shot | None:
        """Return the newest frame if it has not been taken yet; wait for it up to `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._fresh or self.fault or self.crash, timeout_s)
            fresh, self._fresh = self._fresh, False
            return self.newest if fresh else None


def capture(source: FrameSource, slot: Slot, frozen_s: float, reopen_s: float = REOPEN_S) -> None:
    """Fill the slot from the source until it fails; the body of the capture thread."""
    try:
        source.open()
        _fill(source, slot, FrozenWatch(frozen_s), reopen_s)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the other thread ends the process with it
        slot.give_up(error)


def _fill(source: FrameSource, slot: Slot, watch: FrozenWatch, reopen_s: float) -> NoReturn:
    never = Event()
    due = reopened = time.monotonic()
    while True:
        frame = source.read()
        now = time.monotonic()
        if frame is not None:
            frozen = watch.see(frame, now) and not source.replays
            slot.put(frame, time.monotonic_ns(), frozen=frozen)
            if frozen and now - reopened >= reopen_s:
                reopened = now
                source.close()
                source.open()
        if source.fps:
            due = max(due + 1 / source.fps, now)
            never.wait(due - now)
        elif frame is None:
            never.wait(MISSED_WAIT_S)


class Worker:
    """The decoding thread's work: reads to the parent as they come, health about once a second."""

    def __init__(self, parent: Parent, settings: CameraSettings, source: FrameSource) -> None:
        self._parent = parent
        self._settings = settings
        self._source = source
        self._slot = Slot()
        self._reader = Reader()
        self._started = self._reported = time.monotonic()
        self._frames_reported = 0
        self._frozen_reported = False

    def run(self) -> int:
        """Work until the source fails or stops; return the exit status."""
        arguments = (self._source, self._slot, self._settings.frozen_s)
        Thread(target=capture, args=arguments, name="capture", daemon=True).start()
        self._report(self._started)  # the first sign of life comes before the camera is open
        while not self._over():
            shot = self._slot.take(max(0.0, self._reported + HEALTH_S - time.monotonic()))
            if shot and not shot.frozen:
                self._read(shot)
            self._report_if_due(shot)
        return EXIT_FAULT

    def _read(self, shot: Shot) -> None:
        reads = self._reader.scan(shot.frame)
        if reads:
            self._parent.tell(
                {
                    "type": "reads",
                    "reads": encode_reads(reads[:READS_MAX]),
                    "mono_ns": shot.mono_ns,
                    "frame": shot.number,
                }
            )

    def _over(self) -> bool:
        """Say what is wrong, if something is; a crash of the capture thread is raised here."""
        slot = self._slot
        if slot.crash is not None:
            raise slot.crash
        if slot.fault is not None:
            cannot_open = isinstance(slot.fault, DeviceNotAvailable)
            self._tell_fault("cannot open" if cannot_open else "lost", str(slot.fault))
            return True
        newest = slot.newest
        since = newest.mono_ns / 1e9 if newest else self._started
        if time.monotonic() - since > (self._settings.silent_s if newest else OPEN_S):
            self._tell_fault("silent", "the camera gives no frames; check its cable and its power supply")
            return True
        return False

    def _tell_fault(self, problem: str, advice: str) -> None:
        self._parent.tell({"type": "fault", "problem": problem, "advice": advice})

    def _report_if_due(self, shot: Shot | None) -> None:
        now = time.monotonic()
        changed = shot is not None and shot.frozen != self._frozen_reported
        if changed or now - self._reported >= HEALTH_S:
            self._report(now)

    def _report(self, now: float) -> None:
        newest = self._slot.newest
        frames = newest.number if newest else 0
        passed_s = max(now - self._reported, 0.001)
        self._parent.tell(
            {
                "type": "health",
                "fps": round((frames - self._frames_reported) / passed_s, 1),
                "brightness": brightness(newest.frame) if newest else None,
                "sharpness": sharpness(newest.frame) if newest else None,
                "frozen": newest.frozen if newest else False,
                "frame_age_ms": (time.monotonic_ns() - newest.mono_ns) // 1_000_000 if newest else None,
                "frames": frames,
                "skipped": self._slot.skipped,
                "unreadable": self._source.unreadable,
                "memory_mb": round(resident_mb(), 1),
            }
        )
        self._reported, self._frames_reported = now, frames
        self._frozen_reported = newest.frozen if newest else False


def brightness(frame: Frame) -> float:
    """Return the mean grey level, 0 to 255, of every 16th pixel; the green channel stands for luma."""
    return round(float(_luma(frame)[::SAMPLE_STEP_PX, ::SAMPLE_STEP_PX].mean()), 1)


def sharpness(frame: Frame) -> float:
    """Return the mean step in grey levels between neighbours in every 16th row; noise alone gives about 2."""
    rows = _luma(frame)[::SAMPLE_STEP_PX].astype(np.int16)
    return round(float(np.abs(np.diff(rows, axis=1)).mean()), 2) if rows.shape[1] > 1 else 0.0


def _luma(frame: Frame) -> Frame:
    return frame if frame.ndim == 2 else frame[..., 1]


def _end_with_input(parent: Parent) -> None:
    while parent.hear() is not None:
        pass
    parent.leave(0)


def main() -> NoReturn:
    """Run as the camera child until the parent goes or the camera fails."""
    parent = Parent()
    said = parent.hear()
    if said is None:
        parent.leave(0)
    settings = CameraSettings(**said | {"kind": SourceKind(said["kind"])})
    Thread(target=_end_with_input, args=(parent,), name="parent-watch", daemon=True).start()
    bound_memory(settings.memory_mb_max + LIBRARIES_MB)
    try:
        status = Worker(parent, settings, make_source(settings)).run()
    except BaseException:  # noqa: BLE001 - its last line reaches the parent as the last words
        traceback.print_exc()
        status = EXIT_CRASH
    parent.leave(status)


if __name__ == "__main__":
    main()
