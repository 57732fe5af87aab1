"""Tells a whole QR code from one part of a split one, which no decoder here says by itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRUCTURED_APPEND: Final = 0b0011


def is_fragment(code: Any) -> bool:
    """Return whether a code opens with the structured append mode, 0011 (ISO/IEC 18004, 7.4.2).

    The Python interface of zxing-cpp does not tell, but gives the modules as they were sampled. The first
    four bits are the four modules of the lower right corner, under the mask that the format information
    names. Model 1 (identifier ]Q0) lays its bits out differently; nobody prints it any more.
    """
    modules = None if code.symbology_identifier == "]Q0" else _modules(code)
    if modules is None:
        return False
    return _mode(modules) == STRUCTURED_APPEND


def _modules(code: Any) -> NDArray[np.bool_] | None:
    """Return the sampled modules, dark as True, or None where the library was built without them."""
    if not hasattr(code, "to_image"):
        return None
    drawn: NDArray[np.bool_] = np.array(code.to_image()) == 0
    # Dark and light modules both reach all four sides, so what lies beyond them is the quiet zone.
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    dark = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return dark if dark[3, 3] else ~dark  # the middle of a finder pattern; version 2 draws dark as light


def _mode(modules: NDArray[np.bool_]) -> int:
    """Return the first four data bits; a mirrored symbol, whose format information is worse, is turned."""
    upright, mirrored = _format_of(modules), _format_of(modules.T)
    if mirrored[0] < upright[0]:
        modules, upright = modules.T, mirrored
    end = len(modules) - 1
    bits = 0
    for row, column in ((end, end), (end, end - 1), (end - 1, end), (end - 1, end - 1)):
        bits = bits << 1 | (bool(modules[row, column]) ^ _masked(upright[1], row, column))
    return bits


def _format_of(modules: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the number of wrong bits in the format information, and the mask (ISO/IEC 18004, 7.9)."""
    down = [(row, 8) for row in (0, 1, 2, 3, 4, 5, 7, 8)]
    across = [(8, column) for column in (7, 5, 4, 3, 2, 1, 0)]
    seen = sum(bool(modules[spot]) << bit for bit, spot in enumerate(down + across))
    wrong, data = min(((seen ^ word).bit_count(), data) for data, word in enumerate(_format_words()))
    return wrong, data & 7


@cache
def _format_words() -> tuple[int, ...]:
    """Return the 32 format words: five bits, ten check bits (generator 10100110111), the fixed pattern."""
    words = []
    for data in range(32):
        rest = data << 10
        for bit in range(14, 9, -1):
            rest ^= 0x537 << (bit - 10) if rest >> bit & 1 else 0
        words.append((data << 10 | rest) ^ 0x5412)
    return tuple(words)


_MASKS: Final[tuple[Callable[[int, int], int], ...]] = (
    lambda i, j: (i + j) % 2,
    lambda i, _: i % 2,
    lambda _, j: j % 3,
    lambda i, j: (i + j) % 3,
    lambda i, j: (i // 2 + j // 3) % 2,
    lambda i, j: i * j % 2 + i * j % 3,
    lambda i, j: (i * j % 2 + i * j % 3) % 2,
    lambda i, j: ((i + j) % 2 + i * j % 3) % 2,
)


def _masked(mask: int, row: int, column: int) -> bool:
    return _MASKS[mask](row, column) == 0
