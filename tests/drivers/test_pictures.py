"""Picture files of every kind, honest and hostile: each gets one result and does no harm."""

from __future__ import annotations

import functools
import io
import os
import random
import signal
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from drivers.picture_files import PIXELS_MAX, Outcome, header_size
from drivers.picture_worker import outcome_of
from drivers.pictures import PictureLimits, PictureResult, read_pictures
from drivers.qr import Read

Image = pytest.importorskip("PIL.Image")
segno = pytest.importorskip("segno")

TEXT = "HG1:PICTURE TEST"
# One black pixel in 28 bytes: size, no transform, five prefix codes of a single symbol (RFC 9649, section 3).
SHORTEST_WEBP = b"RIFF\x14\0\0\0WEBPVP8L\x08\0\0\0\x2f\0\0\0\0\x88\x88\x08"
USUAL = PictureLimits()


def code_picture(text: str = TEXT, scale: int = 6) -> Image.Image:
    buffer = io.BytesIO()
    segno.make(text, micro=False).save(buffer, kind="png", scale=scale, border=4)
    return Image.open(buffer).convert("L")


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, colour_type: int = 0, rows: bytes = b"\0" * 1000) -> bytes:
    """A PNG whose header may promise far more than its data holds."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def with_jpeg_size(data: bytes, width: int, height: int) -> bytes:
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def honest() -> dict[str, bytes]:
    grey = code_picture()
    clear = Image.new("LA", grey.size, (0, 0))  # black modules on nothing: all black without the alpha plane
    clear.paste((0, 255), mask=grey.point(lambda level: 255 - level))
    other = Image.new("L", grey.size, 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    rgb = grey.convert("RGB")
    return {
        "grey.png": saved(grey, "PNG"),
        "one_bit.png": saved(grey.convert("1"), "PNG"),
        "palette.png": saved(rgb.convert("P"), "PNG"),
        "sixteen_bit.png": saved(sixteen, "PNG"),
        "grey_alpha.png": saved(clear, "PNG"),
        "rgb_alpha.png": saved(clear.convert("RGBA"), "PNG"),
        "alpha.webp": saved(clear.convert("RGBA"), "WEBP", lossless=True),
        "animated.png": saved(grey, "PNG", save_all=True, append_images=[other]),
        "animated.webp": saved(rgb, "WEBP", save_all=True, append_images=[other.convert("RGB")]),
        "lossy.webp": saved(rgb, "WEBP", quality=60),
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG"),
        "progressive.jpg": saved(rgb, "JPEG", progressive=True),
        "turned.jpg": saved(grey.rotate(90), "JPEG", exif=exif),
        "grey.bmp": saved(grey, "BMP"),
        "wrong_name.jpg": saved(grey, "PNG"),
        "no_suffix": saved(rgb, "JPEG"),
        "twelve_megapixels.jpg": saved(rgb.resize((4000, 4000)), "JPEG"),
        "twenty_megapixels.png": saved(grey.resize((4500, 4500)), "PNG"),
    }


def hostile() -> dict[str, tuple[bytes, set[Outcome]]]:
    grey = code_picture()
    noise = random.Random(8).randbytes(4000)
    jpeg, webp = saved(grey, "JPEG"), saved(grey.convert("RGB"), "WEBP", lossless=True)
    bad, big = {Outcome.UNREADABLE, Outcome.NOTHING_FOUND}, {Outcome.TOO_LARGE}
    none = {Outcome.NOT_A_PICTURE}
    return {
        "empty.png": (b"", none),
        "text.png": (b"I am no picture\n", none),
        "archive.jpg": (b"PK\x03\x04" + noise, none),
        "noise.jpg": (b"\xff\xd8\xff" + noise, bad | big),
        "noise.png": (b"\x89PNG\r\n\x1a\n" + noise, bad | big),
        "noise.webp": (b"RIFF" + noise[:4] + b"WEBP" + noise, bad | big),
        "noise.gif": (b"GIF89a" + noise, bad | big),
        "noise.bmp": (b"BM" + noise, bad | big),
        "signature.png": (b"\x89PNG\r\n\x1a\n", {Outcome.UNREADABLE}),
        "signature.jpg": (b"\xff\xd8\xff", {Outcome.UNREADABLE}),
        "signature.webp": (b"RIFF\0\0\0\0WEBP", {Outcome.UNREADABLE}),
        "padding.jpg": (b"\xff\xd8" + b"\xff" * 100_000, {Outcome.UNREADABLE}),
        "zero.png": (png(0, 10), {Outcome.UNREADABLE}),
        "giant.png": (png(100_000, 100_000), big),
        "longest.png": (png(2**31 - 1, 2**31 - 1), big),
        "giant.jpg": (with_jpeg_size(jpeg, 65_500, 65_500), big),
        "giant.webp": (webp[:21] + struct.pack("<I", 0x0FFFFFFF) + webp[25:], big),
        "giant.gif": (b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + noise, big),
        "giant.bmp": (b"BM" + bytes(12) + struct.pack("<Iii", 40, 2**31 - 1, -(2**31)) + noise, big),
        "promises.png": (png(5000, 5000), bad),
        "promises.jpg": (with_jpeg_size(jpeg, 6000, 6000), bad),
        "thin.png": (png(1, 60_000, rows=b"\0\xff" * 60_000), {Outcome.NOTHING_FOUND}),
        "speck.png": (png(1, 1, rows=b"\0\xff"), {Outcome.NOTHING_FOUND}),
        "speck.webp": (SHORTEST_WEBP, {Outcome.NOTHING_FOUND}),
        "bomb.png": (png(7000, 7000, 6, bytes(7000 * (4 * 7000 + 1))), {Outcome.NOTHING_FOUND}),
    }


def wait_until(holds: Callable[[], object], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    never = threading.Event()
    while not holds():
        assert time.monotonic() < until, "did not come true in time"
        never.wait(0.02)


@functools.cache
def slow_jpeg() -> bytes:
    """A progressive JPEG that repeats its last scan thousands of times: small, valid, and hours of work."""
    picture = Image.fromarray(np.random.default_rng(2).integers(0, 256, (4500, 4500), np.uint8))
    data = saved(picture.resize((6900, 6900)).point(lambda _: 7), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * (40_000_000 // len(scan)) + data[-2:]


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    yield
    assert not psutil.Process().children()


def results(folder: Path, limits: PictureLimits = USUAL) -> dict[str, PictureResult]:
    listed = list(read_pictures([folder], limits=limits))
    found = {Path(result.file).name: result for result in listed}
    assert len(found) == len(listed)
    return found


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)


# Honest pictures


def test_every_form_of_picture_is_read(tmp_path: Path) -> None:
    files = honest()
    write(tmp_path, files)
    found = results(tmp_path)
    unread = {name: result for name, result in found.items() if result.outcome is not Outcome.READ}
    assert not unread
    assert set(found) == set(files)
    for result in found.values():
        assert {read.payload for read in result.reads} == {TEXT.encode()}
        assert result.reads[0].decoder
        assert result.reads[0].pass_name
        assert result.ms > 0
        assert not result.detail


def test_gif_is_read_where_the_installed_opencv_can(tmp_path: Path) -> None:
    write(tmp_path, {"a.gif": saved(code_picture(), "GIF")})
    assert results(tmp_path)["a.gif"].outcome in {
        Outcome.READ,
        Outcome.UNREADABLE,
    }  # GIF came with OpenCV 4.11


def test_bytes_come_out_as_they_are_in_the_code(tmp_path: Path) -> None:
    payload = bytes(range(128, 256)) + b"\0\r\n"
    segno.make(payload, mode="byte").save(str(tmp_path / "bytes.png"), scale=5, border=4)
    assert results(tmp_path)["bytes.png"].reads[0].payload == payload


def test_several_codes_are_all_listed(tmp_path: Path) -> None:
    sheet = Image.new("L", (1400, 700), 255)
    for number in range(6):
        sheet.paste(code_picture(f"CODE {number}"), (number % 3 * 400 + 50, number // 3 * 300 + 20))
    write(tmp_path, {"sheet.png": saved(sheet, "PNG")})
    result = results(tmp_path)["sheet.png"]
    assert result.outcome is Outcome.SEVERAL_CODES
    assert {read.payload for read in result.reads} == {b"CODE %d" % number for number in range(6)}


def test_the_same_code_twice_is_one_payload(tmp_path: Path) -> None:
    sheet = Image.new("L", (900, 400), 255)
    sheet.paste(code_picture(), (50, 50))
    sheet.paste(code_picture(), (450, 50))
    write(tmp_path, {"twice.png": saved(sheet, "PNG")})
    assert results(tmp_path)["twice.png"].outcome is Outcome.READ


def test_a_fragment_of_a_structured_append_is_called_so(tmp_path: Path) -> None:
    parts = segno.make_sequence("THE FIRST AND THE SECOND PART" * 3, symbol_count=2)
    parts[0].save(str(tmp_path / "part.png"), scale=6, border=4)
    result = results(tmp_path)["part.png"]
    assert result.outcome is Outcome.FRAGMENT
    assert result.reads[0].fragment


def test_outcomes_follow_from_the_reads() -> None:
    one, same = Read(b"a", "zxing", "luma", fragment=False), Read(b"a", "zbar", "luma", fragment=False)
    other, part = Read(b"b", "zxing", "luma", fragment=False), Read(b"c", "zxing", "luma", fragment=True)
    assert outcome_of(()) is Outcome.NOTHING_FOUND
    assert outcome_of((one,)) is Outcome.READ
    assert outcome_of((one, same)) is Outcome.READ
    assert outcome_of((one, other)) is Outcome.SEVERAL_CODES
    assert outcome_of((part,)) is Outcome.FRAGMENT
    assert outcome_of((one, part)) is Outcome.FRAGMENT


# Hostile files


def test_hostile_files_get_their_reason_and_memory_stays_bounded(tmp_path: Path) -> None:
    files = hostile()
    write(tmp_path, {name: data for name, (data, _) in files.items()})
    found = results(tmp_path)
    wrong = {name: found[name] for name, (_, allowed) in files.items() if found[name].outcome not in allowed}
    assert not wrong
    refused = [r for r in found.values() if r.outcome not in {Outcome.NOTHING_FOUND, Outcome.READ}]
    assert all(result.detail for result in refused)
    assert not any(result.reads for result in found.values())


def test_cut_and_spoiled_pictures_never_break_the_child(tmp_path: Path) -> None:
    seed = 20200214
    rng = random.Random(seed)
    sources = [data for name, data in honest().items() if len(data) < 60_000 and "mega" not in name]
    for number in range(150):
        data = bytearray(rng.choice(sources))
        for _ in range(rng.randint(0, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        cut = rng.randint(1, len(data)) if rng.random() < 0.5 else len(data)
        (tmp_path / f"{number:03}").write_bytes(bytes(data[:cut]))
    found = results(tmp_path)
    assert len(found) == 150
    broken = {Outcome.CRASHED, Outcome.TIMEOUT}
    assert not [r for r in found.values() if r.outcome in broken], f"seed {seed}"
    assert {r.payload for result in found.values() for r in result.reads} <= {TEXT.encode()}, f"seed {seed}"


def test_things_that_are_no_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.png"))
        (tmp_path / "device.png").symlink_to("/dev/zero")
        (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone")
        (tmp_path / "itself.png").symlink_to(tmp_path / "itself.png")
        (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
        found = results(tmp_path)
    outcomes = {name: result.outcome for name, result in found.items()}
    assert outcomes == {
        "fifo.png": Outcome.NOT_A_FILE,
        "socket.png": Outcome.NOT_A_FILE,
        "device.png": Outcome.NOT_A_FILE,
        "nowhere.png": Outcome.MISSING,
        "itself.png": Outcome.UNREADABLE,
    }


def test_odd_paths_get_one_result_each_in_order(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\xfe new\nline.png")
    write(tmp_path, {odd: saved(code_picture(), "PNG")})
    paths = [
        tmp_path / odd,
        tmp_path / "missing.png",
        tmp_path / ("x" * 300),
        Path("\0"),
        tmp_path / odd / "below",
    ]
    found = list(read_pictures(paths))
    assert [result.file for result in found] == [str(path) for path in paths]
    assert [result.outcome for result in found] == [
        Outcome.READ,
        Outcome.MISSING,
        Outcome.UNREADABLE,
        Outcome.UNREADABLE,
        Outcome.MISSING,
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_without_permission_it_says_so(tmp_path: Path) -> None:
    write(tmp_path, {"secret.png": saved(code_picture(), "PNG")})
    (tmp_path / "secret.png").chmod(0)
    closed = tmp_path / "closed"
    closed.mkdir(0)
    assert {result.outcome for result in results(tmp_path).values()} == {Outcome.NO_PERMISSION}


def test_folders_are_walked_in_order(tmp_path: Path) -> None:
    for name in ("b/2.txt", "a/1.txt", "c.txt", "a/b/0.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    names = [Path(result.file).relative_to(tmp_path).as_posix() for result in read_pictures([tmp_path])]
    assert names == ["a/1.txt", "a/b/0.txt", "b/2.txt", "c.txt"]


def test_nothing_to_read_starts_no_child(tmp_path: Path) -> None:
    assert list(read_pictures([tmp_path])) == []


# The child breaks


def test_a_picture_that_takes_for_ever_is_given_up_and_the_next_one_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": slow_jpeg(), "b.png": saved(code_picture(), "PNG")})
    found = results(tmp_path, PictureLimits(seconds_max=1.0))
    assert found["a.jpg"].outcome is Outcome.TIMEOUT
    assert 1000 <= found["a.jpg"].ms < 4000
    assert found["b.png"].outcome is Outcome.READ


def test_a_picture_that_takes_too_much_memory_is_given_up_and_the_next_one_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": slow_jpeg(), "b.png": saved(code_picture(), "PNG")})
    found = results(tmp_path, PictureLimits(memory_mb_max=110))
    assert found["a.jpg"].outcome is Outcome.TOO_LARGE
    assert found["b.png"].outcome is Outcome.READ


def test_a_child_that_is_killed_costs_one_picture(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": saved(code_picture(), "PNG"), "b.jpg": slow_jpeg(), "c.png": b"", "d.png": b""})
    stream = read_pictures([tmp_path])
    assert next(stream).outcome is Outcome.READ
    child = psutil.Process().children()[0]
    busy_s = child.cpu_times().user + 0.3

    def kill_at_work() -> None:
        wait_until(lambda: child.cpu_times().user > busy_s)
        child.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill_at_work)
    killer.start()
    killed = next(stream)
    killer.join()
    assert killed.outcome is Outcome.CRASHED
    assert "SIGKILL" in killed.detail
    assert [result.outcome for result in stream] == [Outcome.NOT_A_PICTURE, Outcome.NOT_A_PICTURE]


def test_a_child_that_hangs_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, {name: saved(code_picture(), "PNG") for name in "abc"})
    stream = read_pictures([tmp_path], limits=PictureLimits(seconds_max=0.5))
    assert next(stream).outcome is Outcome.READ
    psutil.Process().children()[0].suspend()
    assert [result.outcome for result in stream] == [Outcome.TIMEOUT, Outcome.READ]


def test_leaving_the_iterator_early_ends_the_child(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys("abc", b""))
    stream = read_pictures([tmp_path])
    next(stream)
    assert psutil.Process().children()
    stream.close()


# Headers


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_header_sizes_agree_with_the_pictures(kind: str) -> None:
    for size in ((1, 1), (17, 3), (640, 480)):
        assert header_size(saved(Image.new("RGB", size), kind)) == size


def test_headers_are_read_or_refused_whatever_they_hold() -> None:
    rng = random.Random(4)
    lossless = saved(Image.new("RGB", (31, 7)), "WEBP", lossless=True)
    assert header_size(lossless) == (31, 7)
    starts = (
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"BM",
        b"RIFF0000WEBPVP8 ",
        b"RIFF0000WEBPVP8X",
    )
    for _ in range(2000):
        width, height = header_size(rng.choice(starts) + rng.randbytes(rng.randint(0, 60))) or (0, 0)
        assert isinstance(width, int) and isinstance(height, int)
    assert header_size(b"P5 9999 9999 255 ") is None


def test_the_bound_on_pixels_holds_for_phones_of_today() -> None:
    assert PIXELS_MAX >= 8160 * 6120
