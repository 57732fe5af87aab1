"""Visits as the plans describe them, from arrival to leaving."""

import pytest
from gatebox import Box, play

ADMITTED = """
    arrives           | welcome; measure
    mask on           |
    36.50             |
    shows green       | authorised; UNLOCK; pass_please
"""


def test_try() -> None:
    play(ADMITTED + "turns | passed; LOCK; idle")
