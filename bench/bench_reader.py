"""Reading codes: cost beside a plain pass of zxing-cpp, and how much more is read than by decoders alone."""

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray
from PIL import Image
from pyzbar import pyzbar

from drivers.qr import HOLD_FRAMES, Reader
from drivers.sim.phone import Condition, empty, render

Frame = NDArray[np.uint8]

PICTURES: Final = Path(__file__).resolve().parent.parent / "tests" / "data" / "qr"
EDGE: Final = (
    *(Condition.SMALL, Condition.PERSPECTIVE, Condition.MOTION_BLUR, Condition.DEFOCUS, Condition.NOISE),
    *(Condition.DARK, Condition.OVEREXPOSED, Condition.GLARE, Condition.MOIRE, Condition.DENSE),
)
SEVERITIES: Final = (1.5, 2.0, 2.5, 3.0)
SYMBOLS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
COST_MAX: Final = 5.0
EMPTY_COST_MAX: Final = 0.3

NOTE: Final = (
    "Frames are simulated (`drivers/sim/phone.py`), 640 x 480 unless told. A *plain pass* is "
    "`zxingcpp.read_barcodes(grey, formats=QRCode)` with its defaults on the luma of the same frame; its "
    "time is without the conversion from BGR, the reader's with it. *Ours*: within "
    f"{HOLD_FRAMES} scans of the same frame by a reader that has seen nothing before; *cost*: the mean time "
    "of those scans over that of a plain pass. *Union*: whatever zxing-cpp, pyzbar or one of the two OpenCV "
    "detectors reads."
)


@dataclass(slots=True)
class Tally:
    """What was read of some frames, and what it cost."""

    frames: int = 0
    read: Counter[str] = field(default_factory=Counter)
    passes: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    scans_s: list[float] = field(default_factory=list)
    plain_s: list[float] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.frames += other.frames
        self.read += other.read
        self.passes += other.passes
        self.wrong += other.wrong
        self.scans_s += other.scans_s
        self.plain_s += other.plain_s

    @property
    def cost(self) -> float:
        return mean(self.scans_s) / mean(self.plain_s)


def plain(grey: Frame) -> list[bytes]:
    found = zxingcpp.read_barcodes(grey, formats=zxingcpp.BarcodeFormat.QRCode)
    return [bytes(code.bytes) for code in found]


def zbar(grey: Frame) -> list[bytes]:
    try:
        return [code.data for code in pyzbar.decode(grey, symbols=[pyzbar.ZBarSymbol.QRCODE])]
    except ValueError:
        return []


def opencv(detector: Any, frame: Frame) -> list[bytes]:
    try:
        texts = detector.detectAndDecodeMulti(frame)[1]
    except (cv2.error, UnicodeDecodeError):
        return []
    return [text.encode() for text in texts if text]


DECODERS: Final[dict[str, Callable[[Frame], list[bytes]]]] = {
    "zxing-cpp": lambda frame: plain(_grey(frame)),
    "pyzbar": lambda frame: zbar(_grey(frame)),
    "OpenCV": lambda frame: opencv(cv2.QRCodeDetector(), frame),
    "OpenCV Aruco": lambda frame: opencv(cv2.QRCodeDetectorAruco(), frame),
}


def _grey(frame: Frame) -> Frame:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), np.uint8)


def judge(frame: Frame, expected: Iterable[bytes] | None, decoders: Iterable[str] = DECODERS) -> Tally:
    """Read one frame with everything; `expected` None means that any text will do."""
    wanted = None if expected is None else set(expected)
    tally = Tally(frames=1)
    grey = _grey(frame)
    tally.plain_s.append(_seconds(lambda: plain(grey)))
    for name in decoders:
        seen = DECODERS[name](frame)
        tally.read[name] += bool(seen) if wanted is None else wanted <= set(seen)
    tally.read["union"] = int(any(tally.read.values()))
    reader = Reader()
    for _ in range(HOLD_FRAMES):
        began = time.perf_counter()
        reads = reader.scan(frame)
        tally.scans_s.append(time.perf_counter() - began)
        if reads:
            seen_by_us = {read.payload for read in reads}
            tally.read["ours"] += wanted is None or wanted <= seen_by_us
            tally.wrong += wanted is not None and not wanted >= seen_by_us
            tally.passes[reads[0].pass_name] += 1
            break
    return tally


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def text_of(condition: Condition, seed: int) -> str:
    rng = random.Random(seed)
    if condition is Condition.DENSE:
        return "HC1:" + "".join(rng.choices(SYMBOLS, k=rng.randint(416, 556)))
    return "HG1:" + "".join(rng.choices(SYMBOLS[:36], k=rng.randint(30, 90)))


def frames_of(condition: Condition, severity: float, seeds: range) -> Iterable[tuple[Frame, set[bytes]]]:
    for seed in seeds:
        text, other = text_of(condition, seed), "HG1:THE SECOND PHONE"
        both = {text.encode(), other.encode()} if condition is Condition.TWO_PHONES else {text.encode()}
        yield render(text, condition, severity, seed, other=other), both


def everyday(each: int) -> Tally:
    total = Tally()
    for condition in Condition:
        for frame, expected in frames_of(condition, 0.5, range(200, 200 + each)):
            total.add(judge(frame, expected, ("zxing-cpp",)))
    return total


def edge(each: int) -> dict[tuple[Condition, float], Tally]:
    found = {}
    for condition in EDGE:
        for severity in SEVERITIES:
            total = found[condition, severity] = Tally()
            for frame, expected in frames_of(condition, severity, range(300, 300 + each)):
                total.add(judge(frame, expected))
    return found


def times(size: tuple[int, int], rounds: int = 15) -> list[tuple[str, float, float]]:
    """Return (what, ms of a plain pass, ms of a scan), medians over frames and rounds, in turns."""
    codes = [render(text_of(Condition.PLAIN, seed), Condition.PLAIN, 0.5, seed, size) for seed in range(4)]
    empties = [empty(seed, size) for seed in range(12)]
    rows = []
    fresh, rested = Reader(), Reader()
    kinds = (("a code", codes, fresh), ("empty, another scene each time", empties, fresh))
    for what, frames, reader in (*kinds, ("empty, the same scene", empties[:1], rested)):
        plain_s, scan_s = [], []
        for frame in frames * rounds:
            grey = _grey(frame)
            plain_s.append(_seconds(lambda grey=grey: plain(grey)))  # type: ignore[misc]
            scan_s.append(_seconds(lambda frame=frame, reader=reader: reader.scan(frame)))  # type: ignore[misc]
        rows.append((what, median(plain_s) * 1000, median(scan_s) * 1000))
    return rows


def mix_cost(each: int) -> float:
    """Return the cost for a reader that sees scenes with nobody, easy visitors and hard ones in turns."""
    reader, scans, plains = Reader(), [], []
    frames = [empty(seed) for seed in range(each) for _ in range(6)]
    for seed in range(each):
        frames += [frame for frame, _ in frames_of(Condition.PLAIN, 0.5, range(seed, seed + 1))] * 2
        hard = EDGE[seed % len(EDGE)]
        frames += [frame for frame, _ in frames_of(hard, 2.0, range(seed, seed + 1))] * 3
    for frame in frames:
        grey = _grey(frame)
        plains.append(_seconds(lambda grey=grey: plain(grey)))  # type: ignore[misc]
        scans.append(_seconds(lambda frame=frame: reader.scan(frame)))  # type: ignore[misc]
    return mean(scans) / mean(plains)


def run(each: int = 5, pictures: Path = PICTURES) -> list[str]:
    """Measure and return Markdown lines."""
    judge(render("WARM UP", Condition.MOTION_BLUR, 3.0), None)
    lines = ["## Reading codes", "", *_time_lines()]
    daily = everyday(each)
    lines += [
        f"Everyday conditions: {daily.read['ours']} of {daily.frames} read, cost {daily.cost:.1f}.",
        f"Empty scenes, easy and hard visitors mixed: cost {mix_cost(10):.1f} (at most {COST_MAX:g}).",
        "",
        *_edge_lines(edge(each)),
        *_picture_lines(pictures),
        "",
        NOTE,
    ]
    return lines


def _time_lines() -> list[str]:
    lines = ["| frame | plain pass, ms | scan, ms | ratio |", "| --- | --- | --- | --- |"]
    for size in ((640, 480), (1280, 720)):
        for what, plain_ms, scan_ms in times(size):
            limit = f" (at most {EMPTY_COST_MAX:g})" if what.startswith("empty") else ""
            ratio = f"{scan_ms / plain_ms:.2f}{limit}"
            lines.append(f"| {size[0]} x {size[1]}, {what} | {plain_ms:.2f} | {scan_ms:.2f} | {ratio} |")
    return [*lines, ""]


COLUMNS: Final = (*DECODERS, "union", "ours")


def _edge_lines(found: dict[tuple[Condition, float], Tally]) -> list[str]:
    lines = [
        f"| edge of legibility | frames | {' | '.join(COLUMNS)} | cost |",
        "| --- |" + " --- |" * (len(COLUMNS) + 2),
    ]
    total = Tally()
    for (condition, severity), tally in found.items():
        lines.append(_row(f"{condition.value.replace('_', ' ')} {severity:g}", tally))
        total.add(tally)
    lines.append(_row("**all**", total))
    won = ", ".join(f"{name} {count}" for name, count in total.passes.most_common())
    return [*lines, "", f"Read by pass: {won}. Wrong texts: {total.wrong}.", ""]


def _row(name: str, tally: Tally) -> str:
    counts = " | ".join(str(tally.read[column]) for column in COLUMNS)
    return f"| {name} | {tally.frames} | {counts} | {tally.cost:.1f} |"


def _picture_lines(folder: Path) -> list[str]:
    """Return the table for published pictures: with any text, since a few manifests re-code theirs."""
    total, right, false_reads, without = Tally(), Counter[str](), 0, 0
    for entry in json.loads((folder / "manifest.json").read_text(encoding="utf-8")):
        with Image.open(folder / entry["file"]) as opened:
            frame = np.ascontiguousarray(np.array(opened.convert("RGB"))[..., ::-1])
        if entry["has_code"]:
            total.add(judge(frame, None))
        else:
            without += 1
            reader = Reader()
            false_reads += any(reader.scan(frame) for _ in range(HOLD_FRAMES))
        if entry["has_code"] and entry["expected"]:
            right.update(_right(frame, entry["expected"]))
    header = f"| pictures | n | {' | '.join(COLUMNS)} | cost |"
    lines = [header, "| --- |" + " --- |" * (len(COLUMNS) + 2), _row("something read", total)]
    counts = " | ".join(str(right[column]) for column in COLUMNS)
    lines.append(f"| the expected text | {right['n']} | {counts} | - |")
    return [*lines, "", f"False reads on {without} pictures without a code: {false_reads}."]


ENCODINGS: Final = ("utf-8", "gb18030", "shift_jis", "latin-1", "utf-16-be", "cp437")


def _right(frame: Frame, expected: str) -> Sequence[str]:
    """Return who reads the expected text, in whatever encoding gives it."""
    forms = {form for name in ENCODINGS if (form := _encoded(expected.strip(), name)) is not None}
    names = [name for name, read in DECODERS.items() if forms & {seen.strip() for seen in read(frame)}]
    names += ["union"] if names else []
    reader = Reader()
    for _ in range(HOLD_FRAMES):
        if reads := reader.scan(frame):
            names += ["ours"] if forms & {read.payload.strip() for read in reads} else []
            break
    return ["n", *names]


def _encoded(text: str, name: str) -> bytes | None:
    try:
        return text.encode(name)
    except UnicodeEncodeError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=5, help="frames of each condition and severity")
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="a folder with a manifest.json")
    arguments = parser.parse_args()
    print("\n".join(run(arguments.each, arguments.pictures)))


if __name__ == "__main__":
    main()
