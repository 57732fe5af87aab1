"""Shanghai's health codes for the demo: tokens as phones draw them, known to the stand-in service only."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Final

from gate.core.codes.china import CHINA_TIME
from gate.demo.health_service import Mood, StandInHealthService, VendorRecord
from gate.ports import Clock
from gate.services.settings import ServiceSettings

REGION: Final = "CN-31"
HOST: Final = "s.sh.gov.cn"
# The demo's visitors wait for a slow service; much shorter, and a busy machine would look like one.
TIMEOUT_S: Final = 2.0
CONNECT_TIMEOUT_S: Final = 1.0

GREEN: Final = VendorRecord()
YELLOW: Final = VendorRecord(level="01")
RED: Final = VendorRecord(level="10")
RISK_AREA: Final = 2  # what the stand-in's `trip` says of somebody who has been in one
NEGATIVE: Final = 0


class City:
    """The city as the demo plays it: gives visitors tokens and decides how its service feels."""

    def __init__(self, service: StandInHealthService, rng: random.Random, clock: Clock) -> None:
        self._service = service
        self._rng = rng
        self._clock = clock
        self._persons = count(1)

    def token(self, record: VendorRecord = GREEN, *, age_s: int = 0) -> str:
        """Return the token of a new visitor, drawn `age_s` seconds ago, of whom the service knows this."""
        drawn_ms = self._clock.now().wall_ms - age_s * 1000
        text = f"https://{HOST}/{self._rng.randbytes(16).hex()}{drawn_ms}"
        # Nobody's number, as there is no region 00, and to each their own: a person passes once in a while.
        number = f"00000019000101{next(self._persons):04}"
        self._service.records[text] = replace(record, idcard_no=number)
        return text

    def tested(self, *, hours_ago: int) -> VendorRecord:
        """Return what is known of somebody from a risk area who has tested negative."""
        taken = datetime.fromtimestamp(self._clock.now().wall_s - hours_ago * 3600, CHINA_TIME)
        text = taken.strftime("%Y-%m-%d %H:%M:%S")
        return replace(GREEN, trip=RISK_AREA, nat_time=text, nat_result=NEGATIVE)

    @contextmanager
    def in_mood(self, mood: Mood) -> Iterator[None]:
        """Let the service feel like this for as long as the block lasts."""
        self._service.mood = mood
        try:
            yield
        finally:
            self._service.mood = Mood.WELL


def settings(service: StandInHealthService) -> ServiceSettings:
    """Return the settings with which the demo's gate asks the city's service."""
    usual = service.settings(REGION)
    return replace(usual, timeout_s=TIMEOUT_S, connect_timeout_s=CONNECT_TIMEOUT_S)
