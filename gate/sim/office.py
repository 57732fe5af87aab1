"""The office that signs the documents of the day, and the folder in which a gate keeps them.

Revocations every hour, an occupancy count every ten minutes, the lists of residents, appointments and risk
areas once a day, and on some days an order to suspend the service and its end. Once a day a list is made too
short-lived, a document is forged, and an old one comes once more.
"""

import random
from collections.abc import Callable
from typing import Final

from gate.core.documents import (
    Appointments,
    Content,
    Document,
    Kind,
    Occupancy,
    Residents,
    Revocations,
    RiskAreas,
    Suspension,
)
from gate.sim.cards import ISSUER, SITE
from gate.sim.counter import DAY_S, HOUR_S, Counter
from gate.sim.timeline import Timeline

_COUNT_EVERY_S: Final = 600
_FIRST_S: Final = 2
# What goes wrong once a day does so in the first hours, so that short runs see it too (seconds of the day).
_MISHAPS_S: Final = (0.3 * HOUR_S, 5 * HOUR_S)
_SHORT_S: Final = 600
_LONG_S: Final = 100 * DAY_S


class Office:
    """Signs and sends out; `deliver` takes the text of one document."""

    def __init__(
        self,
        seed: int,
        timeline: Timeline,
        counter: Counter,
        people_max: int,
        deliver: Callable[[bytes], None],
    ) -> None:
        self._rng = random.Random(f"{seed}/office")  # noqa: S311 - chance to be repeated, not a secret
        self._timeline = timeline
        self._counter = counter
        self._people_max = people_max
        self._deliver = deliver
        self._versions: dict[Kind, int] = {}
        self._first: dict[Kind, bytes] = {}
        self._last = b""
        self._stated: dict[bytes, Document] = {}
        self._short: Kind | None = None
        self._occupancy = 20

    def open(self, end_ns: int) -> None:
        """Lay down everything that is to be sent before `end_ns`."""
        days = -(-end_ns // (DAY_S * 1_000_000_000))
        suspends = self._rng.random() < 0.5
        for day in range(days):
            self._lay_down_day(day * DAY_S, suspends=suspends)

    def stated(self, text: bytes) -> Document | None:
        """Return what a document states, None for a forged one."""
        return self._stated.get(text)

    def _lay_down_day(self, from_s: int, *, suspends: bool) -> None:
        after, rng = self._timeline.after, self._rng
        after(from_s + _FIRST_S, self._send_lists)
        for hour in range(24):
            after(from_s + hour * HOUR_S + _FIRST_S, self._send_revocations)
        for count in range(DAY_S // _COUNT_EVERY_S):
            after(from_s + count * _COUNT_EVERY_S + _FIRST_S, self._send_count)
        after(from_s + rng.uniform(*_MISHAPS_S), self._counter.dismiss)
        for mishap in (self._shorten, self._forge, self._repeat):
            after(from_s + rng.uniform(*_MISHAPS_S), mishap)
        if suspends:
            ordered_s = from_s + rng.uniform(*_MISHAPS_S)
            after(ordered_s, lambda: self._send(Suspension(suspended=True), DAY_S))
            after(
                ordered_s + rng.uniform(1200, 5400), lambda: self._send(Suspension(suspended=False), _LONG_S)
            )

    def _send_lists(self) -> None:
        counter, now_s = self._counter, self._timeline.wall_ms // 1000
        subjects = frozenset(card.subject for card in counter.residents if card.subject)
        self._send(Residents(subjects), DAY_S + HOUR_S)
        self._send(Appointments(counter.appointments(now_s)), DAY_S + HOUR_S)
        self._send(RiskAreas(frozenset({"CN-33"})), DAY_S + HOUR_S)

    def _send_revocations(self) -> None:
        self._send(Revocations(self._counter.call_back()), HOUR_S + HOUR_S // 2)

    def _send_count(self) -> None:
        most = self._people_max + 10
        self._occupancy = max(0, min(most, self._occupancy + self._rng.randint(-15, 16)))
        self._send(Occupancy(self._occupancy, self._timeline.wall_ms // 1000), 2 * _COUNT_EVERY_S)

    def _send(self, content: Content, lasts_s: int) -> None:
        now_s = self._timeline.wall_ms // 1000
        if content.kind is self._short:
            self._short, lasts_s = None, _SHORT_S
        version = self._versions[content.kind] = self._versions.get(content.kind, 0) + 1
        document = Document(SITE, ISSUER, version, now_s, now_s + lasts_s, content)
        text = self._counter.issuer.document(document)
        self._stated[text] = document
        self._first.setdefault(content.kind, text)
        self._last = text
        self._deliver(text)

    # --- mishaps

    def _shorten(self) -> None:
        """See to it that the next hourly list goes out of its time long before the one that follows."""
        self._short = Kind.REVOCATIONS

    def _forge(self) -> None:
        text = self._last
        place = len(text) // 2
        self._deliver(text[:place] + (b"A" if text[place : place + 1] != b"A" else b"B") + text[place + 1 :])

    def _repeat(self) -> None:
        overtaken = [kind for kind, version in self._versions.items() if version > 1]
        self._deliver(self._first[self._rng.choice(overtaken)])


class Folder:
    """Keeps documents over a loss of power, as `gate.app.documents` does; one file of each name."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def keep(self, name: str, text: bytes) -> None:
        """Replace the document of this name."""
        self._files[name] = text

    def texts(self) -> list[bytes]:
        """Return every document that is kept, by name."""
        return [self._files[name] for name in sorted(self._files)]
