"""The camera as the service sees it: codes, health and faults from a child process that may die at any time.

States of the one child, driven by the thread `camera-reader`:

    starting --first line--> serving --fault, crash, silence, memory, garbled--> ended --pause--> starting

A child is silent when it has said nothing for `silent_s` (a starting one gets START_S). Each end that was not
asked for is reported once through `on_fault`, with one of the PROBLEMS; the next health report tells that the
camera is back. The pause before a restart doubles from RESTART_S up to `pause_s_max` while children do not
last, and starts anew after one that served for STEADY_S.

From a fault of the camera or of the child to `on_fault` or to a health report with a problem pass at most
5 s with the settings' defaults: 4 s of silence, or 3 s of the same frame, and one poll or report.
"""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Final

from drivers.child import Child, GarbledLineError, Message
from drivers.errors import DeviceTimeout

PROBLEMS: Final = ("cannot open", "lost", "silent", "crashed", "memory", "garbled")
POLL_S: Final = 0.2
START_S: Final = 20.0  # Python and its libraries from a slow card
STEADY_S: Final = 30.0
RESTART_S: Final = 0.25
STOP_S: Final = 10.0
# Of -1000 to 1000 (proc(5), oom_score_adj): where memory runs out the kernel ends the child, not the gate.
OOM_SCORE: Final = 500
DARK_BELOW: Final = 8.0  # grey levels: not even a phone screen shows
BURNT_ABOVE: Final = 247.0


class SourceKind(StrEnum):
    """Where the frames come from."""

    V4L2 = "v4l2"
    PICAMERA2 = "picamera2"
    FOLDER = "folder"
    SYNTHETIC = "synthetic"


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """Which camera, how it is run, and when its child counts as broken."""

    kind: SourceKind
    path: str = ""
    """The device (the stable path below /dev/v4l/by-id), the folder or video, or the scene file."""
    width: int = 640
    """Pixels. 640 x 480 reads every everyday code; very dense codes or a longer distance want 1280 x 720."""
    height: int = 480
    """Pixels."""
    fps: float = 12.0
    """Frames per second asked of the camera, or at which pictures are replayed."""
    seed: int = 0
    """What the synthetic camera draws its scenes and noise from."""
    silent_s: float = 4.0
    """Seconds without a word of the child, or without a frame of the camera, until it counts as hung."""
    frozen_s: float = 3.0
    """Seconds of one and the same frame until the camera counts as frozen."""
    memory_mb_max: int = 256
    """MiB of resident memory at which the child is replaced: a guard against leaks, it takes 50 to 75."""
    pause_s_max: float = 5.0
    """Longest pause in seconds before a child is started again."""


@dataclass(frozen=True, slots=True)
class SeenCode:
    """One QR code in a frame, as drivers.qr.Read says it, without that module's libraries."""

    payload: bytes
    decoder: str
    pass_name: str
    fragment: bool
    """Part of a structured append: never to be verified by itself."""
    appearance: str = "none"
    """The colour of its modules, where it was looked at."""


@dataclass(frozen=True, slots=True)
class Health:
    """What the camera child says about itself and its frames, about once a second."""

    fps: float
    brightness: float | None
    """Mean grey level, 0 to 255; None before the first frame."""
    sharpness: float | None
    """Mean step between neighbouring pixels in grey levels; None before the first frame."""
    frozen: bool
    """The same frame for `frozen_s`; no reads are handed over meanwhile."""
    frame_age_ms: int | None
    frames: int
    """Frames since the child started."""
    skipped: int
    """Frames that a newer one replaced before they were looked at."""
    unreadable: int
    """Pictures of a folder that could not be decoded."""
    memory_mb: float

    def problem(self) -> str | None:
        """Return what keeps this camera from seeing a code, in a word, or None."""
        if self.brightness is None:
            return "no frame yet"
        if self.frozen:
            return "frozen"
        if self.brightness < DARK_BELOW:
            return "dark"
        return "overexposed" if self.brightness > BURNT_ABOVE else None


@dataclass(frozen=True, slots=True)
class _Fault:
    problem: str
    advice: str


class Camera:
    """Runs the camera child, keeps it alive, and hands on what it says.

    All callbacks come from the thread `camera-reader` and must return soon; an exception in one ends the
    child and the thread. `on_reads` gets the distinct codes of one frame and the nanosecond of
    CLOCK_MONOTONIC (one clock for all processes of a machine) at which the frame was taken. `on_fault`
    gets one of PROBLEMS and advice as a sentence. `on_turn` is called several times a second, and before and
    after each of the few seconds in which a child is started, ended or waited with.
    """

    def __init__(
        self,
        settings: CameraSettings,
        *,
        on_reads: Callable[[tuple[SeenCode, ...], int], None],
        on_health: Callable[[Health], None],
        on_fault: Callable[[str, str], None],
        on_turn: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._on_turn = on_turn
        self._on_reads = on_reads
        self._on_health = on_health
        self._on_fault = on_fault
        self._monotonic = monotonic
        self._stop = Event()
        self._thread: Thread | None = None
        self._child: Child | None = None

    @property
    def child_pid(self) -> int | None:
        """The process id of the present child, None between two of them."""
        child = self._child
        return child.pid if child else None

    def start(self) -> None:
        """Start the thread, which starts the child; returns at once, all news come through the callbacks."""
        assert self._thread is None, "already started"
        self._stop.clear()
        self._thread = Thread(target=self._run, name="camera-reader", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the child and the thread; may be repeated. Raises DeviceTimeout when a callback blocks."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is None or thread is current_thread():
            return
        thread.join(STOP_S)
        if thread.is_alive():
            raise DeviceTimeout("camera-reader", "does not end", "a callback blocks; end the process")

    def _run(self) -> None:
        pause_s = RESTART_S
        while not self._stop.is_set():
            self._on_turn()
            started = self._monotonic()
            fault = self._run_one_child()
            if fault is None:
                break
            self._on_fault(fault.problem, fault.advice)
            lasted = self._monotonic() - started >= STEADY_S
            pause_s = RESTART_S if lasted else pause_s
            self._on_turn()
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, self._settings.pause_s_max)

    def _run_one_child(self) -> _Fault | None:
        """Run a child to its end; return why it ended, None when it was asked to."""
        child = self._child = Child("drivers.camera_worker")
        try:
            with contextlib.suppress(OSError):  # it has ended already
                Path(f"/proc/{child.pid}/oom_score_adj").write_text(f"{OOM_SCORE}", "ascii")
            child.send(asdict(self._settings))
            return self._listen(child)
        finally:
            self._child = None
            child.end()

    def _listen(self, child: Child) -> _Fault | None:
        heard, patience_s = self._monotonic(), START_S
        while not self._stop.is_set():
            self._on_turn()
            try:
                messages = child.receive(POLL_S)
                fault = self._hand_on(messages)
            except GarbledLineError as error:
                return _Fault("garbled", f"the camera child wrote {error} and was restarted")
            if fault:
                return fault
            if messages:
                heard, patience_s = self._monotonic(), self._settings.silent_s
            if fault := self._broken(child, self._monotonic() - heard > patience_s):
                return fault
        return None

    def _broken(self, child: Child, silent: bool) -> _Fault | None:
        """Return what is wrong with the child itself; one that is beyond asking is killed here."""
        if child.ended:
            return _Fault("crashed", f"the camera child ended: {child.wait()}; it is restarted")
        if silent:
            return _Fault("silent", f"the camera child hung and was restarted: {child.end(now=True)}")
        memory_mb, limit_mb = child.memory_mb(), self._settings.memory_mb_max
        if memory_mb > limit_mb:
            child.end(now=True)
            return _Fault(
                "memory", f"the camera child took {memory_mb:.0f} of {limit_mb} MiB and was restarted"
            )
        return None

    def _hand_on(self, messages: list[Message]) -> _Fault | None:
        """Call back for each message in turn, up to a fault; raises GarbledLineError for nonsense."""
        for message in messages:
            match message.get("type"):
                case "reads":
                    self._on_reads(decode_reads(message.get("reads")), _whole(message, "mono_ns"))
                case "health":
                    self._on_health(_health(message))
                case "fault":
                    return _Fault(_word(message, "problem"), _word(message, "advice"))
                case _:
                    raise GarbledLineError("a message of an unknown type")
        return None


def decode_reads(said: object) -> tuple[SeenCode, ...]:
    """Return the reads of a child's message; raises GarbledLineError for anything else."""
    if not isinstance(said, list):
        raise GarbledLineError("reads that are no list")
    return tuple(_seen(each) for each in said)


def _seen(said: object) -> SeenCode:
    if not isinstance(said, dict):
        raise GarbledLineError("a read that is no object")
    try:
        payload = base64.b64decode(_word(said, "payload_b64"), validate=True)
    except ValueError as error:
        raise GarbledLineError("a payload that is not base64") from error
    return SeenCode(
        payload,
        _word(said, "decoder"),
        _word(said, "pass"),
        _flag(said, "fragment"),
        _word(said, "appearance"),
    )


def _health(said: Message) -> Health:
    return Health(
        fps=_number(said, "fps"),
        brightness=_number_or_none(said, "brightness"),
        sharpness=_number_or_none(said, "sharpness"),
        frozen=_flag(said, "frozen"),
        frame_age_ms=None if said.get("frame_age_ms") is None else _whole(said, "frame_age_ms"),
        frames=_whole(said, "frames"),
        skipped=_whole(said, "skipped"),
        unreadable=_whole(said, "unreadable"),
        memory_mb=_number(said, "memory_mb"),
    )


def _word(said: Message, name: str) -> str:
    value = said.get(name)
    if isinstance(value, str):
        return value
    raise GarbledLineError(f"no text in {name}")


def _flag(said: Message, name: str) -> bool:
    value = said.get(name)
    if isinstance(value, bool):
        return value
    raise GarbledLineError(f"no truth value in {name}")


def _whole(said: Message, name: str) -> int:
    value = said.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise GarbledLineError(f"no whole number in {name}")


def _number(said: Message, name: str) -> float:
    value = said.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise GarbledLineError(f"no number in {name}")


def _number_or_none(said: Message, name: str) -> float | None:
    return None if said.get(name) is None else _number(said, name)
