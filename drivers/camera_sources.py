"""Where frames come from: a USB camera, a ribbon camera, a folder of pictures, a simulated phone screen.

A source is opened, read and closed by one thread of the camera child. `open` raises DeviceNotAvailable with
advice when there is nothing to open, `read` raises DeviceFailed when the camera is lost on the way. `read`
blocks until the next frame and returns None when that one was missed. Frames are eight bits, grey (H x W) or
BGR (H x W x 3).

`fps` is the pace at which the worker has to ask, or None when the device sets the pace itself. `replays` says
that equal frames in a row are meant and no sign of a frozen camera: a folder with a single still picture is a
legitimate source, while a real sensor never gives the same noise twice.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from drivers.camera import CameraSettings, SourceKind
from drivers.errors import DeviceFailed, DeviceNotAvailable
from drivers.picture_files import PictureRefusedError, load

if TYPE_CHECKING:
    from types import ModuleType

Frame = NDArray[np.uint8]

VIDEO_SUFFIXES: Final = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm", ".mjpeg"})
MISSES_MAX: Final = 2  # V4L2 reads without a frame, each up to 2 s, before the camera counts as lost
SCENE_BYTES_MAX: Final = 64 * 1024
EMPTY_SCENE: Final[dict[str, Any]] = {
    "codes": [],
    "condition": "plain",
    "severity": 1.0,
    "frozen": False,
    "black": False,
    "gone": False,
}
NOISE_SD: Final = 2.0  # grey levels, as a small sensor has in a lit hall
NOISE_SLACK_PX: Final = 64  # the noise plane is this much larger than a frame and is shifted for each

# libcamera controls for a bright screen at arm's length in a dark hall; a camera gets those that it knows.
# Short exposure (AeExposureMode 1) keeps the screen from burning out; the period of 50 Hz light is 10,000 us
# (AeFlickerMode 1, manual); the lens stands still (AfMode 0) at 6 dioptres = 1/0.17 m, since continuous focus
# hunts. Names and numbers: libcamera, control_ids_core.yaml.
PICAMERA_CONTROLS: Final[dict[str, int | float]] = {
    "AeExposureMode": 1,
    "AeFlickerMode": 1,
    "AeFlickerPeriod": 10_000,
    "AfMode": 0,
    "LensPosition": 6.0,
}


class FrameSource(Protocol):
    """What the camera child needs from a source of frames; see the module's text."""

    fps: float | None
    replays: bool
    unreadable: int  # pictures that could not be read so far

    def open(self) -> None:
        """Make ready to read; raises DeviceNotAvailable."""

    def read(self) -> Frame | None:
        """Return the next frame, None when it was missed; raises DeviceFailed."""

    def close(self) -> None:
        """Let the device go; may be called on a source that is not open."""


def make_source(settings: CameraSettings) -> FrameSource:
    """Return the source, not yet open, that the settings name."""
    size = (settings.width, settings.height)
    match settings.kind:
        case SourceKind.V4L2:
            return V4l2Source(settings.path, *size, settings.fps)
        case SourceKind.PICAMERA2:
            return Picamera2Source(*size, settings.fps)
        case SourceKind.FOLDER:
            return FolderSource(settings.path, settings.fps)
        case SourceKind.SYNTHETIC:
            return SyntheticSource(settings.path, *size, settings.fps, settings.seed)


class V4l2Source:
    """A USB camera through OpenCV's V4L2 back end, in MJPG because raw 720p fills a USB 2 bus.

    `device` should be the stable path below /dev/v4l/by-id; /dev/videoN moves when cameras are replugged.
    """

    fps: float | None = None
    replays = False
    unreadable = 0

    def __init__(self, device: str, width: int, height: int, fps: float) -> None:
        self._device = device
        self._wishes = (width, height, fps)
        self._capture: Any = None
        self._misses = 0

    def open(self) -> None:
        """Open the device and take a first frame: on a Pi a node may open and never give one."""
        self._check_node()
        cv2 = _import_cv2(self._device)
        width, height, fps = self._wishes
        self._capture = cv2.VideoCapture(self._device, cv2.CAP_V4L2)
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*"MJPG"))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        self._capture.set(cv2.CAP_PROP_FPS, fps)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if not (self._capture.isOpened() and self._capture.read()[0]):
            self.close()
            raise DeviceNotAvailable(
                self._device,
                "opens but gives no frame",
                "close other programs that use it; a ribbon (CSI) camera needs the source picamera2",
            )

    def _check_node(self) -> None:
        if not Path(self._device).exists():
            here = ", ".join(sorted(str(p) for p in Path("/dev/v4l/by-id").glob("*index0"))) or "none"
            raise DeviceNotAvailable(
                self._device,
                "no such device",
                f"plug the camera in or correct its path; cameras here: {here}",
            )
        if not os.access(self._device, os.R_OK | os.W_OK):
            raise DeviceNotAvailable(
                self._device, "no permission", "add the service's user to the group video and restart it"
            )

    def read(self) -> Frame | None:
        """Return the next BGR frame; two misses or a vanished node count as a lost camera."""
        ok, frame = self._capture.read()
        if ok:
            self._misses = 0
            return _checked(frame)
        self._misses += 1
        if self._misses >= MISSES_MAX or not Path(self._device).exists():
            raise DeviceFailed(self._device, "gives no more frames", "check its cable and its power supply")
        return None

    def close(self) -> None:
        """Release the device."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class Picamera2Source:
    """A ribbon (CSI) camera through libcamera; hands over the luma plane, so no colour is ever converted."""

    fps: float | None = None
    replays = False
    unreadable = 0

    def __init__(self, width: int, height: int, fps: float) -> None:
        self._size = (width, height)
        self._frame_us = round(1_000_000 / fps)
        self._camera: Any = None

    def open(self) -> None:
        """Start the first camera that libcamera knows."""
        try:
            from picamera2 import Picamera2  # noqa: PLC0415 - a system package, and only on a Pi
        except ImportError as error:
            raise DeviceNotAvailable(
                "CSI camera", "picamera2 is not installed", "run: sudo apt install python3-picamera2"
            ) from error
        try:
            self._camera = Picamera2()
            self._start()
        except (RuntimeError, IndexError, OSError) as error:  # IndexError: the list of cameras is empty
            self.close()
            raise DeviceNotAvailable(
                "CSI camera",
                f"cannot be started: {error}",
                "check the ribbon; rpicam-hello --list shows cameras",
            ) from error

    def _start(self) -> None:
        known = {
            name: value for name, value in PICAMERA_CONTROLS.items() if name in self._camera.camera_controls
        }
        pace = {"FrameDurationLimits": (self._frame_us, self._frame_us)}
        main = {"size": self._size, "format": "YUV420"}
        self._camera.configure(self._camera.create_video_configuration(main=main, controls=pace | known))
        self._camera.start()

    def read(self) -> Frame | None:
        """Return the luma plane: the first rows of the YUV420 buffer, without the padding of its rows."""
        width, height = self._size
        try:
            buffer = self._camera.capture_array("main")
        except (RuntimeError, OSError) as error:
            raise DeviceFailed("CSI camera", f"gives no more frames: {error}", "check the ribbon") from error
        return _checked(np.ascontiguousarray(buffer[:height, :width]))

    def close(self) -> None:
        """Stop the camera and let it go."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None


class FolderSource:
    """The pictures of a folder in the order of their names, or a video file, over and over.

    Pictures that cannot be read are skipped and counted.
    """

    replays = True

    def __init__(self, path: str, fps: float) -> None:
        self.fps: float | None = fps
        self.unreadable = 0
        self._path = Path(path)
        self._files: list[Path] = []
        self._next = 0
        self._video: Any = None

    def open(self) -> None:
        """List the pictures, or open the video."""
        if self._path.is_dir():
            self._files = sorted(p for p in self._path.iterdir() if p.is_file())
        elif self._path.suffix.lower() in VIDEO_SUFFIXES and self._path.is_file():
            self._open_video()
            return
        elif self._path.is_file():
            self._files = [self._path]
        if not self._files:
            raise DeviceNotAvailable(
                str(self._path), "no pictures there", "name a folder of pictures or a video"
            )
        _import_cv2(str(self._path))  # or every picture would be one that cannot be read

    def _open_video(self) -> None:
        cv2 = _import_cv2(str(self._path))
        self._video = cv2.VideoCapture(str(self._path))
        if not self._video.isOpened():
            raise DeviceNotAvailable(str(self._path), "not a video", "name a video that OpenCV can play")

    def read(self) -> Frame | None:
        """Return the next picture, None for one that cannot be read."""
        if self._video is not None:
            return self._read_video()
        path = self._files[self._next % len(self._files)]
        self._next += 1
        try:
            return load(path)
        except PictureRefusedError:
            self.unreadable += 1
            return None

    def _read_video(self) -> Frame | None:
        ok, frame = self._video.read()
        if ok:
            return _checked(frame)
        self.close()
        self._open_video()
        return None

    def close(self) -> None:
        """Close the video."""
        if self._video is not None:
            self._video.release()
            self._video = None


class SyntheticSource:
    """A simulated camera that sees what a scene file says, with new sensor noise in each frame.

    The file is JSON: `codes` (texts on phone screens, none for an empty hall, two for two phones),
    `condition` and `severity` as in drivers.sim.phone, and the switches `frozen` (the same frame for
    ever), `black` (lens covered) and `gone` (unplugged). It is read again whenever it changes and must be
    replaced, not rewritten. The picture is drawn once for each scene; only the noise is new in each frame.
    """

    replays = False
    unreadable = 0

    def __init__(self, scene_path: str, width: int, height: int, fps: float, seed: int) -> None:
        self.fps: float | None = fps
        self._path = Path(scene_path)
        self._size = (width, height)
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        slack = (height + NOISE_SLACK_PX, width + NOISE_SLACK_PX, 3)
        self._noise = np.rint(self._rng.standard_normal(slack, np.float32) * NOISE_SD).astype(np.int8)
        self._stamp: tuple[int, int] | None = None
        self._scene: dict[str, Any] = {}
        self._drawn: tuple[object, ...] | None = None
        self._picture: Frame = np.zeros((height, width, 3), np.uint8)
        self._last: Frame | None = None

    def open(self) -> None:
        """Read the scene."""
        try:
            self._look()
        except DeviceFailed as error:
            raise DeviceNotAvailable(error.device, error.problem, error.advice) from error

    def read(self) -> Frame | None:
        """Return the scene as a new frame, or the last frame again while it is frozen."""
        self._look()
        if not (self._scene["frozen"] and self._last is not None):
            self._last = self._with_noise(self._picture)
        return self._last

    def close(self) -> None:
        """Forget the scene, so that the next `open` reads it again."""
        self._stamp = None

    def _look(self) -> None:
        try:
            status = self._path.stat()
            if self._stamp != (stamp := (status.st_mtime_ns, status.st_ino)):
                self._scene = _scene(self._path)
                self._draw()
                self._stamp = stamp
        except (OSError, ValueError, TypeError) as error:
            raise DeviceFailed(
                str(self._path), f"no usable scene: {error}", "write a scene file there"
            ) from error
        if self._scene["gone"]:
            raise DeviceFailed("simulated camera", "unplugged", "plug the camera in: set gone to false")

    def _draw(self) -> None:
        scene = self._scene
        look = (*scene["codes"], scene["condition"], scene["severity"], scene["black"])
        if look != self._drawn:
            self._picture = np.zeros_like(self._picture) if scene["black"] else self._render(scene)
            self._drawn = look

    def _render(self, scene: dict[str, Any]) -> Frame:
        from drivers.sim import phone  # noqa: PLC0415 - draws with demo packages that no device needs

        codes = scene["codes"]
        if not codes:
            return phone.empty(self._seed, self._size)
        two = len(codes) > 1
        condition = phone.Condition.TWO_PHONES if two else phone.Condition(scene["condition"])
        other = codes[1] if two else None
        return phone.render(codes[0], condition, scene["severity"], self._seed, self._size, other=other)

    def _with_noise(self, picture: Frame) -> Frame:
        height, width = picture.shape[:2]
        top, left = self._rng.integers(0, NOISE_SLACK_PX, 2)
        lit = picture.astype(np.int16)
        lit += self._noise[top : top + height, left : left + width]
        return np.clip(lit, 0, 255, out=lit).astype(np.uint8)


def _scene(path: Path) -> dict[str, Any]:
    """Return the scene with its defaults filled in; raises OSError, ValueError or TypeError."""
    with path.open("rb") as file:
        said = json.loads(file.read(SCENE_BYTES_MAX))
    if not isinstance(said, dict):
        raise TypeError("not a JSON object")
    scene = EMPTY_SCENE | said
    if len(scene["codes"]) > 2:
        raise ValueError("at most two codes fit in view")
    return scene


def _checked(frame: NDArray[Any]) -> Frame:
    if frame.dtype != np.uint8 or frame.ndim not in {2, 3} or not frame.size:
        raise DeviceFailed("camera", f"frames of the shape {frame.shape}", "choose another format or source")
    return frame


def _import_cv2(device: str) -> ModuleType:
    try:
        import cv2  # noqa: PLC0415 - 20 MB that only the sources through OpenCV need
    except ImportError as error:
        raise DeviceNotAvailable(
            device, "OpenCV is not installed", "run: sudo apt install python3-opencv"
        ) from error
    return cv2
