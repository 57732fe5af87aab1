"""The counter that issues: rosters of staff, residents, households and suppliers, appointments, call-backs.

It knows what every pass is worth; the gate learns of it through the passes and the documents alone.
"""

import random
from typing import Final

from gate.core.codes import Credential, Status, Travel
from gate.core.codes.home import PassClaims
from gate.core.documents import Appointment
from gate.core.policy import Policy
from gate.sim.cards import ISSUER, SERVICES, SITE, Card, Issuer, RotatingCard, Said, subject_of, token

HOUR_S: Final = 3600
DAY_S: Final = 86_400
_SLOT_S: Final = 1800
_STAFF, _RESIDENTS, _HOUSEHOLDS, _SUPPLIERS, _ROWS_PER_SLOT = 14, 60, 25, 8, 12
# People with a place in a roster have numbers far above those of who comes once.
_ROSTER_FROM: Final = 1_000_000


class Counter:
    """Issues for one site, from one seed. Times are true unix seconds."""

    def __init__(self, rng: random.Random, policy: Policy) -> None:
        self._rng = rng
        self.issuer = Issuer(rng)
        self._offset_s = policy.utc_offset_min * 60
        needed = policy.registration.fields + (policy.residents.fields if policy.residents else ())
        self._fields = frozenset(needed) | {"name", "phone"}
        self._passes = 0
        self._people = _ROSTER_FROM
        self._made_day: int | None = None
        self._households: list[Card] = []
        self._suppliers: list[Card] = []
        self._counted: list[Card] = []
        self._free: dict[int, list[Card]] = {}
        self._rows: dict[int, list[Appointment]] = {}
        self._been: list[tuple[int, Card]] = []
        self._called_back: list[Card] = []
        self._published = 0
        self.staff: list[Card] = []
        self.residents: list[Card] = []

    def open(self, now_s: int) -> None:
        """Make the rosters; to be called once, before anything else."""
        self.staff = [self._of_staff(now_s, rotates=n % 2 == 0) for n in range(_STAFF)]
        kinds = (Credential.RESIDENT, Credential.VISITOR)
        self.residents = [
            self._paper(self._person(), now_s, kinds[n % 3 == 0], valid_s=40 * DAY_S)
            for n in range(_RESIDENTS)
        ]

    # --- passes

    def visitor(self, person: int, now_s: int, *, valid_s: int = 43_200, red: bool = False) -> Card:
        """Issue a visitor's pass of the day before; `valid_s` below 0 gives one that has expired."""
        return self._paper(person, now_s, Credential.VISITOR, valid_s=valid_s, red=red)

    def rotating(self, person: int, now_s: int) -> RotatingCard:
        """Issue a visitor's pass on a phone."""
        return self._bound(person, now_s, Credential.VISITOR)

    def counted(self, now_s: int) -> Card:
        """Return a visitor's pass for one entry: a new one, or one that has been shown before."""
        if not self._counted or self._rng.random() < 0.5:
            self._counted.append(self._paper(self._person(), now_s, Credential.VISITOR, uses_max=1))
        return self._rng.choice(self._counted)

    def households(self, now_s: int) -> list[Card]:
        """Return the passes of the day of all households: each with its hours, and good once or twice."""
        self._make_day(now_s)
        return self._households

    def suppliers(self, now_s: int) -> list[Card]:
        """Return the suppliers' passes of the day."""
        self._make_day(now_s)
        return self._suppliers

    def token(self, person: int, now_s: int, said: Said) -> Card:
        """Return a national token, whose service answers in this way."""
        return token(self._rng.choice(sorted(SERVICES)), person, now_s, said)

    def _make_day(self, now_s: int) -> None:
        day = (now_s + self._offset_s) // DAY_S
        if day == self._made_day:
            return
        self._made_day = day
        morning_s = day * DAY_S - self._offset_s + 6 * HOUR_S
        windowed = self._windowed
        self._households = [windowed(Credential.HOUSEHOLD, morning_s, 2) for _ in range(_HOUSEHOLDS)]
        self._suppliers = [windowed(Credential.SUPPLY, morning_s, 6) for _ in range(_SUPPLIERS)]

    def _windowed(self, credential: Credential, morning_s: int, uses: int) -> Card:
        from_s = morning_s + self._rng.randint(0, 6) * HOUR_S
        until_s = from_s + self._rng.randint(2, 12) * HOUR_S
        claims = self._claims(self._person(), credential, from_s, until_s, self._rng.randint(1, uses))
        return self.issuer.card(claims)

    def _of_staff(self, now_s: int, *, rotates: bool) -> Card:
        person = self._person()
        if rotates:
            return self._bound(person, now_s, Credential.STAFF)
        return self._paper(person, now_s, Credential.STAFF, valid_s=400 * DAY_S)

    def _bound(self, person: int, now_s: int, credential: Credential) -> RotatingCard:
        key = self.issuer.phone_key()
        public = key.public_key().public_bytes_raw()
        claims = self._claims(person, credential, now_s - DAY_S, now_s + 400 * DAY_S, holder_key=public)
        return self.issuer.rotating(claims, key)

    def _paper(
        self,
        person: int,
        now_s: int,
        credential: Credential,
        *,
        valid_s: int = 43_200,
        red: bool = False,
        uses_max: int | None = None,
    ) -> Card:
        claims = self._claims(person, credential, now_s - DAY_S, now_s + valid_s, uses_max, red=red)
        return self.issuer.card(claims)

    def _claims(
        self,
        person: int,
        credential: Credential,
        from_s: int,
        until_s: int,
        uses_max: int | None = None,
        *,
        issued_s: int | None = None,
        holder_key: bytes | None = None,
        red: bool = False,
    ) -> PassClaims:
        self._passes += 1
        return PassClaims(
            issuer=ISSUER,
            subject=subject_of(person),
            site=SITE,
            valid_from=from_s,
            valid_until=until_s,
            issued_at=from_s if issued_s is None else issued_s,
            pass_id=self._passes.to_bytes(8, "big"),
            credential=credential,
            status=Status.RED if red else Status.GREEN,
            registered=self._fields if self._rng.random() < 0.9 else frozenset({"name"}),
            travel=Travel.CLEAR,
            uses_max=uses_max,
            holder_key=holder_key,
        )

    def _person(self) -> int:
        self._people += 1
        return self._people

    # --- appointments

    def slot_at(self, then_s: int, *, booked_late: bool = False, now_s: int | None = None) -> Card:
        """Return an appointment for this instant that nobody has used: on the list, or on a pass."""
        free = self._free.get(then_s // _SLOT_S, [])
        if free and not booked_late and self._rng.random() < 0.5:
            card = free.pop()
        else:
            card = self._slot_pass(then_s, then_s if now_s is None else now_s, booked_late=booked_late)
        if now_s is None:
            self._been.append((then_s, card))
        return card

    def slot_again(self, now_s: int) -> Card:
        """Return an appointment with which somebody has been here, on the same pass or on a new one."""
        lately = [card for then_s, card in self._been[-40:] if then_s > now_s - HOUR_S]
        if not lately:
            return self.slot_at(now_s)
        card = self._rng.choice(lately)
        claims = card.claims
        assert claims is not None
        if claims.credential is Credential.APPOINTMENT or self._rng.random() < 0.5:
            return card
        again = self._paper(int.from_bytes(claims.subject, "big"), now_s, Credential.VISITOR)
        again.slot = card.slot
        return again

    def _slot_pass(self, then_s: int, now_s: int, *, booked_late: bool) -> Card:
        from_s = then_s // _SLOT_S * _SLOT_S
        issued_s = now_s - self._rng.randint(60, 120) if booked_late else from_s - 3 * DAY_S
        claims = self._claims(
            self._person(), Credential.APPOINTMENT, from_s, from_s + _SLOT_S, issued_s=issued_s
        )
        return self.issuer.card(claims, slot=claims.pass_id.hex())

    def appointments(self, now_s: int) -> frozenset[Appointment]:
        """Book the next 24 hours, and return the list of them and of what is not over yet."""
        first = now_s // _SLOT_S
        for slot in range(first, first + DAY_S // _SLOT_S + 2):
            if slot not in self._rows:
                booked = [self._booked(slot, now_s) for _ in range(_ROWS_PER_SLOT)]
                self._rows[slot] = [row for row, _ in booked]
                self._free[slot] = [card for _, card in booked]
        return frozenset(row for slot in self._rows if slot >= first - 2 for row in self._rows[slot])

    def _booked(self, slot: int, now_s: int) -> tuple[Appointment, Card]:
        from_s = slot * _SLOT_S
        card = self._paper(self._person(), now_s, Credential.VISITOR, valid_s=3 * DAY_S)
        assert card.claims is not None
        assert card.subject is not None
        name = card.claims.pass_id.hex()
        card.slot = name
        return Appointment(card.subject, from_s, from_s + _SLOT_S, from_s - 3 * DAY_S, name), card

    # --- passes called back

    def to_be_called_back(self, person: int, now_s: int) -> Card:
        """Issue a pass that stands on the next list of those called back."""
        card = self._paper(person, now_s, Credential.VISITOR)
        self._called_back.append(card)
        return card

    def called_back_card(self) -> Card | None:
        """Return one that has been called back, None while none is on a list yet."""
        return self._rng.choice(self._called_back[: self._published]) if self._published else None

    def is_called_back(self, card: Card) -> bool:
        """Say whether a pass stands on a published list."""
        return card in self._called_back[: self._published]

    def dismiss(self) -> None:
        """Call back the pass of one member of staff."""
        self._called_back.append(self.staff[0])

    def call_back(self) -> frozenset[str]:
        """Return the pass ids of the list of now, which keeps all of the lists before."""
        self._published = len(self._called_back)
        return frozenset(card.claims.pass_id.hex() for card in self._called_back if card.claims is not None)
