"""In which order the ledgers of a gate were written: as they state it, in whatever order they have come."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Protocol, TypeVar


class Ledger(Protocol):
    """What places a ledger among those of its gate; see `central.store.StreamState`."""

    @property
    def id(self) -> int:
        """Its number; it rises with the time at which a ledger first came."""

    @property
    def site(self) -> str:
        """Where its gate stands."""

    @property
    def gate(self) -> str:
        """Whose it is."""

    @property
    def epoch(self) -> str:
        """Its name."""

    @property
    def successor(self) -> str:
        """The epoch that followed, "" while there is none."""


L = TypeVar("L", bound=Ledger)


def in_succession(ledgers: Iterable[L]) -> list[L]:
    """Return ledgers by site and gate, each before its successor; first arrival decides between the others.

    A successor that is not among them counts for nothing. Also those that a damaged store has follow each
    other in a circle are returned, once each.
    """
    by_arrival = sorted(ledgers, key=lambda one: (one.site, one.gate, one.id))
    gates = groupby(by_arrival, key=lambda one: (one.site, one.gate))
    return [one for _, own in gates for one in _of_gate(list(own))]


def _of_gate(own: Sequence[L]) -> Iterator[L]:
    place = {one.epoch: number for number, one in enumerate(own)}
    before = Counter(one.successor for one in own if one.successor in place)
    ready = [number for number, one in enumerate(own) if not before[one.epoch]]
    left = set(range(len(own)))
    while ready:
        number = heapq.heappop(ready)
        left.remove(number)
        one = own[number]
        yield one
        if one.successor in place:
            before[one.successor] -= 1
            if not before[one.successor]:
                heapq.heappush(ready, place[one.successor])
    yield from (own[number] for number in sorted(left))
