"""The colour of a code: named as people would, on both sides of every edge that matters."""

import numpy as np
import pytest
import segno

from drivers.appearance import _name
from drivers.qr import Reader


def picture(dark: tuple[int, int, int], light: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    """Draw a code with dark modules of this BGR colour."""
    drawn = segno.make_qr("a code of some colour").matrix_iter(scale=4, border=6)
    rows = np.array([list(row) for row in drawn])
    frame = np.empty((*rows.shape, 3), np.uint8)
    frame[rows > 0], frame[rows == 0] = dark, light
    return frame


@pytest.mark.parametrize(
    ("dark", "said"),
    [
        ((0, 0, 0), "other"),
        ((80, 80, 80), "other"),
        ((80, 176, 0), "green"),  # 00B050
        ((0, 0, 192), "red"),
        ((0, 150, 200), "yellow"),
        ((160, 0, 0), "other"),  # blue
        ((128, 0, 128), "other"),  # purple
    ],
)
def test_the_colour_of_a_code(dark: tuple[int, int, int], said: str) -> None:
    (read,) = Reader().scan(picture(dark))
    assert (read.pass_name, read.appearance) == ("luma", said)


def test_a_grey_picture_has_no_colour() -> None:
    (read,) = Reader().scan(picture((0, 0, 192))[..., 0])
    assert read.appearance == "none"


@pytest.mark.parametrize(
    ("blue", "green", "red", "said"),
    [
        (100, 100, 147, "other"),
        (100, 100, 148, "red"),
        (0, 84, 255, "red"),
        (0, 100, 255, "other"),
        (0, 149, 255, "yellow"),
        (0, 255, 220, "yellow"),
        (0, 255, 160, "green"),
        (200, 255, 0, "green"),
        (230, 255, 0, "other"),
        (80, 0, 255, "red"),
        (100, 0, 255, "other"),
    ],
)
def test_names_of_colours(blue: int, green: int, red: int, said: str) -> None:
    assert _name(blue, green, red) == said
