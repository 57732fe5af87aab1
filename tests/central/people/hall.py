"""A hall with gates, staff and visitors who are called by their references, in virtual time."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nacl.public import PrivateKey

from central.people.access_log import verify as verify_access
from central.people.caller import Caller
from central.people.presence import Stay
from central.people.subjects import Subject
from central.store import Arrived, ArrivedSealed, Problem, Store, verify
from gate.core import events
from gate.core.chain import link
from gate.core.codes.model import Travel
from gate.core.events import Event, Origin, Result, Stage, encode
from gate.core.evidence import Direction, Evidence, Person, Unmeasured
from gate.core.moment import Moment
from gate.shell.registration import Sealer
from tests.central.reports.town import ADMIT, CENTRE_PUBLIC, NORMAL, ZONE, TownGate, code, ms

SITE_KEY = b"s" * 32
KEYS = {"north": (SITE_KEY,)}
STAY = Stay(ZONE, 12)
LI = Caller("Li", "contact tracing")
SEAL = PrivateKey(b"p" * 32)
ALICE, BOB, CAROL, DAVE = "a11ce0000000a11c", "b0b0000000000b0b", "ca101000000ca101", "da5e0000000da5e0"
DAY = "2022-04-11"


def at(time: str, day: str = DAY) -> int:
    """Return a local time of the day such as 09:00 as unix milliseconds."""
    return ms(f"{day}T{time}")


def subject(reference: str = ALICE) -> Subject:
    return Subject(reference, KEYS)


class HallGate(TownGate):
    """A gate that writes pseudonyms of the days of its plan, with what people do at it."""

    site_key: bytes | None = SITE_KEY
    utc_offset_min = 480

    def write(self, event: Event, at_ms: int, *, trusted: bool = True) -> int:
        seq = len(self.bodies) + 1
        origin = Origin(self.site, self.gate, self.epoch, "boot")
        local = replace(event, utc_offset_min=self.utc_offset_min)
        body = encode(local, origin, seq, Moment(seq, at_ms, trusted), self.site_key)
        self.bodies.append(body)
        self.hashes.append(link(self.hashes[-1], body))
        return seq

    def comes(self, who: str | None, time: str, day: str = DAY, **how: Any) -> str:
        """Somebody passes on the way in: decided at that time, passed a second later."""
        return self.visit(at(time, day), evidence=seen(who, Direction.IN, **_evidence(how)), **how)

    def goes(self, who: str | None, time: str, day: str = DAY, **how: Any) -> str:
        """Likewise on the way out."""
        return self.visit(at(time, day), evidence=seen(who, Direction.OUT, **_evidence(how)), **how)

    def register_sealed(self, blob: bytes, who: str | None, time: str, day: str = DAY) -> int:
        """Somebody registers and passes; return the number of the record with the registration."""
        self.visits += 1
        name = f"0a1b2c3d-{self.visits:06}"
        evidence = seen(who, Direction.IN)
        event = events.visit_decided(name, Stage.AUTHORISED, ADMIT, evidence, (), 1200)
        seq = self.write(events.with_sealed(event, blob), at(time, day))
        self.write(events.visit_closed(name, Result.PASSED, 2000), at(time, day) + 1000)
        self.attach(seq, blob, at(time, day))
        return seq

    def attach(self, seq: int, blob: bytes, now_ms: int) -> None:
        said = {"v": 1, "epoch": self.epoch, "seq": seq, "sealed": base64.b64encode(blob).decode()}
        self.store.ingest_sealed([ArrivedSealed(self.site, self.gate, json.dumps(said).encode())], now_ms)

    def raw(self, body: bytes, now_ms: int) -> None:
        """Write a record that no gate of ours would write."""
        self.bodies.append(body)
        self.hashes.append(link(self.hashes[-1], body))
        self.store.ingest([Arrived(self.site, self.gate, body)], now_ms)
        self.sent = len(self.bodies)


_EVIDENCE = ("person", "measured", "travel", "subject")


def _evidence(how: dict[str, Any]) -> dict[str, Any]:
    return {name: how.pop(name) for name in _EVIDENCE if name in how}


def seen(
    who: str | None,
    direction: Direction,
    *,
    person: Person = Person.VISITOR,
    measured: bool = True,
    travel: Travel = Travel.UNKNOWN,
) -> Evidence:
    """What a gate has in evidence of somebody; nobody shows no code."""
    return replace(
        NORMAL,
        code=None if who is None else code(subject=who),
        measurements=NORMAL.measurements if measured else (Unmeasured("timeout"),),
        person=person, direction=direction, travel=travel,
    )  # fmt: skip


def sealed(fields: Mapping[str, str], site: str = "north", gate: str = "g-1") -> bytes:
    """Seal a registration as a gate does."""
    return Sealer(site, gate, bytes(SEAL.public_key), lambda: 1)(fields)


def problems(store: Store) -> list[tuple[str, int | None]]:
    """What `central verify` finds: what, and where."""
    found: list[Problem] = []
    verify(store, CENTRE_PUBLIC, found.append)
    verify_access(store, found.append)
    return [(problem.what, problem.seq) for problem in found]
