"""Who comes to the gate: seeded arrivals over the day, each with a truth that the gate cannot see."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.core.codes import Credential, Status, Travel, Trust, TrustedKey, base45
from gate.core.codes.home import PREFIX, PassClaims, issue
from gate.core.moment import NS_PER_S

SITE: Final = "simulated-hall"
GATE: Final = "gate-1"
_ISSUER: Final = "simulated-hall"

# A run begins at seven in the morning, so that short runs see the rush. Persons per hour of the day.
BEGINS_AT_HOUR: Final = 7
_PER_HOUR: Final = (2, 1, 1, 1, 2, 5, 15, 70, 180, 150, 90, 80, 40, 40, 90, 90, 80, 50, 30, 12, 8, 6, 4, 3)
_HEAT_HALVES_S: Final = 1.3


class Kind(StrEnum):
    """How a person behaves."""

    GREEN = "green"
    RAISED_THEN_NORMAL = "raised_then_normal"
    BORDERLINE = "borderline"
    FEVER_LOW = "fever_low"
    FEVER_HIGH = "fever_high"
    MASK_LATE = "mask_late"
    MASK_NEVER = "mask_never"
    EXPIRED = "expired"
    EXPIRED_THEN_GOOD = "expired_then_good"
    FORGED = "forged"
    RED = "red"
    FOREIGN = "foreign"
    NO_PHONE = "no_phone"
    TWO_CODES = "two_codes"
    WALKS_AWAY = "walks_away"
    STAYS = "stays"
    PUSHES = "pushes"
    TAILGATES = "tailgates"


_WEIGHTS: Final = {
    Kind.GREEN: 46,
    Kind.RAISED_THEN_NORMAL: 5,
    Kind.BORDERLINE: 3,
    Kind.FEVER_LOW: 3,
    Kind.FEVER_HIGH: 3,
    Kind.MASK_LATE: 5,
    Kind.MASK_NEVER: 2,
    Kind.EXPIRED: 2,
    Kind.EXPIRED_THEN_GOOD: 2,
    Kind.FORGED: 2,
    Kind.RED: 1,
    Kind.FOREIGN: 3,
    Kind.NO_PHONE: 6,
    Kind.TWO_CODES: 2,
    Kind.WALKS_AWAY: 7,
    Kind.STAYS: 2,
    Kind.PUSHES: 2,
    Kind.TAILGATES: 4,
}


@dataclass(slots=True)
class Person:
    """One person, temperatures in centi-degrees; `heat_cc` is what the sun adds to the forehead at first.

    `codes` are held up together from `shows_s` after stepping up; `later_codes` once something was wrong.
    """

    number: int
    kind: Kind
    core_cc: int
    heat_cc: int
    codes: tuple[bytes, ...]
    later_codes: tuple[bytes, ...]
    masked: bool
    shows_s: float
    patience_s: float
    hurries: bool
    stepped_up_ns: int = 0

    def forehead_cc(self, now_ns: int) -> int:
        """Return the temperature of the forehead, said as core temperature, at an instant at the gate."""
        waited_s = max(0.0, (now_ns - self.stepped_up_ns) / NS_PER_S)
        return self.core_cc + round(self.heat_cc * math.exp2(-waited_s / _HEAT_HALVES_S))


class Issuer:
    """Signs the passes of a run; `trust` is what the gate knows of it."""

    def __init__(self, rng: random.Random) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        public = self._key.public_key().public_bytes_raw()
        key = TrustedKey(_ISSUER, "Simulated hall", public, frozenset({Credential.VISITOR}))
        self.trust = Trust((key,))

    def sign(self, person: int, now_s: int, *, status: Status = Status.GREEN, valid_s: int = 43_200) -> bytes:
        """Issue a pass for a person; `valid_s` below 0 gives one that has expired."""
        claims = PassClaims(
            issuer=_ISSUER,
            subject=subject_of(person),
            site=SITE,
            valid_from=now_s - 86_400,
            valid_until=now_s + valid_s,
            issued_at=now_s - 86_400,
            pass_id=person.to_bytes(8, "big"),
            credential=Credential.VISITOR,
            status=status,
            registered=frozenset({"name", "phone"}),
            travel=Travel.CLEAR,
        )
        return issue(self._key, claims).encode()


def subject_of(person: int) -> bytes:
    """Return the pseudonym under which a person's passes are issued."""
    return person.to_bytes(8, "big")


def forged(genuine: bytes) -> bytes:
    """Return a pass whose signature is wrong by one bit."""
    raw = bytearray(base45.decode(genuine.removeprefix(PREFIX)))
    raw[-1] ^= 1
    return PREFIX + base45.encode(bytes(raw)).encode()


def arrivals(rng: random.Random, until_ns: int) -> Iterator[int]:
    """Yield the instants (ns) at which somebody comes, in order, thick and thin by the hour of the day."""
    at_s, busiest = 0.0, max(_PER_HOUR)
    while True:
        at_s += rng.expovariate(busiest / 3600)
        if at_s * NS_PER_S >= until_ns:
            return
        hour = int(BEGINS_AT_HOUR + at_s // 3600) % 24
        if rng.random() * busiest < _PER_HOUR[hour]:
            yield round(at_s * NS_PER_S)


class Population:
    """Makes people up, one after the other."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"{seed}/people")  # noqa: S311 - chance to be repeated, not a secret
        self._issuer = Issuer(self._rng)
        self.trust = self._issuer.trust
        self._number = 0

    def arrivals(self, until_ns: int) -> Iterator[int]:
        """Yield the instants (ns) at which somebody comes."""
        return arrivals(random.Random(self._rng.random()), until_ns)  # noqa: S311 - as above

    def next(self, now_s: int, kind: Kind | None = None) -> Person:
        """Return the next person, whose passes are signed at `now_s` (true unix seconds)."""
        rng = self._rng
        self._number += 1
        drawn = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        person = Person(
            number=self._number,
            kind=kind or drawn,
            core_cc=min(3680, max(3590, round(rng.gauss(3645, 15)))),
            heat_cc=0,
            codes=(),
            later_codes=(),
            masked=True,
            shows_s=rng.uniform(0.2, 5),
            patience_s=rng.uniform(25, 90),
            hurries=rng.random() < 0.6,
        )
        return self._with_codes(self._with_body(person), now_s)

    def _with_body(self, person: Person) -> Person:
        rng = self._rng
        match person.kind:
            case Kind.RAISED_THEN_NORMAL:
                return replace(person, heat_cc=rng.randint(110, 180))
            case Kind.BORDERLINE:
                return replace(person, core_cc=rng.randint(3685, 3729))
            case Kind.FEVER_LOW:
                return replace(person, core_cc=rng.randint(3730, 3750), patience_s=rng.uniform(4, 90))
            case Kind.FEVER_HIGH:
                return replace(person, core_cc=rng.randint(3751, 3990), patience_s=rng.uniform(4, 90))
            case Kind.MASK_LATE | Kind.MASK_NEVER:
                return replace(person, masked=False)
            case Kind.WALKS_AWAY | Kind.PUSHES:
                return replace(person, patience_s=rng.uniform(0.1, 15))
            case _:
                return person

    def _with_codes(self, person: Person, now_s: int) -> Person:
        sign, number = self._issuer.sign, person.number
        own = (sign(number, now_s),)
        person = replace(person, codes=own)
        match person.kind:
            case Kind.EXPIRED:
                return replace(person, codes=(sign(number, now_s, valid_s=-self._rng.randint(1, 80_000)),))
            case Kind.EXPIRED_THEN_GOOD:
                return replace(person, codes=(sign(number, now_s, valid_s=-3600),), later_codes=own)
            case Kind.FORGED:
                return replace(person, codes=(forged(own[0]),))
            case Kind.RED:
                return replace(person, codes=(sign(number, now_s, status=Status.RED),))
            case Kind.FOREIGN:
                return replace(person, codes=(f"https://example.org/code/{number}".encode(),))
            case Kind.NO_PHONE:
                return replace(person, codes=())
            case Kind.TWO_CODES:
                # Somebody else's pass, such as a parent's, beside one's own.
                self._number += 1
                return replace(person, codes=(*own, sign(self._number, now_s)), later_codes=own)
            case _:
                return person
