"""Ordinary visitors as inputs of the actor (pass, reading, mask), and the records that come of them."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gate.config import load_policy
from gate.core.actor import GateActor
from gate.core.effects import Record
from gate.core.events import Event, Kind
from gate.core.evidence import MaskStatus, Reading
from gate.core.inputs import ArmTurned, CodesRead, MaskSeen, PersonArrived, ReadingTaken
from gate.demo.passes import Issuer
from gate.ports import Clock

SITE: Final = "county-hall-south"
GATE: Final = "south-entrance-1"
RUN: Final = "5f0c12ab"
EPOCH: Final = "5ae071d9957692a3"
BOOT_ID: Final = "0b1c5f0e-6a53-4a0e-9d52-6f1f0a3c7e11"
SITE_KEY: Final = bytes(range(32))
MASK_ON: Final = MaskSeen(MaskStatus.WORN)
NORMAL: Final = Reading(
    value_cc=3666,
    low_cc=3615,
    high_cc=3717,
    samples_cc=(3421, 3419, 3407, 3371, 3409),
    spread_cc=50,
    ambient_cc=2201,
    corrections=(("supply_voltage", -18), ("ambient_to_core", 275), ("calibration_offset", 0)),
)


class Visitors:
    """Issues a pass to each visitor of one site and makes an actor that believes it."""

    def __init__(self, clock: Clock) -> None:
        self._issuer = Issuer(SITE, random.Random(1), clock.now().wall_s)

    def actor(self) -> GateActor:
        """Return a gate under the plan of a county hall."""
        return GateActor(load_policy("county-hall"), self._issuer.trust(), SITE, RUN)

    def code(self) -> CodesRead:
        """Return the picture of a new visitor's pass, read."""
        return CodesRead((self._issuer.issue().encode("ascii"),))


def decided_visit(clock: Clock) -> Event:
    """Return what an actor has recorded of a visitor who may pass."""
    visitors = Visitors(clock)
    actor = visitors.actor()
    actor.handle(PersonArrived(), clock.now())
    assert actor.visit is not None
    reading = ReadingTaken(actor.visit.name, NORMAL)
    effects = [
        effect
        for happened in (visitors.code(), reading, MASK_ON)
        for effect in actor.handle(happened, clock.now())
    ]
    events = [effect.event for effect in effects if isinstance(effect, Record)]
    assert [event.kind for event in events] == [Kind.VISIT_DECIDED]
    return events[0]


def visits(clock: Clock, count: int) -> Sequence[Event]:
    """Return what an actor has recorded of so many visitors, two events each: *decided*, then *passed*.

    Each has another pass and another temperature.
    """
    rng, visitors = random.Random(1), Visitors(clock)
    actor = visitors.actor()
    events: list[Event] = []
    for _ in range(count):
        actor.handle(PersonArrived(), clock.now())
        assert actor.visit is not None
        value_cc = rng.randrange(3580, 3670)  # with its interval below any fever
        measured = replace(
            NORMAL,
            value_cc=value_cc,
            low_cc=value_cc - 51,
            high_cc=value_cc + 51,
            samples_cc=tuple(value_cc - rng.randrange(220, 300) for _ in NORMAL.samples_cc),
        )
        taken = ReadingTaken(actor.visit.name, measured)
        for happened in (visitors.code(), taken, MASK_ON, ArmTurned()):
            effects = actor.handle(happened, clock.now())
            events += [effect.event for effect in effects if isinstance(effect, Record)]
    assert len(events) == 2 * count
    return events
