"""Codes are read: each pass earns its place, nothing readable is skipped, nothing is read into noise."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zxingcpp
from numpy.typing import NDArray

from drivers import qr, qr_passes
from drivers.qr import HOLD_FRAMES, Read, Reader

cv2 = pytest.importorskip("cv2")
segno = pytest.importorskip("segno")
Image = pytest.importorskip("PIL.Image")
phone = pytest.importorskip("drivers.sim.phone")

Frame = NDArray[np.uint8]

DATA = Path(__file__).parent.parent / "data" / "qr"
TEXT = "HG1:EDGE OF LEGIBILITY 0123456789"
PAYLOAD = TEXT.encode()
SIDE = 480
EVERYDAY = [*phone.Condition]


def modules(code: object, module_px: int) -> Frame:
    dark = np.array([[bool(module) for module in row] for row in code.matrix_iter(border=4)])  # type: ignore[attr-defined]
    return np.where(dark, np.uint8(0), np.uint8(255)).repeat(module_px, 0).repeat(module_px, 1)


def code(content: str | bytes = TEXT, module_px: int = 6, **options: object) -> Frame:
    return modules(segno.make(content, micro=False, error="m", boost_error=False, **options), module_px)


def held(picture: Frame, grey: int = 120) -> Frame:
    """The picture in the middle of an even grey frame of SIDE x SIDE."""
    frame = np.full((SIDE, SIDE), grey, np.uint8)
    top = (SIDE - len(picture)) // 2
    frame[top : top + len(picture), top : top + len(picture)] = picture
    return frame


def noisy(frame: NDArray[np.number], sd: float, seed: int) -> Frame:
    grain = np.random.default_rng(seed).normal(0, sd, frame.shape)
    return np.clip(frame + grain, 0, 255).astype(np.uint8)


def plain_reads(frame: Frame) -> set[bytes]:
    found = zxingcpp.read_barcodes(qr_passes.luma(frame), formats=zxingcpp.BarcodeFormat.QRCode)
    return {bytes(each.bytes) for each in found}


def hold(frame: Frame, reader: Reader | None = None, frames: int = HOLD_FRAMES) -> tuple[Read, ...]:
    """Offer the frame until something is read, as a visitor who holds still would."""
    reader = reader or Reader()
    for _ in range(frames):
        if reads := reader.scan(frame):
            return reads
    return ()


def payloads(reads: tuple[Read, ...]) -> set[bytes]:
    return {read.payload for read in reads}


# Frames that one pass alone reads


def in_the_dark() -> Frame:
    return noisy(np.repeat(held(code())[..., None], 3, 2) * 0.0045, 1.2, seed=1)


def banded() -> Frame:
    wave = (1 + np.sin(np.arange(SIDE) * 2 * math.pi / 11)) / 2
    return noisy(held(code()) * (1 - 0.62 * wave[:, None]), 2, seed=0)


def moved(length_px: float = 20, turn: float = math.pi / 3) -> Frame:
    smear = np.zeros((41, 41), np.float32)
    for way in np.linspace(-length_px / 2, length_px / 2, 300):
        smear[round(20 + way * math.cos(turn)), round(20 + way * math.sin(turn))] += 1
    return noisy(cv2.filter2D(held(code(module_px=7)), -1, smear / smear.sum()), 2, seed=0)


def far_out_of_focus() -> Frame:
    y, x = np.mgrid[-12:13, -12:13]
    disc = np.clip(8.5 - np.hypot(y, x), 0, 1)
    return noisy(cv2.filter2D(held(code(module_px=7)), -1, disc / disc.sum()), 2, seed=3)


def soft(module_px: int, spread: float, sd: float, seed: int) -> Frame:
    return noisy(cv2.GaussianBlur(held(code(module_px=module_px)), (0, 0), spread * module_px), sd, seed)


def faint(levels: int, module_px: int, seed: int) -> Frame:
    smooth = cv2.GaussianBlur(held(code(module_px=module_px)), (0, 0), 0.4 * module_px)
    return noisy(smooth * (levels / 255) + 200, 1, seed)


def overexposed() -> Frame:
    lit = cv2.GaussianBlur(held(code()).astype(np.float32), (0, 0), 1.0) * 3 + 160
    return noisy(lit + 0.1 * cv2.blur(lit, (25, 25)), 2, seed=0)


def tiny() -> Frame:
    small = cv2.resize(code(module_px=8), (40, 40), interpolation=cv2.INTER_AREA)
    return noisy(cv2.GaussianBlur(held(small), (0, 0), 0.6), 2, seed=1)


def speckled() -> Frame:
    frame, rng = held(code(module_px=4)), np.random.default_rng(1)
    return np.where(rng.random(frame.shape) < 0.25, rng.choice([0, 255], frame.shape), frame).astype(np.uint8)


def yellow(module_px: int, sd: float, seed: int) -> Frame:
    frame = np.full((SIDE, SIDE, 3), 255, np.uint8)
    frame[..., 0] = np.where(held(code(module_px=module_px)) == 0, 0, 255)
    return noisy(frame * 0.9, sd, seed)


def picture(name: str) -> Frame:
    with Image.open(DATA / name) as opened:
        return np.ascontiguousarray(np.array(opened.convert("RGB"))[..., ::-1])


CASES: dict[str, tuple[str, Callable[[], Frame]]] = {
    "lift": ("lift", in_the_dark),
    "tone": ("tone", banded),
    "threshold": ("threshold", overexposed),
    "deblur": ("deblur", moved),
    "deblur_2": ("deblur_2", far_out_of_focus),
    "sharpen": ("sharpen", lambda: soft(3, 0.65, 2, seed=0)),
    "equalise": ("equalise", lambda: faint(18, 5, seed=2)),
    "upsample": ("upsample", tiny),
    "median": ("median", speckled),
    "blue": ("channel", lambda: yellow(4, 30, seed=0)),
    "soften": ("soften", lambda: yellow(6, 45, seed=2)),
    "zbar": ("zbar", lambda: picture("jsqr_66.png")),
}


def test_every_pass_has_a_case() -> None:
    rungs = {name for rung in (*qr.RUNGS, *qr.DARK_RUNGS) for name in rung}
    assert rungs == {rung_name for rung_name, _ in CASES.values()}
    assert rungs - {"zbar", "channel"} == set(qr_passes.PASSES)
    assert len(qr.RUNGS) == len(qr.DARK_RUNGS) == HOLD_FRAMES


@pytest.mark.parametrize("name", CASES)
def test_the_pass_reads_what_nothing_else_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rung_name, build = CASES[name]
    frame = build()
    assert not plain_reads(frame)
    reads = hold(frame)
    assert [read.pass_name for read in reads] == [name]
    for rungs in ("RUNGS", "DARK_RUNGS"):
        without = tuple(tuple(each for each in rung if each != rung_name) for rung in getattr(qr, rungs))
        monkeypatch.setattr(qr, rungs, without)
    assert not hold(frame)


# Nothing readable is skipped


@pytest.mark.parametrize("condition", EVERYDAY)
def test_everyday_frames_are_read(condition: phone.Condition) -> None:
    for seed in range(4):
        severity = (0.0, 0.5, 1.0, 1.0)[seed]
        text = "HC1:" + "6BF+70790T9WJWG.FKY*4GO0" * 17 if condition == "dense" else TEXT
        frame = phone.render(text, condition, severity, seed, other="HG1:THE OTHER")
        expected = {text.encode()} | ({b"HG1:THE OTHER"} if condition == "two_phones" else set())
        # A reflection that covers a corner may take a pass or two more; all else is read at the first look.
        reads = hold(frame, frames=HOLD_FRAMES if condition == "glare" else 1)
        assert payloads(reads) == expected, (condition, severity, seed)


@pytest.mark.parametrize("size", [(320, 240), (1280, 720)])
def test_other_frame_sizes_are_read(size: tuple[int, int]) -> None:
    assert payloads(Reader().scan(phone.render(TEXT, size=size))) == {PAYLOAD}


@pytest.mark.parametrize("contrast", [12, 20, 40, 255])
@pytest.mark.parametrize("module_px", [2, 3, 5, 8])
def test_what_a_plain_pass_reads_is_never_skipped(contrast: int, module_px: int) -> None:
    for grey in (90, 160):
        even = held(code(module_px=module_px), grey=255) * (contrast / 255) + min(grey, 255 - contrast)
        for seed, frame in enumerate((even, 255 - even)):
            seen = noisy(frame, 1, seed)
            assert payloads(Reader().scan(seen)) >= plain_reads(seen), (contrast, module_px, grey, seed)


def test_published_pictures() -> None:
    for entry in json.loads((DATA / "manifest.json").read_text()):
        frame = picture(entry["file"])
        reads = hold(frame)
        assert payloads(reads) >= plain_reads(frame), entry["file"]
        assert bool(reads) == entry["has_code"], entry["file"]
        if entry["expected"]:
            assert payloads(reads) == {entry["expected"].encode()}, entry["file"]


# Nothing is read that is not there


@pytest.mark.parametrize("seed", range(3))
def test_noise_says_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for frame in (
        rng.integers(0, 256, (480, 640, 3), np.uint8),
        (rng.integers(0, 2, (240, 320), np.uint8) * 255).repeat(2, 0).repeat(2, 1),
        phone.empty(seed),
    ):
        reader = Reader()
        assert not any(reader.scan(frame) for _ in range(2 * HOLD_FRAMES)), seed


def test_micro_qr_is_no_qr_code() -> None:
    assert hold(held(modules(segno.make("12345", micro=True), 8))) == ()


# What a code says


@pytest.mark.parametrize("content", [bytes(range(256)), "健康码 绿码".encode("gb18030"), "健康码".encode()])
def test_bytes_are_kept(content: bytes) -> None:
    assert payloads(hold(held(code(content, module_px=4)))) == {content}


def test_inverted() -> None:
    assert payloads(Reader().scan(255 - held(code(), grey=255))) == {PAYLOAD}


def test_two_codes_are_both_returned_and_the_same_twice_once() -> None:
    one, other = code("HG1:ONE"), code("HG1:TWO")
    assert payloads(Reader().scan(np.hstack([held(one), held(other)]))) == {b"HG1:ONE", b"HG1:TWO"}
    assert len(Reader().scan(np.hstack([held(one), held(one)]))) == 1


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("mask", range(8))
def test_a_fragment_of_a_structured_append_is_flagged(mask: int, mirrored: bool, turn: int) -> None:
    part = segno.make_sequence("THE FIRST AND THE SECOND PART" * 6, symbol_count=2, mask=mask)[turn % 2]
    whole = segno.make(TEXT, micro=False, mask=mask)
    for symbol, fragment in ((part, True), (whole, False)):
        frame = np.rot90(held(modules(symbol, 5)), turn)
        reads = Reader().scan(frame.T if mirrored else frame)
        assert [read.fragment for read in reads] == [fragment], (mask, mirrored, turn)


def test_zbar_is_believed_in_ascii_only(monkeypatch: pytest.MonkeyPatch) -> None:
    grey = held(code("健康码".encode("gb18030"), module_px=8))
    assert qr._zbar(held(code())) == (Read(PAYLOAD, "zbar", "zbar", fragment=False),)
    assert qr._zbar(grey) == ()
    parts = segno.make_sequence("THE FIRST AND THE SECOND PART" * 3, symbol_count=2)
    assert qr._zbar(held(modules(parts[0], 6))) == ()


# Optional libraries


@pytest.fixture
def forget_libraries() -> Iterator[None]:
    for each in (qr._pyzbar, qr_passes.opencv):
        each.cache_clear()
    yield
    for each in (qr._pyzbar, qr_passes.opencv):
        each.cache_clear()


@pytest.mark.usefixtures("forget_libraries")
def test_without_pyzbar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyzbar", None)
    assert hold(picture("jsqr_66.png")) == ()
    assert payloads(Reader().scan(held(code()))) == {PAYLOAD}


def test_zbar_can_be_left_out() -> None:
    assert hold(picture("jsqr_66.png"), Reader(zbar=False)) == ()


@pytest.mark.usefixtures("forget_libraries")
@pytest.mark.parametrize("name", ["lift", "tone", "sharpen", "blue", "soften"])
def test_without_opencv_numpy_does_these(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = CASES[name][1]()
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert payloads(hold(frame)) == {PAYLOAD}


@pytest.mark.usefixtures("forget_libraries")
def test_without_opencv_the_rest_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert hold(moved()) == ()
    colour = np.repeat(held(code())[..., None], 3, 2)
    assert payloads(Reader().scan(np.tile(colour, (10, 10, 1)))) == {PAYLOAD}
    everyday = [phone.render(TEXT, condition) for condition in EVERYDAY[::4]]
    assert all(PAYLOAD in payloads(hold(frame)) for frame in everyday)


# A scene that does not change


class Counting:
    """Stands before zxing-cpp and counts the passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passes = 0
        self._read = zxingcpp.read_barcodes
        monkeypatch.setattr(zxingcpp, "read_barcodes", self)

    def __call__(self, *args: object, **options: object) -> object:
        self.passes += 1
        return self._read(*args, **options)


def test_an_empty_scene_costs_no_pass_and_is_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    counting, reader = Counting(monkeypatch), Reader()
    wall = [noisy(np.full((480, 640, 3), 140.0), 2, seed) for seed in range(3)]
    for number in range(qr.REST_LOOK - 1):
        reader.scan(wall[number % 3])
    assert counting.passes == 0
    reader.scan(wall[0])
    assert counting.passes == 1
    assert payloads(reader.scan(phone.render(TEXT))) == {PAYLOAD}


def test_a_scene_without_a_code_is_left_alone_until_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    shelf = rng.integers(0, 256, (60, 80, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    counting, reader = Counting(monkeypatch), Reader()
    frames = [noisy(shelf, 2, seed) for seed in range(4)]
    for number in range(HOLD_FRAMES):
        reader.scan(frames[number % 4])
    assert counting.passes > HOLD_FRAMES
    before = counting.passes
    for number in range(qr.REST_LOOK - 1):
        reader.scan(frames[number % 4])
    assert counting.passes == before
    reader.scan(frames[0])
    assert counting.passes > before
    small = code("HG1:A", module_px=3)
    shelf[100 : 100 + len(small), 300 : 300 + len(small)] = small[..., None]
    assert payloads(reader.scan(shelf)) == {b"HG1:A"}


def test_a_code_that_stays_is_read_again_and_again() -> None:
    for frame in (held(code()), moved()):
        reader = Reader()
        assert hold(frame, reader)
        assert all(reader.scan(frame) for _ in range(2 * HOLD_FRAMES))


def test_the_pass_that_read_comes_first_on_the_next_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader()
    assert hold(tiny(), reader)
    counting = Counting(monkeypatch)
    assert [read.pass_name for read in reader.scan(tiny())] == ["upsample"]
    assert counting.passes == 2


def test_a_moving_phone_sees_the_whole_ladder() -> None:
    reader = Reader()
    assert any(reader.scan(np.roll(moved(), 6 * number, axis=1)) for number in range(HOLD_FRAMES))


def test_reset_forgets_the_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    counting, reader = Counting(monkeypatch), Reader()
    rng = np.random.default_rng(4)
    shelf = rng.integers(0, 256, (60, 80), np.uint8).repeat(8, 0).repeat(8, 1)
    for _ in range(HOLD_FRAMES + 1):
        reader.scan(shelf)
    before = counting.passes
    reader.scan(shelf)
    assert counting.passes == before
    reader.reset()
    reader.scan(shelf)
    assert counting.passes > before


# Hostile frames

HOSTILE = {
    "nothing": np.zeros((0, 0), np.uint8),
    "no_width": np.zeros((480, 0, 3), np.uint8),
    "pixel": np.zeros((1, 1), np.uint8),
    "thread": np.zeros((1, 100_000), np.uint8),
    "ribbon": np.random.default_rng(0).integers(0, 256, (20, 100_000), np.uint8),
    "one_axis": np.zeros(480, np.uint8),
    "four_axes": np.zeros((2, 480, 640, 3), np.uint8),
    "two_planes": np.zeros((480, 640, 2), np.uint8),
    "float": np.full((480, 640), np.nan),
    "bool": np.ones((480, 640), bool),
    "wide": np.zeros((480, 640), np.uint16),
    "object": np.empty((480, 640), object),
    "black": np.zeros((480, 640, 3), np.uint8),
    "white": np.full((480, 640, 3), 255, np.uint8),
    "read_only": np.frombuffer(bytes(480 * 640), np.uint8).reshape(480, 640),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_frame_raises(name: str) -> None:
    assert hold(HOSTILE[name]) == ()


@pytest.mark.parametrize("frame", [None, b"frame", [[0, 1]]])
def test_what_is_no_frame_says_nothing(frame: object) -> None:
    assert Reader().scan(frame) == ()  # type: ignore[arg-type]


def test_odd_layouts_are_read() -> None:
    grey = held(code())
    colour = np.repeat(grey[..., None], 4, 2)
    layouts = (
        colour,
        grey[..., None],
        grey.T,
        grey[::-1, ::-1],
        colour[..., :3][:, ::-1],
        np.asfortranarray(grey),
    )
    assert all(payloads(Reader().scan(layout)) == {PAYLOAD} for layout in layouts)


def test_a_giant_frame_is_reduced() -> None:
    frame = np.full((6000, 6000), 255, np.uint8)
    large = code(module_px=60)
    frame[100 : 100 + len(large), 100 : 100 + len(large)] = large
    assert payloads(Reader().scan(frame)) == {PAYLOAD}


def test_a_failing_library_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(zxingcpp, "read_barcodes", fail)
    assert hold(held(code())) == ()


def finder_patterns() -> Frame:
    tile = np.ones((9, 9), np.uint8)
    tile[1:8, 1:8], tile[2:7, 2:7], tile[3:6, 3:6] = 0, 1, 0
    return np.tile(tile.repeat(3, 0).repeat(3, 1) * 255, (27, 48))[:720, :1280]


@pytest.mark.parametrize("name", ["noise", "finder_patterns"])
def test_a_scan_of_a_hostile_frame_takes_bounded_time(name: str) -> None:
    noise = np.random.default_rng(6).integers(0, 256, (720, 1280), np.uint8)
    frame, reader = noise if name == "noise" else finder_patterns(), Reader()
    for _ in range(HOLD_FRAMES + 1):
        began = time.process_time()
        assert reader.scan(frame) == ()
        assert (
            time.process_time() - began < 2.0
        )  # 0.25 s where measured; the pass of zxing-cpp alone takes 0.1
