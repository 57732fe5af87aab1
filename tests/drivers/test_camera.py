"""The camera with its real child process: what it reads, and every way in which the child can die."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from drivers import camera as camera_module
from drivers.camera import PROBLEMS, Camera, CameraSettings, Health, SeenCode, SourceKind
from drivers.camera_sources import FolderSource, Picamera2Source, V4l2Source
from drivers.camera_worker import FrozenWatch, Slot, brightness, sharpness
from drivers.child import PACKAGE_ROOT, Child, GarbledLineError
from drivers.errors import DeviceFailed, DeviceNotAvailable

pytestmark = pytest.mark.apart

Image = pytest.importorskip("PIL.Image")
segno = pytest.importorskip("segno")

CODE = "HG1:CAMERA TEST 1"
OTHER = "HG1:CAMERA TEST 2"
NOTICE_S_MAX = 5.0  # what the service promises: a fault of the camera is known after this time


class Log:
    """Everything that a camera calls back, and a way to wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.reads: list[tuple[SeenCode, ...]] = []
        self.read_at_ns: list[int] = []
        self.health: list[Health] = []
        self.faults: list[tuple[str, str]] = []
        self.fault_at: list[float] = []

    def on_reads(self, reads: tuple[SeenCode, ...], mono_ns: int) -> None:
        with self._changed:
            self.reads.append(reads)
            self.read_at_ns.append(mono_ns)
            self._changed.notify_all()

    def on_health(self, health: Health) -> None:
        with self._changed:
            self.health.append(health)
            self._changed.notify_all()

    def on_fault(self, problem: str, advice: str) -> None:
        with self._changed:
            self.faults.append((problem, advice))
            self.fault_at.append(time.monotonic())
            self._changed.notify_all()

    def until(self, holds: Callable[[], object], seconds: float = 20.0) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, seconds), (self.health[-1:], self.reads[-1:], self.faults)

    def problems(self) -> list[str]:
        return [problem for problem, _ in self.faults]

    def has_read(self, text: str, after_ns: int = 0) -> bool:
        pairs = zip(self.reads, self.read_at_ns, strict=True)
        return any(at > after_ns and any(r.payload == text.encode() for r in reads) for reads, at in pairs)


@contextlib.contextmanager
def running(settings: CameraSettings) -> Iterator[tuple[Camera, Log]]:
    log = Log()
    camera = Camera(settings, on_reads=log.on_reads, on_health=log.on_health, on_fault=log.on_fault)
    camera.start()
    try:
        yield camera, log
    finally:
        camera.stop()
    assert not children()
    assert not [t for t in threading.enumerate() if t.name == "camera-reader"]


def children() -> list[psutil.Process]:
    """The processes, dead ones included, that this test has left behind."""
    return psutil.Process().children()


def wait_until(holds: Callable[[], object], seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    never = threading.Event()
    while not holds():
        assert time.monotonic() < until, "did not come true in time"
        never.wait(0.02)


class Scene:
    """The scene file of a synthetic camera, replaced as the demo does it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "scene.json"

    def set(self, *codes: str, **switches: object) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"codes": codes, **switches}), "utf-8")
        new.replace(self.path)

    def settings(self, **changes: Any) -> CameraSettings:
        return CameraSettings(SourceKind.SYNTHETIC, str(self.path), **changes)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    made.set(CODE)
    return made


# Service


def test_codes_come_and_go_with_what_the_camera_sees(scene: Scene) -> None:
    with running(scene.settings(seed=3)) as (camera, log):
        log.until(lambda: log.has_read(CODE))
        assert abs(time.monotonic_ns() - log.read_at_ns[-1]) < 2e9  # the frame's own time, one clock for both
        scene.set(OTHER)
        log.until(lambda: log.has_read(OTHER))
        scene.set("FIRST PHONE", "SECOND PHONE")
        log.until(lambda: any(len(reads) == 2 for reads in log.reads))
        scene.set()
        empty_ns = time.monotonic_ns() + 1_000_000_000
        log.until(lambda: log.health and log.health[-1].frames > 40)
        assert not any(at > empty_ns for at in log.read_at_ns)
        last = log.health[-1]
        assert last.problem() is None
        assert not last.frozen
        assert last.fps > 5
        assert last.frame_age_ms is not None and last.frame_age_ms < 1000
        assert camera.child_pid is not None
        assert last.memory_mb < 110
        assert not log.faults


def test_the_child_has_little_memory_and_low_priority_and_one_decoding_thread(scene: Scene) -> None:
    with running(scene.settings()) as (camera, log):
        log.until(lambda: log.reads)
        assert camera.child_pid is not None
        child = psutil.Process(camera.child_pid)
        assert child.nice() > psutil.Process().nice()
        assert child.num_threads() <= 4
        assert os.getpgid(child.pid) != os.getpgrp()  # Ctrl-C reaches the parent alone
        assert child.rlimit(psutil.RLIMIT_AS)[0] < 4 << 30
        assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)


def test_where_memory_runs_out_the_kernel_ends_the_child_and_not_the_gate(scene: Scene) -> None:
    with running(scene.settings()) as (camera, log):
        log.until(lambda: log.health)
        child, own = (
            int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (camera.child_pid, "self")
        )
        assert child > own


def test_the_parent_loads_no_picture_library() -> None:
    code = (
        "import sys, drivers.camera, drivers.pictures; print({'numpy', 'cv2', 'zxingcpp'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_stop_ends_everything_at_any_time_and_may_be_repeated(scene: Scene) -> None:
    log = Log()
    camera = Camera(scene.settings(), on_reads=log.on_reads, on_health=log.on_health, on_fault=log.on_fault)
    for wait_for in ("nothing", "the child", "a read"):
        camera.start()
        if wait_for == "the child":
            wait_until(lambda: camera.child_pid)
        if wait_for == "a read":
            log.until(lambda: log.reads)
        camera.stop()
        camera.stop()
        assert not children()
        assert camera.child_pid is None
    assert not log.faults


# The child dies


def test_a_killed_child_is_reported_and_replaced(scene: Scene) -> None:
    with running(scene.settings()) as (camera, log):
        log.until(lambda: log.reads)
        first = camera.child_pid
        assert first is not None
        killed_ns = time.monotonic_ns()
        os.kill(first, signal.SIGKILL)
        log.until(lambda: log.faults)
        assert (time.monotonic_ns() - killed_ns) / 1e9 < 1
        log.until(lambda: log.has_read(CODE, after_ns=killed_ns))
        assert log.problems() == ["crashed"]
        assert "SIGKILL" in log.faults[0][1]
        assert camera.child_pid != first


def test_a_hung_child_is_noticed_in_time_and_replaced(scene: Scene) -> None:
    with running(scene.settings()) as (camera, log):
        log.until(lambda: log.reads)
        first = camera.child_pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        stopped_ns = time.monotonic_ns()
        log.until(lambda: log.faults, NOTICE_S_MAX)
        assert log.problems() == ["silent"]
        assert not psutil.pid_exists(first)
        log.until(lambda: log.has_read(CODE, after_ns=stopped_ns + 1_000_000_000))


def test_a_child_that_takes_too_much_memory_is_replaced_ever_more_slowly(scene: Scene) -> None:
    settings = scene.settings(memory_mb_max=12, pause_s_max=1.0)
    with running(settings) as (_, log):
        log.until(lambda: len(log.faults) >= 4)
        assert set(log.problems()) == {"memory"}
        assert log.fault_at[3] - log.fault_at[2] >= 1.0
        assert "12 MiB" in log.faults[0][1]


def test_the_child_goes_when_its_parent_is_killed(scene: Scene) -> None:
    code = f"""
import sys, threading
from drivers.camera import Camera, CameraSettings, SourceKind
nothing = lambda *_: None
camera = Camera(
    CameraSettings(SourceKind.SYNTHETIC, {str(scene.path)!r}),
    on_fault=nothing,
    on_health=nothing,
    on_reads=lambda *_: print(camera.child_pid, flush=True),
)
camera.start()
threading.Event().wait()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        child.suspend()  # a hung child has to go as well
        parent.kill()
        parent.wait()
        try:
            wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def test_the_child_goes_when_its_input_ends(scene: Scene) -> None:
    settings = {"kind": "synthetic", "path": str(scene.path)}
    child = subprocess.Popen(
        [sys.executable, "-m", "drivers.camera_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=PACKAGE_ROOT,
    )
    assert child.stdin is not None and child.stdout is not None
    with child.stdin, child.stdout:
        child.stdin.write(json.dumps(settings).encode() + b"\n")
        child.stdin.flush()
        assert json.loads(child.stdout.readline())["type"] == "health"
        child.stdin.close()
        assert child.wait(5) == 0


# The camera fails


def test_an_unplugged_camera_is_a_fault_with_advice_and_comes_back(scene: Scene) -> None:
    with running(scene.settings(pause_s_max=0.5)) as (_, log):
        log.until(lambda: log.reads)
        scene.set(CODE, gone=True)
        log.until(lambda: "cannot open" in log.problems())
        assert log.problems()[0] == "lost"
        assert all("plug the camera in" in advice for _, advice in log.faults)
        back_ns = time.monotonic_ns()
        scene.set(CODE)
        log.until(lambda: log.has_read(CODE, after_ns=back_ns))
        log.until(lambda: log.health[-1].problem() is None)


def test_a_frozen_camera_is_noticed_in_time_and_its_last_code_is_not_read_again(scene: Scene) -> None:
    with running(scene.settings(frozen_s=1.0)) as (_, log):
        log.until(lambda: log.reads)
        scene.set(CODE, frozen=True)
        log.until(lambda: log.health[-1].frozen, NOTICE_S_MAX - 2.0)  # two seconds less than by default
        assert log.health[-1].problem() == "frozen"
        known = len(log.health)
        noticed_ns = time.monotonic_ns()
        log.until(lambda: len(log.health) >= known + 2)
        assert log.health[-1].frozen
        assert not log.has_read(CODE, after_ns=noticed_ns)
        scene.set(CODE)
        log.until(lambda: not log.health[-1].frozen and log.has_read(CODE, after_ns=noticed_ns))
        assert not log.faults


def test_a_covered_lens_is_dark_and_not_frozen(scene: Scene) -> None:
    scene.set(CODE, black=True)
    with running(scene.settings(frozen_s=0.2)) as (_, log):
        log.until(lambda: log.health and log.health[-1].frames > 10)
        assert log.health[-1].problem() == "dark"
        assert not any(health.frozen for health in log.health)
        assert not log.reads


def test_a_scene_that_makes_no_sense_is_a_fault(scene: Scene) -> None:
    scene.path.write_text("[1, 2", "utf-8")
    with running(scene.settings()) as (_, log):
        log.until(lambda: log.faults)
        assert log.problems()[0] == "cannot open"


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        (CameraSettings(SourceKind.V4L2, "/dev/v4l/by-id/usb-none"), "no such device; plug the camera in"),
        (CameraSettings(SourceKind.V4L2, __file__), "gives no frame"),
        (CameraSettings(SourceKind.PICAMERA2), "apt install python3-picamera2"),
        (CameraSettings(SourceKind.FOLDER, "/nowhere"), "no pictures there"),
        (CameraSettings(SourceKind.SYNTHETIC, "/nowhere.json"), "write a scene file"),
    ],
    ids=["no device", "no camera", "no library", "no folder", "no scene"],
)
def test_a_camera_that_cannot_be_opened_is_a_fault_with_advice(settings: CameraSettings, advice: str) -> None:
    with running(settings) as (_, log):
        log.until(lambda: log.faults)
        assert log.faults[0][0] == "cannot open"
        assert advice in log.faults[0][1]


def test_without_opencv_a_folder_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "picture.png").write_bytes(b"")
    source = FolderSource(str(tmp_path), 10)
    source.open()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DeviceNotAvailable, match="OpenCV is not installed"):
        source.open()


def test_a_still_picture_in_a_folder_is_no_frozen_camera(tmp_path: Path) -> None:
    segno.make(CODE, micro=False).save(str(tmp_path / "a.png"), scale=5, border=4)
    with running(CameraSettings(SourceKind.FOLDER, str(tmp_path), fps=30, frozen_s=0.2)) as (_, log):
        log.until(lambda: log.health and log.health[-1].frames >= 20)
        assert not any(health.frozen for health in log.health)
        assert log.has_read(CODE)


def test_hostile_files_in_a_folder_are_skipped_and_counted(tmp_path: Path) -> None:
    segno.make(CODE, micro=False).save(str(tmp_path / "a.png"), scale=5, border=4)
    rng = np.random.default_rng(5)
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff" + rng.bytes(5000))
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    (tmp_path / "d.txt").write_text("not a picture")
    Image.fromarray(rng.integers(0, 256, (480, 640, 3), np.uint8)).save(tmp_path / "e.png")
    with running(CameraSettings(SourceKind.FOLDER, str(tmp_path), fps=30)) as (_, log):
        log.until(lambda: log.health and log.health[-1].unreadable >= 9 and log.health[-1].frames >= 6)
        assert log.has_read(CODE)
        assert not log.faults


def test_a_folder_without_any_readable_picture_is_silent_and_not_normal(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("nothing")
    with running(CameraSettings(SourceKind.FOLDER, str(tmp_path))) as (_, log):
        log.until(lambda: len(log.health) >= 2)
        assert log.health[-1].problem() == "no frame yet"
        assert log.health[-1].brightness is None


# A child that cannot be trusted

NOISY_CHILDREN = {
    "binary": "os.write(1, os.urandom(4000) + b'\\n')",
    "overlong": "os.write(1, b'{' * 70000)",
    "overlong ended": 'os.write(1, b\'{"type":"reads","mono_ns":1,"reads":[\' + b\' \' * 66000 + b\']}\\n\')',
    "nested": "os.write(1, b'[' * 60000 + b'\\n')",
    "no object": "print('[1]', flush=True)",
    "no type": "print('{}', flush=True)",
    "empty reads": """print('{"type":"reads"}', flush=True)""",
    "bad base64": """print('{"type":"reads","mono_ns":1,"reads":[{"payload_b64":"?"}]}', flush=True)""",
    "bad number": """print('{"type":"health","fps":"fast"}', flush=True)""",
    "bad fault": """print('{"type":"fault","problem":7}', flush=True)""",
}


@pytest.fixture
def impostor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let another program, given as Python text, play the camera child."""

    def play(program: str) -> None:
        (tmp_path / "impostor.py").write_text(f"import os, sys, time\n{program}\nsys.stdin.read()\n", "utf-8")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(camera_module, "Child", lambda _: Child("impostor"))

    return play


@pytest.mark.parametrize("program", NOISY_CHILDREN.values(), ids=NOISY_CHILDREN)
def test_a_child_that_talks_nonsense_is_a_fault(impostor: Callable[[str], None], program: str) -> None:
    impostor(program)
    with running(CameraSettings(SourceKind.PICAMERA2)) as (_, log):
        log.until(lambda: log.faults)
        assert log.problems() == ["garbled"]
        assert not log.reads and not log.health


def test_a_child_that_ends_leaves_its_last_words(impostor: Callable[[str], None]) -> None:
    impostor("sys.exit('libcamera fell over\\x1b[2J')")
    with running(CameraSettings(SourceKind.PICAMERA2)) as (_, log):
        log.until(lambda: log.faults)
        assert log.faults[0][0] == "crashed"
        assert "exit status 1 (libcamera fell over[2J)" in log.faults[0][1]


def test_a_child_that_floods_its_error_output_is_not_blocked_by_it(impostor: Callable[[str], None]) -> None:
    impostor("os.write(2, b'x' * 1000000); sys.exit(4)")
    with running(CameraSettings(SourceKind.PICAMERA2)) as (_, log):
        log.until(lambda: log.faults)
        assert "exit status 4" in log.faults[0][1]


def test_what_libraries_print_does_not_reach_the_messages(impostor: Callable[[str], None]) -> None:
    impostor(
        "from drivers.child import Parent; p = Parent(); os.write(1, b'hello\\n'); p.tell({'type': 'x'})"
    )
    child = Child("impostor")
    try:
        messages: list[dict[str, Any]] = []
        wait_until(lambda: messages.extend(child.receive(0.1)) or messages)
        assert messages == [{"type": "x"}]
    finally:
        child.end()


def test_every_problem_word_is_listed() -> None:
    assert {"silent", "crashed", "memory", "cannot open", "lost", "garbled"} == set(PROBLEMS)


# Parts of the child


def test_the_slot_keeps_the_newest_frame_only_and_counts_the_rest() -> None:
    slot = Slot()
    assert slot.take(0) is None
    for level in range(5):
        slot.put(np.full((4, 4), level, np.uint8), level, frozen=False)
    shot = slot.take(0)
    assert shot is not None
    assert (shot.number, shot.mono_ns, shot.frame.max(), slot.skipped) == (5, 4, 4, 4)
    assert slot.take(0) is None


def test_frozen_needs_the_same_structured_frame_for_the_whole_time() -> None:
    watch = FrozenWatch(3.0)
    rng = np.random.default_rng(1)
    still = rng.integers(0, 256, (64, 64), np.uint8)
    assert [watch.see(still, t) for t in (0.0, 2.9, 3.0, 9.0)] == [False, False, True, True]
    assert not watch.see(rng.integers(0, 256, (64, 64), np.uint8), 9.1)
    assert not any(watch.see(np.full((64, 64), 3, np.uint8), t) for t in (10.0, 20.0))


def test_brightness_and_sharpness_tell_a_sharp_picture_from_a_blurred_one() -> None:
    sharp = np.tile(np.array([0, 255], np.uint8), (64, 32))
    grey = np.full((64, 64, 3), 127, np.uint8)
    assert brightness(grey) == 127
    assert sharpness(sharp) == 255
    assert sharpness(grey) == 0
    assert sharpness(np.zeros((1, 1), np.uint8)) == 0


FAKE_PICAMERA2 = """
import numpy as np

class Picamera2:
    camera_controls = {"AfMode": (0, 2, 0), "LensPosition": (0.0, 15.0, 1.0)}

    def create_video_configuration(self, main, controls):
        return main | {"controls": controls}

    def configure(self, configuration):
        self.configuration = configuration

    def start(self):
        pass

    def capture_array(self, stream):
        width, height = self.configuration["size"]
        rows = np.zeros((height * 3 // 2, width + 64), np.uint8)
        rows[:height, :width] = 77
        rows[height:] = 200
        return rows

    def close(self):
        pass
"""


def test_picamera2_hands_over_the_luma_plane_without_padding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "picamera2.py").write_text(FAKE_PICAMERA2, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    source = Picamera2Source(320, 240, 20)
    source.open()
    frame = source.read()
    assert frame is not None
    assert frame.shape == (240, 320)
    assert frame.flags.c_contiguous
    assert (frame == 77).all()
    controls = source._camera.configuration["controls"]
    assert controls == {"FrameDurationLimits": (50_000, 50_000), "AfMode": 0, "LensPosition": 6.0}
    source.close()
    monkeypatch.delitem(sys.modules, "picamera2")


def test_a_usb_camera_that_stops_is_lost_after_two_misses(tmp_path: Path) -> None:
    node = tmp_path / "video0"
    node.touch()
    source = V4l2Source(str(node), 640, 480, 10)
    source._capture = DeadCapture()
    assert source.read() is None
    with pytest.raises(DeviceFailed, match="check its cable"):
        source.read()
    node.unlink()
    with pytest.raises(DeviceNotAvailable, match="no such device"):
        source.open()


class DeadCapture:
    def read(self) -> tuple[bool, None]:
        return False, None


def test_a_line_is_bounded_even_without_its_end(impostor: Callable[[str], None]) -> None:
    impostor("\nwhile True: os.write(1, b'x' * 65536)")
    child = Child("impostor")
    try:
        with pytest.raises(GarbledLineError, match="more than"):
            for _ in range(100):
                child.receive(1.0)
    finally:
        assert "SIGKILL" in child.end(now=True)
