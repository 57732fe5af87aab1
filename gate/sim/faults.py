"""What goes wrong, and when: every fault of a run is laid down beforehand from the seed.

Kinds of faults are what a user names (`--faults sensor,power`), words are what exactly happens. Faults of one
kind follow each other with pauses, faults of different kinds overlap as they like.

Not simulated: a sensor that drifts beyond its stated accuracy, and a broken presence sensor or turnstile.
"""

import random
from dataclasses import dataclass
from typing import Final

from gate.core.moment import NS_PER_S


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind: its words, the mean pause between two faults, and how long one lasts (seconds, both ends)."""

    words: tuple[str, ...]
    pause_s: float
    lasts_s: tuple[float, float]


_KINDS: Final[dict[str, FaultKind]] = {
    # At the wire; the composition hands the word to the simulated part.
    "sensor": FaultKind(
        ("nack", "bad_pec", "error_flag", "freeze", "hang", "dead_bus", "dead_bus_valid_pec"), 900, (1, 90)
    ),
    "camera": FaultKind(("gone", "frozen"), 1500, (1, 120)),
    "broker": FaultKind(("outage", "duplicates", "loses"), 1200, (2, 900)),
    # Away: what the broker acknowledges meanwhile is lost. Mistaken: it takes the ledger for another one.
    "centre": FaultKind(("away", "mute", "restored", "mistaken"), 1800, (5, 900)),
    # What the centre orders, and what others would like it to.
    "commands": FaultKind(
        (
            *("suspend", "open_once", "policy", "resend", "checkpoint"),
            *("forged", "strangers", "replayed", "misaddressed", "expired", "retained", "babble"),
        ),
        300,
        (1, 600),
    ),
    # Where the power fails; it comes back after the stated time.
    "power": FaultKind(("after_authorised", "after_unlock", "after_any_effect", "at_once"), 1500, (15, 60)),
    "clock": FaultKind(("step_forward", "step_back", "untrusted"), 2400, (10, 600)),
    "ledger": FaultKind(("disk_full",), 3000, (5, 180)),
    "fire": FaultKind(("alarm",), 7200, (60, 300)),
}

FAULT_KINDS: Final = frozenset(_KINDS)
FIRST_FAULT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong from `begins_ns` to `ends_ns`; `size_s` is how far a clock steps."""

    kind: str
    word: str
    begins_ns: int
    ends_ns: int
    size_s: float

    @property
    def name(self) -> str:
        """What it is counted as."""
        return f"{self.kind}.{self.word}"


def schedule(seed: int, kinds: frozenset[str], until_ns: int) -> list[Fault]:
    """Return all faults of a run in order of their beginning; none begins or lasts beyond `until_ns`.

    Raises ValueError for a kind that does not exist.
    """
    unknown = sorted(kinds - FAULT_KINDS)
    if unknown:
        raise ValueError(f"no such faults: {', '.join(unknown)}; there are {', '.join(sorted(FAULT_KINDS))}")
    faults = [fault for name in sorted(kinds) for fault in _of_kind(name, seed, until_ns)]
    return sorted(faults, key=lambda fault: fault.begins_ns)


def _of_kind(name: str, seed: int, until_ns: int) -> list[Fault]:
    rng = random.Random(f"{seed}/faults/{name}")  # noqa: S311 - chance to be repeated, not a secret
    kind = _KINDS[name]
    faults: list[Fault] = []
    at_s = FIRST_FAULT_S + rng.expovariate(1 / kind.pause_s)
    while True:
        lasts_s = _mostly_short(rng, *kind.lasts_s)
        ends_ns = round((at_s + lasts_s) * NS_PER_S)
        if ends_ns > until_ns:
            return faults
        step_s = _mostly_short(rng, 1, 7200)
        faults.append(Fault(name, rng.choice(kind.words), round(at_s * NS_PER_S), ends_ns, step_s))
        at_s += lasts_s + rng.expovariate(1 / kind.pause_s)


def _mostly_short(rng: random.Random, low: float, high: float) -> float:
    """Draw so that every order of magnitude is as likely as the next."""
    return float(low * (high / low) ** rng.random())
