"""Views of a frame in which a code shows that the frame itself hides: one function per pass.

Each pass takes a Picture and returns a grey picture for the decoder, or None where it does not apply. OpenCV
makes most of them affordable; without it those that numpy does in a few lines remain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Plane = NDArray[np.float32]

SAMPLE_STEP_PX: Final = 4
LADDER_SIDE_PX_MAX: Final = 1280  # larger frames are reduced before a pass: its cost stays bounded
DARK_BELOW: Final = 110  # grey level of the brightest hundredth
CHANNEL_NAMES: Final = ("blue", "green", "red")


@cache
def opencv() -> Any:
    """Return the module cv2, or None where it is not installed; it is loaded at the first need."""
    try:
        import cv2  # noqa: PLC0415 - 50 MB that a gate without OpenCV does not have
    except (ImportError, MemoryError):  # the child has little memory to map
        return None
    cv2.setNumThreads(1)  # a frame's worth of work is shorter than waking the other threads
    return cv2


@dataclass(slots=True)
class Deblurs:
    """The likeliest blurs of a picture, found once for all passes that use them."""

    spectrum: Plane  # of the square, untapered, packed as OpenCV does it
    guesses: tuple[int, ...]


class Picture:
    """A frame under examination; what several passes need is worked out once."""

    def __init__(self, frame: Frame, sample: Frame) -> None:
        self.frame = frame
        self.sample = sample

    @cached_property
    def reduced(self) -> Frame:
        """Return the frame with its longer side at most LADDER_SIDE_PX_MAX."""
        return shrink(self.frame, LADDER_SIDE_PX_MAX)

    @cached_property
    def grey(self) -> Frame:
        """Return the luma of the reduced frame."""
        return luma(self.reduced)

    @cached_property
    def dark(self) -> bool:
        """Return whether even the brightest hundredth is dark."""
        return float(np.percentile(self.sample, 99)) < DARK_BELOW

    @cached_property
    def deblurs(self) -> Deblurs | None:
        """Return the part around the code-like content and its likeliest blurs."""
        return _find_blurs(self)


def shrink(frame: Frame, side_px_max: int) -> Frame:
    """Return the frame reduced so that no side is longer; as it is if none is."""
    side = max(frame.shape[:2])
    if side <= side_px_max:
        return frame
    cv2 = opencv()
    if cv2 is None:
        step = math.ceil(side / side_px_max)
        return np.ascontiguousarray(frame[::step, ::step])
    size = tuple(max(1, round(length * side_px_max / side)) for length in frame.shape[1::-1])
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def luma(frame: Frame) -> Frame:
    """Return the luma of a BGR or grey frame, contiguous."""
    if frame.ndim == 2:
        return np.ascontiguousarray(frame)
    cv2 = opencv()
    if cv2 is not None:
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), np.uint8)
    blue, green, red = (frame[..., channel] for channel in range(3))
    return np.asarray((blue >> 3) + (green >> 1) + (red >> 2) + (red >> 3), np.uint8)


def sample_of(frame: Frame) -> Frame:
    """Return a sample of every 4 x 4 pixels: the mean of blue and green, or of two grey neighbours.

    In a mean noise is less; a code in any colour on white is dark in one of the two planes.
    """
    step = SAMPLE_STEP_PX
    if frame.ndim == 3:
        first, second = (frame[::step, ::step, channel] for channel in range(2))
    else:
        height, width = (length // step * step for length in frame.shape)
        first, second = (frame[at:height:step, at:width:step] for at in range(2))
    sample = np.asarray(first >> 1, np.uint8)
    sample += second >> 1
    return np.ascontiguousarray(sample)


# Where a code could be

_STEP_HALVES: Final = 3  # more than 6 grey levels: beyond the noise of a good day in a mean of three
_TILE: Final = 8  # samples
_LANES: Final = np.uint64(0x0101010101010101)  # times this, a word of eight counts has their sum on top


def alternation(sample: Frame) -> NDArray[np.uint64]:
    """Count, per tile of 8 x 8 samples, the steps along the rows: up or down, whichever are fewer.

    The modules of a code give both in plenty, an edge of a door only one of them, a wall neither.
    """
    half = (sample >> 1).view(np.int8)
    steps = np.empty_like(half)
    steps[:, 0] = 0
    np.subtract(half[:, 1:], half[:, :-1], out=steps[:, 1:])
    return _fewer(steps)


def may_hold_code(sample: Frame, steps_min: int) -> bool:
    """Return whether some tile has that many steps up and down, along the rows and along the columns."""
    along = alternation(sample)
    if along.size == 0 or int(along.max()) < steps_min:
        return False  # the columns are not worth counting: this is the usual case, and has to be cheap
    half = (sample >> 1).view(np.int8)
    steps = np.zeros_like(half)
    np.subtract(half[1:], half[:-1], out=steps[1:])
    return bool((np.minimum(along, _fewer(steps)) >= steps_min).any())


def _fewer(steps: NDArray[np.int8]) -> NDArray[np.uint64]:
    rows, columns = (length // _TILE for length in steps.shape)
    whole = steps[: rows * _TILE, : columns * _TILE]
    up, down = (
        rough.view(np.uint64).reshape(rows, _TILE, columns).sum(axis=1) * _LANES >> np.uint64(56)
        for rough in (whole > _STEP_HALVES, whole < -_STEP_HALVES)
    )
    return np.asarray(np.minimum(up, down), np.uint64)


# Passes


def channel(picture: Picture) -> tuple[str, Frame] | None:
    """Return the colour plane with much more structure than the luma: yellow on white is dark in blue."""
    frame = picture.frame
    if frame.ndim == 2:
        return None
    few = frame[::SAMPLE_STEP_PX, ::SAMPLE_STEP_PX]
    energies = [_energy(few[..., plane]) for plane in range(3)]
    best = int(np.argmax(energies))
    if energies[best] < 1.25 * _energy(luma(np.ascontiguousarray(few))):
        return None
    return CHANNEL_NAMES[best], np.ascontiguousarray(picture.reduced[..., best])


def _energy(plane: Frame) -> float:
    return float(np.abs(np.diff(plane.astype(np.int16), axis=1)).mean())


def lift(picture: Picture) -> Frame | None:
    """Return a dark picture with all channels added, smoothed and stretched on a logarithmic scale."""
    if not picture.dark:
        return None
    frame = picture.reduced
    planes = [frame[..., channel] for channel in range(frame.shape[2])] if frame.ndim == 3 else [frame]
    total = planes[0].astype(np.uint16)
    for plane in planes[1:]:
        total += plane
    total = blur(total * _FINE, 2.0)  # smoothing finds levels between those that the camera counted
    low, high = int(total.min()), float(np.percentile(total[::4, ::4], 99.5))
    above = np.maximum(np.arange(int(total.max()) + 1) - low, 0) * (20 / _FINE)
    curve = np.log1p(above) / max(math.log1p((high - low) * 20 / _FINE), 1e-3)
    return np.clip(curve * 255, 0, 255).astype(np.uint8)[total]


_FINE: Final = 64  # parts of a grey level


def tone(picture: Picture) -> Frame:
    """Return the picture on a logarithmic scale, lightly smoothed: shadows and dark bands open up."""
    top = max(int(picture.sample.max()), 1)
    curve = np.clip(np.log1p(np.arange(256)) / math.log1p(top) * 255, 0, 255).astype(np.uint8)
    return blur(curve[picture.grey], 1.0)


def threshold(picture: Picture) -> Frame:
    """Return black and white by the mean of 31 x 31 pixels: for glare, flare and overexposure."""
    grey, cv2 = picture.grey, opencv()
    if cv2 is None:
        return np.where(grey > blur(grey, 9.0), np.uint8(255), np.uint8(0))
    kind = (cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY)
    return np.asarray(cv2.adaptiveThreshold(grey, 255, *kind, 31, 0), np.uint8)


def sharpen(picture: Picture) -> Frame:
    """Return the picture with an unsharp mask."""
    return _unsharp(picture.grey, 2.0, 3.0)


def _unsharp(grey: Frame, sigma: float, amount: float) -> Frame:
    soft, cv2 = blur(grey, sigma), opencv()
    if cv2 is not None:
        return np.asarray(cv2.addWeighted(grey, 1 + amount, soft, -amount, 0), np.uint8)
    return np.asarray(np.clip((1 + amount) * grey.astype(np.float32) - amount * soft, 0, 255), np.uint8)


def soften(picture: Picture) -> Frame:
    """Return the picture with its noise and its pixel beat smoothed."""
    return blur(picture.grey, 1.5)


def upsample(picture: Picture) -> Frame | None:
    """Return twice the size, sharpened: for modules of less than two pixels."""
    cv2 = opencv()
    if cv2 is None:
        return None
    grey = shrink(picture.grey, LADDER_SIDE_PX_MAX // 2)
    large = np.asarray(cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)
    return _unsharp(large, 2.0, 2.0)


def median(picture: Picture) -> Frame | None:
    """Return the median of 5 x 5 pixels: for speckles and scratches."""
    cv2 = opencv()
    return None if cv2 is None else np.asarray(cv2.medianBlur(picture.grey, 5), np.uint8)


def equalise(picture: Picture) -> Frame | None:
    """Return the picture with its contrast evened out in tiles."""
    cv2 = opencv()
    return None if cv2 is None else np.asarray(cv2.createCLAHE(4.0, (8, 8)).apply(picture.grey), np.uint8)


def blur(picture: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Return the picture smoothed by a Gauss bell, in its own type."""
    cv2 = opencv()
    if cv2 is not None:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma))
    reach = math.ceil(2.5 * sigma)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    soft = picture.astype(np.float32)
    for axis in (0, 1):
        edge = [(reach, reach) if axis == each else (0, 0) for each in (0, 1)]
        wide = np.pad(soft, edge, mode="edge")
        length = soft.shape[axis]
        views = (
            wide[at : at + length] if axis == 0 else wide[:, at : at + length] for at in range(2 * reach + 1)
        )
        soft = np.sum([weight * view for weight, view in zip(bell / bell.sum(), views, strict=True)], axis=0)
    return soft.astype(picture.dtype)


# Deblurring. A blur multiplies the picture's spectrum by its own, whose zeros stay visible: the logarithm of
# the power spectrum is compared with those of a bank of blurs (motion by length and direction, defocus by
# radius), and the likeliest few are undone by a Wiener filter.

_SQUARE_PX: Final = 480
_BLOCK: Final = 6  # bins averaged, both ways
_BINS: Final = 120  # up to 1/4 cycle per pixel; beyond is noise
_LENGTHS_PX: Final = range(8, 33, 2)
_DIRECTIONS: Final = 24
_RADII_PX: Final = tuple(0.5 * half for half in range(6, 23))
_NOISE: Final = 0.005  # noise to signal power in the Wiener filter
_GUESSES: Final = 2


@dataclass(frozen=True, slots=True)
class _Blur:
    length_px: float = 0.0
    direction: float = 0.0
    radius_px: float = 0.0

    def transfer(self, fx: NDArray[Any], fy: NDArray[Any]) -> Plane:
        if self.length_px:
            along = fx * math.cos(self.direction) + fy * math.sin(self.direction)
            return np.asarray(np.sinc(self.length_px * along), np.float32)
        return _disc(self.radius_px, np.hypot(fx, fy))

    def near(self, other: _Blur) -> bool:
        turn = abs(self.direction - other.direction)
        same_way = min(turn, math.pi - turn) < 1.5 * math.pi / _DIRECTIONS
        same_size = abs(self.length_px - other.length_px) < 3 and abs(self.radius_px - other.radius_px) < 0.6
        return same_way and same_size and bool(self.length_px) == bool(other.length_px)


def _disc(radius_px: float, frequency: NDArray[Any]) -> Plane:
    """Return the transfer function of an evenly lit disc, from a table along its diameter."""
    at = np.linspace(0, 1, 64)
    chord = np.sqrt(1 - at**2)
    grid = np.linspace(0, 0.75, 400)
    table = (np.cos(2 * math.pi * radius_px * grid[:, None] * at) * chord).sum(1) / chord.sum()
    return np.asarray(np.interp(frequency, grid, table), np.float32)


@dataclass(frozen=True, slots=True)
class _Bank:
    blurs: tuple[_Blur, ...]
    window: Plane
    weight: Plane
    trend: Plane  # orthonormal columns: what any spectrum looks like, zeros or not
    patterns: Plane  # one normalised row per blur

    def flatten(self, logs: NDArray[Any]) -> NDArray[Any]:
        weighed = logs * self.weight
        shares = np.einsum("ij,jk->ik", weighed, self.trend)
        return np.asarray(weighed - np.einsum("ik,jk->ij", shares, self.trend))


@cache
def _bank() -> _Bank:
    fy = np.arange(-_BINS, _BINS).reshape(-1, _BLOCK).mean(1)[:, None] / _SQUARE_PX
    fx = np.arange(1, _BINS + 1).reshape(-1, _BLOCK).mean(1)[None, :] / _SQUARE_PX
    radius = np.hypot(fx, fy)
    weight = (radius < _BINS / _SQUARE_PX).ravel().astype(np.float32)
    columns = np.stack([np.ones_like(radius), np.log(radius + 0.005), radius, radius**2]).reshape(4, -1)
    trend = np.linalg.qr((columns * weight).T)[0].astype(np.float32)
    turns = [math.pi * step / _DIRECTIONS for step in range(_DIRECTIONS)]
    blurs = [_Blur(length_px=length, direction=turn) for turn in turns for length in _LENGTHS_PX]
    blurs += [_Blur(radius_px=radius_px) for radius_px in _RADII_PX]
    hann = np.hanning(_SQUARE_PX).astype(np.float32)
    bank = _Bank(tuple(blurs), np.outer(hann, hann), weight, trend, np.empty((0, 0), np.float32))
    logs = np.stack([np.log(each.transfer(fx, fy).ravel() ** 2 + 0.02) for each in blurs])
    patterns = bank.flatten(logs)
    patterns /= np.linalg.norm(patterns, axis=1, keepdims=True)
    return _Bank(bank.blurs, bank.window, weight, trend, patterns.astype(np.float32))


def _find_blurs(picture: Picture) -> Deblurs | None:
    cv2 = opencv()
    if cv2 is None:
        return None
    square = cv2.resize(_square_of(picture), (_SQUARE_PX, _SQUARE_PX), interpolation=cv2.INTER_AREA)
    square = square.astype(np.float32)
    bank = _bank()
    packed = cv2.dft((square - square.mean()) * bank.window)[:, 1 : 2 * _BINS + 1]
    power = np.concatenate([packed[-_BINS:], packed[:_BINS]]) ** 2
    power = cv2.resize(power, (_BINS // _BLOCK, 2 * _BINS // _BLOCK), interpolation=cv2.INTER_AREA)
    logs = bank.flatten(np.log(power + 1).reshape(1, -1))[0].astype(np.float32)
    scores = np.einsum("ij,j->i", bank.patterns, logs)  # a product by BLAS wakes threads, which takes longer
    guesses: list[int] = []
    for guess in np.argsort(-scores)[:40]:
        if not any(bank.blurs[guess].near(bank.blurs[taken]) for taken in guesses):
            guesses.append(int(guess))
    spectrum = cv2.dft(square)
    return Deblurs(spectrum, tuple(guesses[:_GUESSES]))


def _square_of(picture: Picture) -> Frame:
    """Return the largest square of the picture about its code-like content."""
    grey, tiles = picture.grey, alternation(picture.sample).astype(np.float64) ** 2
    height, width = grey.shape
    side = min(height, width)
    total = tiles.sum()
    if total == 0:
        x = y = 0.5
    else:
        y = float((tiles.sum(1) @ (np.arange(tiles.shape[0]) + 0.5)) / total / tiles.shape[0])
        x = float((tiles.sum(0) @ (np.arange(tiles.shape[1]) + 0.5)) / total / tiles.shape[1])
    left = min(max(round(x * width) - side // 2, 0), width - side)
    top = min(max(round(y * height) - side // 2, 0), height - side)
    return grey[top : top + side, left : left + side]


_TABLE_STEPS: Final = 64  # per unit of (length times frequency)


def _wiener(which: _Blur) -> Plane:
    """Return the Wiener filter against a blur for the left half of a spectrum, looked up in a table."""
    line = np.fft.fftfreq(_SQUARE_PX).astype(np.float32)
    fx, fy = np.abs(line[None, : _SQUARE_PX // 2 + 1]), line[:, None]
    if which.length_px:
        at = np.abs(fx * np.float32(math.cos(which.direction)) + fy * np.float32(math.sin(which.direction)))
    else:
        at = np.sqrt(fx * fx + fy * fy)
    size = which.length_px or which.radius_px
    grid = np.arange(int(0.75 * size * _TABLE_STEPS) + 2) / (size * _TABLE_STEPS)
    table = np.sinc(size * grid) if which.length_px else _disc(size, grid)
    inverse = (table / (table**2 + _NOISE)).astype(np.float32)
    return np.asarray(inverse[(at * np.float32(size * _TABLE_STEPS) + np.float32(0.5)).astype(np.intp)])


def _deblur(picture: Picture, rank: int) -> Frame | None:
    found, cv2 = picture.deblurs, opencv()
    if found is None or rank >= len(found.guesses):
        return None
    inverse = _packed(_wiener(_bank().blurs[found.guesses[rank]]))
    sharp = cv2.idft(found.spectrum * inverse, flags=cv2.DFT_SCALE)
    return np.asarray(cv2.convertScaleAbs(cv2.max(sharp, 0)), np.uint8)


def _packed(half: Plane) -> Plane:
    """Lay out real factors as OpenCV packs the spectrum of a real picture.

    Real and imaginary parts take turns along the rows, and down the first and the last column.
    """
    down = (np.arange(len(half)) + 1) // 2
    packed = np.empty((len(half), len(half)), np.float32)
    packed[:, 1:-1] = np.repeat(half[:, 1:-1], 2, axis=1)
    packed[:, 0], packed[:, -1] = half[down, 0], half[down, -1]
    return packed


def deblur(picture: Picture) -> Frame | None:
    """Return the part around the code with its likeliest blur undone."""
    return _deblur(picture, 0)


def deblur_2(picture: Picture) -> Frame | None:
    """Return the same for the second guess."""
    return _deblur(picture, 1)


PASSES: Final[dict[str, Callable[[Picture], Frame | None]]] = {
    "lift": lift,
    "tone": tone,
    "threshold": threshold,
    "sharpen": sharpen,
    "soften": soften,
    "upsample": upsample,
    "median": median,
    "equalise": equalise,
    "deblur": deblur,
    "deblur_2": deblur_2,
}
