"""What every thermometer and every source of codes promises: an answer for each request, bytes, an end."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import pytest
import segno

from drivers.errors import DeviceNotAvailable
from drivers.mlx90614 import VARIANTS
from drivers.sim.mlx90614 import Fault, SimMlx90614
from gate.app.hardware import CameraPart, ThermometerPart
from gate.config import CameraSection, ThermometerSection
from gate.core.codes.model import Appearance
from gate.core.evidence import Reading, Unmeasured
from gate.core.inputs import CodesRead, Device, DeviceFailed, DeviceRecovered, Input, ReadingTaken
from gate.shell.reading import ReadingThread
from gate.sim.timeline import Timeline
from tests.brokers import wait_for

# --- Thermometer


def _never_there(_time: Timeline) -> SimMlx90614:
    raise DeviceNotAvailable("/dev/i2c-1", "no such I2C bus", "enable I2C")


def _simulated(time: Timeline, fault: Fault | None = None) -> SimMlx90614:
    part = SimMlx90614(VARIANTS["DCC"], monotonic=time.monotonic, sleep=time.sleep)
    if fault is not None:
        part.inject(fault)
    return part


THERMOMETERS: dict[str, tuple[Callable[[Timeline], SimMlx90614], type[object]]] = {
    "well": (_simulated, Reading),
    "absent": (_never_there, Unmeasured),
    "hanging": (partial(_simulated, fault=Fault.HANG), Unmeasured),
    "deaf": (partial(_simulated, fault=Fault.NACK), Unmeasured),
    "dead bus": (partial(_simulated, fault=Fault.DEAD_BUS_VALID_PEC), Unmeasured),
}


@pytest.fixture(params=THERMOMETERS)
def thermometer(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[ReadingThread, list[Input], type[object]]]:
    open_bus, expected = THERMOMETERS[request.param]
    time, posted = Timeline(), list[Input]()
    monkeypatch.setattr("gate.app.hardware.sleep", time.sleep)  # the driver waits in the part's own time
    part = ThermometerPart(ThermometerSection(), lambda _: None, lambda: open_bus(time))
    thread = ReadingThread(part.measure, posted.append, part.prepare)
    thread.start()
    yield thread, posted, expected
    thread.stop(5)


def test_each_request_is_answered_for_its_own_visit(
    thermometer: tuple[ReadingThread, list[Input], type[object]],
) -> None:
    thread, posted, expected = thermometer
    for number, visit in enumerate(("a", "b"), 1):
        thread.request(visit)
        wait_for(lambda n=number: len(posted) == n, 8, f"an answer for {visit}")
    answers = [happened for happened in posted if isinstance(happened, ReadingTaken)]
    assert [answer.visit for answer in answers] == ["a", "b"]
    assert all(isinstance(answer.measurement, expected) for answer in answers), answers


def test_nothing_is_measured_unasked(thermometer: tuple[ReadingThread, list[Input], type[object]]) -> None:
    thread, posted, _ = thermometer
    thread.stop(5)
    assert not thread._thread.is_alive()
    assert posted == []


# --- CodeSource

PAYLOADS = ("HG1:ABC/+", "另一个")


def from_a_scene(folder: Path) -> CameraSection:
    (folder / "scene.json").write_text(json.dumps({"codes": [PAYLOADS[0]]}))
    return CameraSection(source="synthetic", path=folder / "scene.json", width=640, height=480, fps=12)


def from_a_folder(folder: Path) -> CameraSection:
    pictures = folder / "pictures"
    pictures.mkdir()
    segno.make(PAYLOADS[0], micro=False).save(str(pictures / "code.png"), scale=6, border=4)
    return CameraSection(source="folder", path=pictures, fps=12)


def from_a_video(folder: Path) -> CameraSection:
    segno.make(PAYLOADS[0], micro=False).save(str(folder / "code.png"), scale=8, border=6)
    frame = cv2.imread(str(folder / "code.png"))
    height, width = (side // 2 * 2 for side in frame.shape[:2])
    video = cv2.VideoWriter(str(folder / "code.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 12, (width, height))
    for _ in range(12):
        video.write(frame[:height, :width])
    video.release()
    return CameraSection(source="folder", path=folder / "code.avi", fps=12)


@pytest.mark.parametrize("source", [from_a_scene, from_a_folder, from_a_video])
def test_codes_come_as_bytes_until_it_is_stopped(
    tmp_path: Path, source: Callable[[Path], CameraSection]
) -> None:
    in_colour = source is not from_a_folder  # a black and white picture is read as a grey frame
    posted: list[Input] = []
    camera = CameraPart(source(tmp_path), posted.append, seed=1)
    camera.start()
    try:
        wait_for(lambda: any(isinstance(happened, CodesRead) for happened in posted), 10, "a code")
        child = camera.child_pid
    finally:
        camera.stop()
    drawn = Appearance.OTHER if in_colour else Appearance.NONE
    assert set(posted) == {CodesRead((PAYLOADS[0].encode(),), appearance=drawn)}
    assert not Path(f"/proc/{child}").exists()
    count = len(posted)
    camera.stop()
    assert (camera.child_pid, len(posted)) == (None, count)


def no_scene(folder: Path) -> tuple[CameraSection, Callable[[], object]]:
    return CameraSection(source="synthetic", path=folder / "scene.json"), lambda: from_a_scene(folder)


def no_folder(folder: Path) -> tuple[CameraSection, Callable[[], object]]:
    return CameraSection(source="folder", path=folder / "pictures"), lambda: from_a_folder(folder)


@pytest.mark.parametrize("absent", [no_scene, no_folder])
def test_a_source_that_is_not_there_is_told_once_and_comes_back_by_itself(
    tmp_path: Path, absent: Callable[[Path], tuple[CameraSection, Callable[[], object]]]
) -> None:
    section, appear = absent(tmp_path)
    posted: list[Input] = []
    camera = CameraPart(section, posted.append)
    camera.start()
    try:
        wait_for(lambda: posted, 10, "the absence to be told")
        appear()
        wait_for(lambda: any(isinstance(happened, CodesRead) for happened in posted), 10, "a code")
        wait_for(lambda: DeviceRecovered(Device.CAMERA) in posted, 5, "the recovery")
    finally:
        camera.stop()
    failures = [happened for happened in posted if isinstance(happened, DeviceFailed)]
    assert len(failures) == 1
    assert failures[0].device is Device.CAMERA
    assert failures[0].problem.startswith("cannot open; ")
