"""What the camera sees, written into v4l2loopback: a process of its own; its end unplugs the camera.

Commands come as JSON lines on standard input, each a list of codes on phone screens (none: the empty hall),
answered by a line once that picture is shown.
"""

import fcntl
import json
import os
import struct
import sys
import threading

import numpy as np
from numpy.typing import NDArray

from drivers.sim import phone
from gate.shell.clock import sleep

SIZE = (640, 480)
FPS = 2  # the decoder looks at every frame, and is most of what the machine has to emulate
VIDIOC_S_FMT = 0xC0D05605  # linux/videodev2.h
VIDEO_OUTPUT, FIELD_NONE = 2, 1
NEUTRAL = 128  # chroma of grey
NOISE_FRAMES = 4  # no two frames in a row of a real sensor are the same


def luma_frames(codes: list[str]) -> list[bytes]:
    """Return frames of one scene in YUYV, each with other noise; the phone is black and white."""
    drawn = phone.render(codes[0], size=SIZE) if codes else phone.empty(size=SIZE)
    luma = 16 + drawn.mean(axis=2) * (219 / 255)  # ITU-R BT.601: black is 16, white 235
    rng = np.random.default_rng(1)
    return [_yuyv(luma + rng.normal(0, 2, luma.shape)) for _ in range(NOISE_FRAMES)]


def _yuyv(luma: NDArray[np.float64]) -> bytes:
    packed = np.full((*luma.shape, 2), NEUTRAL, np.uint8)
    packed[..., 0] = np.clip(luma, 16, 235).astype(np.uint8)
    return packed.tobytes()


def main(path: str) -> None:
    """Write frames until killed, or until standard input ends."""
    device = os.open(path, os.O_RDWR)
    width, height = SIZE
    wanted = struct.pack(
        "<II8I", VIDEO_OUTPUT, 0, width, height, int.from_bytes(b"YUYV", "little"), FIELD_NONE, width * 2,
        width * height * 2, 0, 0,
    )  # fmt: skip
    fcntl.ioctl(device, VIDIOC_S_FMT, wanted.ljust(208, b"\0"))
    shown = [luma_frames([])]

    def show() -> None:
        for line in sys.stdin:
            shown[0] = luma_frames(json.loads(line))
            sys.stdout.write("ok\n")
            sys.stdout.flush()
        os._exit(0)

    threading.Thread(target=show, daemon=True).start()
    number = 0
    while True:
        os.write(device, shown[0][number % NOISE_FRAMES])
        number += 1
        sleep(1 / FPS)


if __name__ == "__main__":
    main(sys.argv[1])
