"""What goes wrong and when: a deck of faults, shuffled from the seed, dealt again and again."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

BROKER: Final = "broker"
CENTRE: Final = "centre"


class Kind(StrEnum):
    """What can happen to a part; KILL is SIGKILL, and a new start after a while."""

    KILL = "kill -9"
    FREEZE = "frozen TCP"
    FLOOD = "away, broker's queue full"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `wait_s` after the one before, for `lasts_s` seconds."""

    kind: Kind
    target: str
    wait_s: float
    lasts_s: float


# Seconds that each lasts, from and to. A link counts as dead after 1.5 times its keep-alive of 5 s; a queue
# of 200 messages is full long before the centre is back.
_LASTS: Final = {Kind.KILL: (0.2, 3.0), Kind.FREEZE: (8.5, 11.0), Kind.FLOOD: (10.0, 14.0)}
_WAIT_S: Final = (0.5, 3.5)


def deal(seed: int, gates: Sequence[str]) -> Iterator[Fault]:
    """Yield faults without end; every deck has each kind for each part."""
    rng = random.Random(f"{seed}/faults")
    deck = [
        *((Kind.KILL, gate) for gate in (*gates, *gates)),
        *((Kind.FREEZE, gate) for gate in gates),
        *((Kind.KILL, part) for part in (BROKER, BROKER, CENTRE, CENTRE)),
        (Kind.FREEZE, CENTRE),
        (Kind.FLOOD, CENTRE),
    ]
    while True:
        for kind, target in rng.sample(deck, len(deck)):
            yield Fault(kind, target, rng.uniform(*_WAIT_S), rng.uniform(*_LASTS[kind]))
