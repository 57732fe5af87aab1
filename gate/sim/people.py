"""Who comes to the gate: seeded arrivals over the day, each with a truth that the gate cannot see."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gate.core.codes.model import REGISTRATION_FIELDS, LabTest, Travel
from gate.core.evidence import Person as Role
from gate.core.evidence import Symptom
from gate.core.inputs import AttendantNoted
from gate.core.moment import NS_PER_S
from gate.core.policy import Policy
from gate.sim.cards import Card, RotatingCard, Said, copy_of_pass, forged, old_screen, picture_of
from gate.sim.counter import HOUR_S, Counter

# A run begins at seven in the morning, so that short runs see the rush. Persons per hour of the day.
BEGINS_AT_HOUR: Final = 7
_PER_HOUR: Final = (2, 1, 1, 1, 2, 5, 15, 70, 180, 150, 90, 80, 40, 40, 90, 90, 80, 50, 30, 12, 8, 6, 4, 3)
_HEAT_HALVES_S: Final = 1.3


class Kind(StrEnum):
    """How a person behaves, or what it is about their code."""

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
    STAFF = "staff"
    ROTATING = "rotating"
    COUNTED = "counted"
    RESIDENT = "resident"
    UNTESTED = "untested"
    HOUSEHOLD = "household"
    SUPPLIER = "supplier"
    SUPPLIER_WITHOUT_PASS = "supplier_without_pass"  # noqa: S105 - what people are, not a password
    STRANGER = "stranger"
    SLOT_IN_TIME = "slot_in_time"
    SLOT_EARLY = "slot_early"
    SLOT_LATE = "slot_late"
    SLOT_BOOKED_LATE = "slot_booked_late"
    SLOT_AGAIN = "slot_again"
    COPIED_PASS = "copied_pass"  # noqa: S105 - as above
    OLD_SCREEN = "old_screen"
    PICTURE = "picture"
    CALLED_BACK = "called_back"
    HANDS_BACK = "hands_back"
    TOKEN_GREEN = "token_green"  # noqa: S105 - as above
    TOKEN_RED = "token_red"  # noqa: S105 - as above
    TOKEN_SLOW = "token_slow"  # noqa: S105 - as above
    TOKEN_NEVER = "token_never"  # noqa: S105 - as above
    TOKEN_UNREACHED = "token_unreached"  # noqa: S105 - as above


_EVERYWHERE: Final = {
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
    Kind.STAFF: 10,
    Kind.ROTATING: 4,
    Kind.COUNTED: 2,
    Kind.RESIDENT: 1,
    Kind.HOUSEHOLD: 1,
    Kind.SUPPLIER: 2,
    Kind.COPIED_PASS: 2,
    Kind.OLD_SCREEN: 2,
    Kind.PICTURE: 2,
    Kind.CALLED_BACK: 3,
    Kind.HANDS_BACK: 2,
    Kind.TOKEN_GREEN: 3,
    Kind.TOKEN_RED: 1,
    Kind.TOKEN_SLOW: 2,
    Kind.TOKEN_NEVER: 1,
    Kind.TOKEN_UNREACHED: 1,
}
# Where these are, whoever is otherwise unremarkable is one of them too: see `Population._usual`.
_BY_APPOINTMENT: Final = {
    Kind.SLOT_IN_TIME: 30,
    Kind.SLOT_EARLY: 6,
    Kind.SLOT_LATE: 6,
    Kind.SLOT_BOOKED_LATE: 3,
    Kind.SLOT_AGAIN: 12,
}
_SEALED: Final = {
    Kind.RESIDENT: 20,
    Kind.UNTESTED: 10,
    Kind.HOUSEHOLD: 25,
    Kind.SUPPLIER: 20,
    Kind.SUPPLIER_WITHOUT_PASS: 3,
    Kind.STRANGER: 10,
}
_ROUNDS: Final = {Kind.STAFF: 70}
TELLING: Final = frozenset(list(Kind)[list(Kind).index(Kind.STAFF) :])
"""The kinds that are about passes and papers, not about bodies and manners."""

_SUSPECT: Final = frozenset({Kind.FORGED, Kind.RED, Kind.EXPIRED, Kind.COPIED_PASS, Kind.OLD_SCREEN})
_USUAL_SHARE: Final = 0.88
_BEHIND: Final = frozenset({Kind.PICTURE, Kind.HANDS_BACK})
"""Who comes behind somebody else, with what that one has just shown."""


@dataclass(slots=True)
class Person:
    """One person, temperatures in centi-degrees; `heat_cc` is what the sun adds to the forehead at first.

    `cards` are held up together from `shows_s` after stepping up; `later_cards` once something was wrong.
    `role` is what the person truly is, `notes` what the person on duty would write down of them, `trusted`
    whether the person on duty would vouch for them.
    """

    number: int
    kind: Kind
    core_cc: int
    shows_s: float
    patience_s: float
    hurries: bool
    heat_cc: int = 0
    role: Role = Role.VISITOR
    cards: tuple[Card, ...] = ()
    later_cards: tuple[Card, ...] = ()
    masked: bool = True
    notes: AttendantNoted | None = None
    trusted: bool = True
    stepped_up_ns: int = 0

    def forehead_cc(self, now_ns: int) -> int:
        """Return the temperature of the forehead, said as core temperature, at an instant at the gate."""
        waited_s = max(0.0, (now_ns - self.stepped_up_ns) / NS_PER_S)
        return self.core_cc + round(self.heat_cc * math.exp2(-waited_s / _HEAT_HALVES_S))


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


def _mix(policy: Policy) -> dict[Kind, int]:
    """Return how often each kind comes, by what the plan asks for."""
    mix = dict(_EVERYWHERE)
    if policy.appointment is not None:
        mix |= _BY_APPOINTMENT
    if policy.residents is not None:
        mix |= _SEALED
    if policy.staff is not None and policy.staff.measured_every_s is not None:
        mix |= _ROUNDS
    return mix


class Population:
    """Makes people up, one after the other, or two who come together."""

    def __init__(self, seed: int, policy: Policy) -> None:
        self._rng = random.Random(f"{seed}/people")  # noqa: S311 - chance to be repeated, not a secret
        self._policy = policy
        mix = _mix(policy)
        self._kinds, self._weights = list(mix), list(mix.values())
        self.counter = Counter(self._rng, policy)
        self._number = 0

    def arrivals(self, until_ns: int) -> Iterator[int]:
        """Yield the instants (ns) at which somebody comes."""
        return arrivals(random.Random(self._rng.random()), until_ns)  # noqa: S311 - as above

    def next(self, now_s: int, kind: Kind | None = None) -> tuple[Person, ...]:
        """Return who comes next, with passes as they are at `now_s` (true unix seconds)."""
        kind = kind or self._rng.choices(self._kinds, self._weights)[0]
        if kind not in _BEHIND:
            return (self._person(kind, now_s),)
        first = self._person(self._rng.choice((Kind.GREEN, Kind.STAFF, Kind.ROTATING)), now_s)
        return first, self._behind(first, kind)

    def _body(self, kind: Kind) -> Person:
        """Return somebody with nothing in their hands."""
        rng = self._rng
        self._number += 1
        person = Person(
            number=self._number,
            kind=kind,
            core_cc=min(3680, max(3590, round(rng.gauss(3645, 15)))),
            shows_s=rng.uniform(0.2, 5),
            patience_s=rng.uniform(25, 90),
            hurries=rng.random() < 0.6,
            trusted=kind not in _SUSPECT,
        )
        match kind:
            case Kind.RAISED_THEN_NORMAL:
                person.heat_cc = rng.randint(110, 180)
            case Kind.BORDERLINE:
                person.core_cc = rng.randint(3685, 3729)
            case Kind.FEVER_LOW:
                person.core_cc, person.patience_s = rng.randint(3730, 3750), rng.uniform(4, 90)
            case Kind.FEVER_HIGH:
                person.core_cc, person.patience_s = rng.randint(3751, 3990), rng.uniform(4, 90)
            case Kind.MASK_LATE | Kind.MASK_NEVER:
                person.masked = False
            case Kind.WALKS_AWAY | Kind.PUSHES:
                person.patience_s = rng.uniform(0.1, 15)
            case Kind.TOKEN_SLOW | Kind.TOKEN_NEVER:
                person.patience_s = rng.uniform(60, 120)
        return person

    def _person(self, kind: Kind, now_s: int) -> Person:
        person = self._body(kind)
        self._MAKERS.get(kind, Population._usual)(self, person, now_s)
        if person.notes is None and self._rng.random() < 0.5:
            person.notes = self._papers(person.role)
        return person

    def _papers(self, role: Role, test: LabTest | None = None) -> AttendantNoted:
        """Return what the person on duty writes down from the papers of somebody who has them all."""
        given = frozenset(REGISTRATION_FIELDS)
        return AttendantNoted(role, given, id_checked=True, travel=Travel.DECLARED, test=test)

    # --- who they are; a coin may be tossed, but never by what the gate knows

    def _usual(self, person: Person, now_s: int) -> None:
        """Give what most people have here: an appointment, a flat and a test, or a pass of the day."""
        rare = self._rng.random() > _USUAL_SHARE
        if self._policy.appointment is not None and not rare:
            self._slot_in_time(person, now_s)
        elif self._policy.residents is not None and not rare:
            self._resident(person, now_s)
        else:
            person.cards = (self.counter.visitor(person.number, now_s),)
        own = person.cards[0]
        match person.kind:
            case Kind.FORGED:
                person.cards = (Card(forged(own.payload), own.subject),)
            case Kind.FOREIGN:
                person.cards = (Card(f"https://example.org/code/{person.number}".encode()),)
            case Kind.NO_PHONE:
                person.cards = ()
                self._ask_no_phone(person)
            case Kind.TWO_CODES:
                # Somebody else's pass, such as a parent's, beside one's own.
                self._number += 1
                person.cards = (own, self.counter.visitor(self._number, now_s))
                person.later_cards = (own,)

    def _ask_no_phone(self, person: Person) -> None:
        notes = self._papers(person.role, person.notes.test if person.notes else None)
        if self._rng.random() < 0.15:
            notes = AttendantNoted(symptoms=frozenset({self._rng.choice(list(Symptom))}))
        person.notes = notes

    def _dated(self, person: Person, now_s: int) -> None:
        """Give a pass that has ended, or one of another colour."""
        number, rng, visitor = person.number, self._rng, self.counter.visitor
        match person.kind:
            case Kind.EXPIRED:
                person.cards = (visitor(number, now_s, valid_s=-rng.randint(1, 80_000)),)
            case Kind.EXPIRED_THEN_GOOD:
                person.cards = (visitor(number, now_s, valid_s=-3600),)
                person.later_cards = (visitor(number, now_s),)
            case _:
                person.cards = (visitor(number, now_s, red=True),)

    def _staff(self, person: Person, _now_s: int) -> None:
        person.role = Role.STAFF
        card = self._rng.choice(self.counter.staff)
        person.cards = (card,)
        person.trusted = not self.counter.is_called_back(card)

    def _rotating(self, person: Person, now_s: int) -> None:
        person.cards = (self.counter.rotating(person.number, now_s),)

    def _counted(self, person: Person, now_s: int) -> None:
        person.cards = (self.counter.counted(now_s),)

    def _resident(self, person: Person, now_s: int) -> None:
        """Give a flat, and a test on paper that the person on duty looks at: mostly a good one."""
        rng = self._rng
        person.role = Role.RESIDENT
        person.cards = (rng.choice(self.counter.residents),)
        if person.kind is Kind.UNTESTED and rng.random() < 0.5:
            return
        old = person.kind is Kind.UNTESTED
        age_s = rng.randint(49, 90) * HOUR_S if old else rng.randint(2, 46) * HOUR_S
        test = LabTest(now_s - age_s, negative=rng.random() > 0.02)
        person.notes = AttendantNoted(test=test)

    def _household(self, person: Person, now_s: int) -> None:
        self._resident(person, now_s)
        person.cards = (self._rng.choice(self.counter.households(now_s)),)

    def _supplier(self, person: Person, now_s: int) -> None:
        person.role = Role.SUPPLY
        if person.kind is Kind.SUPPLIER:
            person.cards = (self._rng.choice(self.counter.suppliers(now_s)),)
        else:
            person.notes = self._papers(Role.SUPPLY)

    def _stranger(self, person: Person, now_s: int) -> None:
        person.cards = (self.counter.visitor(person.number, now_s),)
        person.notes = self._papers(Role.VISITOR)

    def _slot_in_time(self, person: Person, now_s: int) -> None:
        person.cards = (self.counter.slot_at(now_s),)

    def _slot_wrong(self, person: Person, now_s: int) -> None:
        off_s = self._rng.randint(1200, 4 * HOUR_S) * (1 if person.kind is Kind.SLOT_EARLY else -1)
        late = person.kind is Kind.SLOT_BOOKED_LATE
        person.cards = (self.counter.slot_at(now_s + (0 if late else off_s), booked_late=late, now_s=now_s),)

    def _slot_again(self, person: Person, now_s: int) -> None:
        person.cards = (self.counter.slot_again(now_s),)

    def _copied(self, person: Person, now_s: int) -> None:
        card = self._bound_card()
        if person.kind is Kind.COPIED_PASS:
            person.cards = (copy_of_pass(card),)
        else:
            person.cards = (old_screen(card, now_s - self._rng.randint(100, 2 * HOUR_S)),)

    def _bound_card(self) -> RotatingCard:
        return self._rng.choice([card for card in self.counter.staff if isinstance(card, RotatingCard)])

    def _called_back(self, person: Person, now_s: int) -> None:
        """Come with a pass that is called back later today, or come again with one that has been."""
        card = self.counter.called_back_card()
        if card is None or self._rng.random() < 0.4:
            card = self.counter.to_be_called_back(person.number, now_s)
        else:
            person.trusted = False
        person.cards = (card,)

    def _token(self, person: Person, now_s: int) -> None:
        said = Said(person.kind.removeprefix("token_"))
        person.cards = (self.counter.token(person.number, now_s, said),)

    def _behind(self, first: Person, kind: Kind) -> Person:
        """Return who follows at once with what the one before has shown, or a picture of it."""
        person = self._body(kind)
        person.role, person.trusted, person.hurries = first.role, False, True
        own = first.cards[0]
        person.cards = (picture_of(own) if kind is Kind.PICTURE and isinstance(own, RotatingCard) else own,)
        return person

    _MAKERS: Final[dict[Kind, Callable[["Population", Person, int], None]]] = {
        Kind.EXPIRED: _dated,
        Kind.EXPIRED_THEN_GOOD: _dated,
        Kind.RED: _dated,
        Kind.STAFF: _staff,
        Kind.ROTATING: _rotating,
        Kind.COUNTED: _counted,
        Kind.RESIDENT: _resident,
        Kind.UNTESTED: _resident,
        Kind.HOUSEHOLD: _household,
        Kind.SUPPLIER: _supplier,
        Kind.SUPPLIER_WITHOUT_PASS: _supplier,
        Kind.STRANGER: _stranger,
        Kind.SLOT_IN_TIME: _slot_in_time,
        Kind.SLOT_EARLY: _slot_wrong,
        Kind.SLOT_LATE: _slot_wrong,
        Kind.SLOT_BOOKED_LATE: _slot_wrong,
        Kind.SLOT_AGAIN: _slot_again,
        Kind.COPIED_PASS: _copied,
        Kind.OLD_SCREEN: _copied,
        Kind.CALLED_BACK: _called_back,
        Kind.TOKEN_GREEN: _token,
        Kind.TOKEN_RED: _token,
        Kind.TOKEN_SLOW: _token,
        Kind.TOKEN_NEVER: _token,
        Kind.TOKEN_UNREACHED: _token,
    }
