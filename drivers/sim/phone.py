"""A phone screen held in front of a simulated camera: seeded, drawn with numpy alone.

A frame is made as a camera makes it: scene (hall, phone, code), lens (defocus, motion), light (exposure,
glare, the beat of two pixel grids), sensor (noise, clipping, eight bits). Each condition spoils one step.
Severity 0 is a good day, 1 an everyday nuisance, 1.5 to 3 the edge of legibility.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import segno
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Plane = NDArray[np.float32]
Colour = tuple[int, int, int]  # blue, green, red, as in the frames

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
# Module colours that visitors' apps were seen to draw on white; yellow is dark in the blue plane only.
CODE_COLOURS: tuple[Colour, ...] = (
    (0, 192, 255),
    (0, 255, 255),
    (80, 176, 0),
    (40, 40, 200),
    (160, 160, 160),
)
NAVY: Colour = (70, 30, 20)
QUIET_MODULES = 4
REFERENCE_HEIGHT = 480  # blur and grain are given in pixels of a frame of this height


class Condition(StrEnum):
    """What makes a frame hard to read."""

    PLAIN = "plain"
    ROTATION = "rotation"
    SMALL = "small"
    PERSPECTIVE = "perspective"
    MOTION_BLUR = "motion_blur"
    DEFOCUS = "defocus"
    NOISE = "noise"
    DARK = "dark"
    OVEREXPOSED = "overexposed"
    GLARE = "glare"
    MOIRE = "moire"
    DENSE = "dense"
    INVERTED = "inverted"
    TWO_PHONES = "two_phones"
    COLOURED = "coloured"


@dataclass(frozen=True, slots=True)
class _Shot:
    """How one frame is taken; lengths in pixels at the reference height, shares of the frame height."""

    code_share: float = 0.5
    turn_deg: float = 0.0
    tilt: float = 0.0
    lens_px: float = 0.6
    defocus_px: float = 0.0
    motion_px: float = 0.0
    gain: float = 0.85
    flare: float = 0.0
    bloom: float = 0.0
    noise_sd: float = 2.0
    glare: float = 0.0
    moire: float = 0.0
    version_up: int = 0


def render(
    payload: bytes | str,
    condition: Condition = Condition.PLAIN,
    severity: float = 1.0,
    seed: int = 0,
    size: tuple[int, int] = (640, 480),
    colour: Colour | None = None,
    other: bytes | str | None = None,
) -> Frame:
    """Return one BGR frame (height x width x 3) of a phone that shows `payload` as a QR code.

    `size` is (width, height). `colour` is the colour of the dark modules; without it the code is black, or
    for COLOURED one of CODE_COLOURS. `other` is what the second phone of TWO_PHONES shows. The same
    arguments give the same frame. Raises segno.DataOverflowError for a payload no QR code can hold.
    """
    rng = np.random.default_rng([seed, *condition.value.encode(), round(severity * 1000)])
    shot = _shot(condition, severity, rng)
    dark, light = _colours(condition, colour, rng)
    scene = _hall(rng, size)
    if condition is Condition.TWO_PHONES:
        shot = replace(shot, code_share=0.34)
        _hold_phone(scene, payload, shot, dark, light, rng, at=0.27)
        _hold_phone(scene, payload if other is None else other, shot, dark, light, rng, at=0.73)
    else:
        _hold_phone(scene, payload, shot, dark, light, rng, at=0.5)
    return _expose(scene, shot, rng)


def empty(seed: int = 0, size: tuple[int, int] = (640, 480)) -> Frame:
    """Return one BGR frame of the hall with nobody in front of the camera; `size` is (width, height)."""
    rng = np.random.default_rng([seed, 4])
    return _expose(_hall(rng, size), _Shot(), rng)


def _shot(condition: Condition, severity: float, rng: np.random.Generator) -> _Shot:  # noqa: C901 - one case each
    sign = rng.choice((-1.0, 1.0))
    easy = _Shot(
        code_share=float(rng.uniform(0.44, 0.56)),
        turn_deg=float(rng.uniform(-6, 6)),
        tilt=float(rng.uniform(-0.05, 0.05)),
    )
    match condition:
        case Condition.ROTATION:
            return replace(easy, turn_deg=float(sign * rng.uniform(25, 60) * severity))
        case Condition.SMALL:
            share = float(np.interp(severity, (0, 1, 1.5, 2, 2.5, 3), (0.5, 0.28, 0.2, 0.15, 0.12, 0.1)))
            return replace(easy, code_share=share)
        case Condition.PERSPECTIVE:
            return replace(easy, tilt=float(sign * 0.2 * severity))
        case Condition.MOTION_BLUR:
            return replace(easy, motion_px=7.5 * severity)
        case Condition.DEFOCUS:
            return replace(easy, defocus_px=2.9 * severity)
        case Condition.NOISE:
            return replace(easy, noise_sd=22.0 * severity)
        case Condition.DARK:
            return replace(easy, gain=0.9 * 10 ** (-0.8 * severity), noise_sd=1.2)
        case Condition.OVEREXPOSED:
            return replace(easy, gain=1.0 + severity, flare=85.0 * severity, bloom=0.5 * severity)
        case Condition.GLARE:
            return replace(easy, glare=severity)
        case Condition.MOIRE:
            return replace(easy, moire=0.22 * severity)
        case Condition.DENSE:
            return replace(easy, version_up=round(4 * severity))
        case _:
            return easy


def _colours(condition: Condition, colour: Colour | None, rng: np.random.Generator) -> tuple[Colour, Colour]:
    if condition is Condition.COLOURED and colour is None:
        colour = CODE_COLOURS[int(rng.integers(len(CODE_COLOURS)))]
    dark = BLACK if colour is None else colour
    return (WHITE, NAVY) if condition is Condition.INVERTED else (dark, WHITE)


# The scene


def _hall(rng: np.random.Generator, size: tuple[int, int]) -> Plane:
    """Wall, floor, doors and people out of focus: nothing in it has the grain of a code."""
    width, height = size
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    wall = rng.uniform(90, 190, 3).astype(np.float32)
    scene = np.empty((height, width, 3), np.float32)
    scene[:] = wall * (1.05 - 0.35 * down)
    scene[int(height * rng.uniform(0.6, 0.85)) :] *= np.float32(rng.uniform(0.5, 0.8))
    for _ in range(int(rng.integers(3, 8))):
        left, top = int(rng.uniform(0, width)), int(rng.uniform(0, height * 0.7))
        right, bottom = left + int(width * rng.uniform(0.03, 0.3)), top + int(height * rng.uniform(0.1, 0.6))
        scene[top:bottom, left:right] = rng.uniform(30, 220, 3)
    return _box(_box(scene, round(height / 120) | 1), round(height / 120) | 1)


def _phone(code: NDArray[np.bool_], module_px: int, dark: Colour, light: Colour) -> Plane:
    """Draw the phone face on: bezel, status line, title bar, the code in its quiet zone, lines of text."""
    side = (len(code) + 2 * QUIET_MODULES) * module_px
    margin = max(2, side // 10)
    face = np.full((side * 2, side + 2 * margin, 3), 25.0, np.float32)
    screen = face[margin:-margin, margin // 2 : -(margin // 2)]
    screen[:] = light
    screen[: side // 6] = (190, 120, 40)
    for line in range(4):
        top = int(side * (1.42 + 0.1 * line))
        screen[top : top + max(1, side // 40), margin : margin + side * (8 - line) // 10] = (90, 90, 90)
    top, left = side // 3 + QUIET_MODULES * module_px, margin + QUIET_MODULES * module_px
    drawn = np.where(code[..., None], np.array(dark, np.float32), np.array(light, np.float32))
    drawn = drawn.repeat(module_px, 0).repeat(module_px, 1)
    face[top : top + len(drawn), left : left + len(drawn)] = drawn
    return face


def _modules(payload: bytes | str, version_up: int) -> NDArray[np.bool_]:
    code = segno.make(payload, error="m", micro=False, boost_error=False)
    if version_up:
        version = min(40, int(code.version) + version_up)
        code = segno.make(payload, error="m", version=version, boost_error=False)
    return np.array([[bool(module) for module in row] for row in code.matrix])


def _hold_phone(
    scene: Plane,
    payload: bytes | str,
    shot: _Shot,
    dark: Colour,
    light: Colour,
    rng: np.random.Generator,
    at: float,
) -> None:
    """Paint the phone into the scene, its code centred at `at` of the width."""
    height, width = scene.shape[:2]
    code = _modules(payload, shot.version_up)
    target_px = shot.code_share * height / len(code)
    module_px = max(2, math.ceil(2 * target_px))
    face = _phone(code, module_px, dark, light)
    face = _box(face, max(1, round(module_px / target_px)))  # anti-aliasing: one texel average per pixel
    to_frame = _homography(face, shot, target_px / module_px, rng)
    middle = np.array([width * at, height * 0.5]) + rng.uniform(-0.03, 0.03, 2) * height
    _warp(face, to_frame, middle, scene)


def _homography(face: Plane, shot: _Shot, scale: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Map face pixels to frame pixels about the middle of the code: shift, scale, tilt, turn."""
    tall, wide = face.shape[:2]
    code_middle = (wide / 2, tall * (1 / 3 + 0.5) / 2)
    shift = np.array([[1, 0, -code_middle[0]], [0, 1, -code_middle[1]], [0, 0, 1.0]])
    size = np.diag([scale, scale, 1.0])
    lean = rng.uniform(0, 2 * math.pi)
    # The divisor grows across the face; half a face away from the middle it is 1 +- tilt.
    per_px = shot.tilt / (wide * scale / 2)
    tilt = np.array([[1, 0, 0], [0, 1, 0], [per_px * math.cos(lean), per_px * math.sin(lean) / 2, 1]])
    angle = math.radians(shot.turn_deg)
    turn = np.array(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1.0]]
    )
    return np.asarray(turn @ tilt @ size @ shift, np.float64)


def _warp(face: Plane, to_frame: NDArray[np.float64], middle: NDArray[np.float64], scene: Plane) -> None:
    """Paint `face` through the homography: each frame pixel looks up its place, bilinear."""
    height, width = scene.shape[:2]
    tall, wide = face.shape[:2]
    corners = to_frame @ np.array([[0, wide, wide, 0], [0, 0, tall, tall], [1, 1, 1, 1.0]])
    spots = corners[:2] / corners[2] + middle[:, None]
    left, top = np.clip(np.floor(spots.min(1)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(spots.max(1)), 0, (width, height)).astype(int)
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    back = np.linalg.inv(to_frame).astype(np.float32)
    dx, dy = x - np.float32(middle[0]), y - np.float32(middle[1])
    u, v, w = (row[0] * dx + row[1] * dy + row[2] for row in back)
    u, v = u / w, v / w
    inside = (u >= 0) & (v >= 0) & (u < wide - 1) & (v < tall - 1)
    u, v = u[inside], v[inside]
    column, line = u.astype(np.intp), v.astype(np.intp)
    du, dv = (u - column)[:, None], (v - line)[:, None]
    above = face[line, column] * (1 - du) + face[line, column + 1] * du
    below = face[line + 1, column] * (1 - du) + face[line + 1, column + 1] * du
    scene[top:bottom, left:right][inside] = above * (1 - dv) + below * dv


# Lens, light, sensor


def _expose(scene: Plane, shot: _Shot, rng: np.random.Generator) -> Frame:
    """Blur, light and sample the scene; clip to eight bits."""
    height, width = scene.shape[:2]
    scale = height / REFERENCE_HEIGHT
    lit = _through_lens(scene, shot, scale, rng) * np.float32(shot.gain) + np.float32(shot.flare)
    if shot.bloom:
        lit = lit + np.float32(shot.bloom * 0.25) * _box(lit, round(25 * scale) | 1)
    if shot.glare:
        lit += _glare(height, width, shot.glare, rng)[..., None]
    if shot.moire:
        lit *= _moire(height, width, shot.moire, rng)[..., None]
    lit += np.float32(shot.noise_sd) * rng.standard_normal(lit.shape, np.float32)
    return np.clip(lit, 0, 255, out=lit).astype(np.uint8)


def _through_lens(scene: Plane, shot: _Shot, scale: float, rng: np.random.Generator) -> Plane:
    """Convolve with the point spread of lens and hand, in the frequency plane."""
    height, width = scene.shape[:2]
    fy = np.fft.fftfreq(height)[:, None]
    fx = np.fft.rfftfreq(width)[None, :]
    transfer = np.exp(-2 * (math.pi * shot.lens_px * scale) ** 2 * (fx**2 + fy**2))
    if shot.defocus_px:
        transfer = transfer * _disc(shot.defocus_px * scale, height, width)
    if shot.motion_px:
        angle = rng.uniform(0, math.pi)
        transfer = transfer * np.sinc(shot.motion_px * scale * (fx * math.cos(angle) + fy * math.sin(angle)))
    seen = np.empty_like(scene)
    for colour in range(scene.shape[2]):
        seen[..., colour] = np.fft.irfft2(np.fft.rfft2(scene[..., colour]) * transfer, (height, width))
    return seen


def _disc(radius: float, height: int, width: int) -> NDArray[np.complex128]:
    """Return the transfer function of an out-of-focus point: an evenly lit disc with a soft rim."""
    y = np.fft.fftfreq(height, 1 / height)[:, None]
    x = np.fft.fftfreq(width, 1 / width)[None, :]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return np.asarray(np.fft.rfft2(disc / disc.sum()), np.complex128)


def _glare(height: int, width: int, severity: float, rng: np.random.Generator) -> Plane:
    y, x = np.mgrid[:height, :width].astype(np.float32) / np.float32(height)
    cx, cy = width / height / 2 + rng.uniform(-0.18, 0.18), 0.5 + rng.uniform(-0.18, 0.18)
    spot = ((x - cx) ** 2 + (y - cy) ** 2) / np.float32((0.055 * severity) ** 2)
    return np.asarray(np.float32(330) * np.exp(-spot) * min(1.0, severity), np.float32)


def _moire(height: int, width: int, depth: float, rng: np.random.Generator) -> Plane:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle, period = rng.uniform(0, math.pi), height / rng.uniform(12, 60)
    wave = np.sin((x * math.cos(angle) + y * math.sin(angle)) * np.float32(2 * math.pi / period))
    return np.asarray(1 - np.float32(depth) * (1 + wave) / 2, np.float32)


def _box(picture: Plane, side: int) -> Plane:
    """Average over `side` x `side` pixels; the rim repeats. Colour by colour, which keeps memory low."""
    if side <= 1:
        return picture
    if picture.ndim == 3:
        return np.stack([_box(plane, side) for plane in np.moveaxis(picture, 2, 0)], axis=2)
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (side // 2 + 1, side - side // 2 - 1)
        total = np.cumsum(np.pad(picture, pad, mode="edge"), axis=axis, dtype=np.float64)
        head, tail = (total[side:], total[:-side]) if axis == 0 else (total[:, side:], total[:, :-side])
        picture = ((head - tail) / side).astype(np.float32)
    return picture
