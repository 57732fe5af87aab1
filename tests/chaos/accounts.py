"""Accounts from outside: pulses of the turnstiles, ledgers of the gates, rows of the centre.

    lost                   records of a ledger that the centre does not have, or not with the same hash
    doubled                rows that the centre has more than once
    undetected             what is wrong and not named by an alarm or by `central verify`
    passes-without-record  pulses of a relay before which no record said that somebody may pass

A record without its pulse is right only where the process was killed between the two: then the next record
of that ledger says that the gate has started.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

AUTHORISED: Final = "authorised"
STARTED: Final = "hg.gate.started.v1"

Place = tuple[str, str, int]
"""Gate, epoch, sequence number."""


@dataclass(frozen=True, slots=True)
class Row:
    """One exported record: `hash` None while the centre has it parked."""

    place: Place
    hash: str | None
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The record as an object."""
        return dict(json.loads(self.body))


@dataclass(frozen=True, slots=True)
class Named:
    """A range of a ledger that somebody has said something is wrong with; None: all of it."""

    gate: str
    epoch: str
    first: int | None
    last: int | None

    def covers(self, place: Place) -> bool:
        """Say whether this record is meant."""
        gate, epoch, seq = place
        inside = (self.first is None or seq >= self.first) and (self.last is None or seq <= self.last)
        return inside and gate == self.gate and self.epoch in {"", epoch}


@dataclass(slots=True)
class Account:
    """What was found in the end."""

    records: int = 0
    visits: int = 0
    pulses: int = 0
    lost: list[Place] = field(default_factory=list)
    doubled: list[Place] = field(default_factory=list)
    undetected: list[Place] = field(default_factory=list)
    unrecorded: int = 0
    others: list[str] = field(default_factory=list)
    """What must not be either, in words."""

    @property
    def line(self) -> str:
        """The last line of a run."""
        counts = (
            f"lost {len(self.lost)} doubled {len(self.doubled)} undetected {len(self.undetected)} "
            f"passes-without-record {self.unrecorded}"
        )
        return f"{counts} others {len(self.others)}" if self.others else counts

    @property
    def good(self) -> bool:
        """True when nothing at all is wrong."""
        return not (self.lost or self.doubled or self.undetected or self.unrecorded or self.others)


def rows(lines: Iterable[bytes]) -> Iterator[Row]:
    """Read what `gate ledger export --jsonl` and `central export --jsonl` print."""
    for line in lines:
        said = json.loads(line)
        # The exact bytes of the record are the end of the line, which both sides write last.
        body = line.rstrip()[line.index(b'"record"') :].split(b":", 1)[1].strip()[:-1]
        yield Row((said["gate"], said["epoch"], said["seq"]), said["hash"], body)


def compare(ledgers: Iterable[Row], centre: Iterable[Row], *, parked_counts: bool = False) -> Account:
    """Hold the centre's rows against the ledgers'.

    `parked_counts`: a row behind a hole, whose hash the centre cannot know, counts if its bytes are the same.
    """
    account = Account()
    there: dict[Place, Row] = {}
    for row in centre:
        if row.place in there:
            account.doubled.append(row.place)
        there[row.place] = row
    own: set[Place] = set()
    for row in ledgers:
        own.add(row.place)
        found = there.get(row.place)
        hashes = {row.hash, None} if parked_counts else {row.hash}
        if found is None or found.body != row.body or found.hash not in hashes:
            account.lost.append(row.place)
    account.records = len(own)
    invented = there.keys() - own
    account.others += [f"the centre has {place}, which no ledger has" for place in sorted(invented)]
    return account


def undetected(places: Iterable[Place], named: Sequence[Named]) -> list[Place]:
    """Return the records that are wrong although nobody has said so."""
    return [place for place in places if not any(name.covers(place) for name in named)]


def visits(ledgers: Iterable[Mapping[str, Any]]) -> int:
    """Count the visits on record."""
    return sum(event["type"] == "hg.visit.decided.v1" for event in ledgers)


@dataclass(frozen=True, slots=True)
class Passes:
    """How the pulses of one gate and its records go together."""

    unrecorded: int
    """Pulses before which no record stands."""
    unopened: tuple[int, ...]
    """Sequence numbers of records without a pulse, where the gate was not killed."""


def passes(events: Sequence[Mapping[str, Any]], pulses_ms: Iterable[int]) -> Passes:
    """Match the records of one gate, in their order, with the pulses of its relay.

    Each pulse belongs to the newest record before it that has none yet, by the one clock that both go by.
    """
    allowed = [place for place, event in enumerate(events) if event["data"].get("stage") == AUTHORISED]
    moments = [(_ms(events[place]["time"]), 0, place) for place in allowed]
    moments += [(at_ms, 1, -1) for at_ms in pulses_ms]
    waiting: list[int] = []
    unrecorded = 0
    for _, is_pulse, place in sorted(moments):
        if not is_pulse:
            waiting.append(place)
        elif waiting:
            waiting.pop()
        else:
            unrecorded += 1
    unopened = [place for place in waiting if not _killed_after(events, place)]
    return Passes(unrecorded, tuple(events[place]["data"]["seq"] for place in unopened))


def _killed_after(events: Sequence[Mapping[str, Any]], place: int) -> bool:
    """Say whether the gate wrote nothing more in the run that wrote this."""
    return place + 1 == len(events) or events[place + 1]["type"] == STARTED


def _ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def counted(words: Iterable[str]) -> str:
    """Say how often each word came, the most frequent first."""
    return ", ".join(f"{word} {number}" for word, number in Counter(words).most_common()) or "none"
