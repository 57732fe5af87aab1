"""The place in front of the gate: the queue, who stands there and does what, arm, barrier, camera, attendant.

Everybody acts on what is shown, with the delays of people; the gate hears of it through the inputs that its
edges would post. Not imitated: the field of view (whoever stands at the gate fills it), a person who is
seen by the camera while another stands at the gate (marks on the floor keep them apart), and an arm that lets
two people through in one turn.
"""

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from gate.core.effects import LightSignal
from gate.core.evidence import MaskStatus
from gate.core.inputs import (
    ArmTurned,
    AttendantConfirmed,
    AttendantRefused,
    CodesRead,
    Device,
    DeviceFailed,
    DeviceRecovered,
    FireAlarmChanged,
    Input,
    MaskSeen,
    PersonArrived,
    PersonLeft,
)
from gate.core.moment import NS_PER_S
from gate.core.texts import Key
from gate.sim.cards import Card
from gate.sim.oracle import Oracle
from gate.sim.people import Kind, Person
from gate.sim.timeline import Action, Timeline

QUEUE_MAX: Final = 40  # whoever sees a longer one comes back another day
# Once freed by a pulse, the arm waits this long for one person, by its own mechanism.
ARM_WAITS_S: Final = 5.0
_BEAM_BOUNCE_S: Final = 0.1
_CONTACT_S: Final = 0.06
_FRAME_S: Final = 0.5  # a held code is read far more often; twice a second shows the same
_FROZEN_AFTER_S: Final = 3.0
# What the person on duty can help with before anybody is sent to them.
_HELPED: Final = frozenset({Key.TEST_MISSING, Key.NOT_RESIDENT, Key.EXCEPTION_INCOMPLETE})

Post = Callable[[Input], None]


class Arm:
    """Relay and arm of the turnstile; fills the port `gate.ports.Turnstile`."""

    def __init__(self, timeline: Timeline, oracle: Oracle) -> None:
        self._timeline = timeline
        self._oracle = oracle
        self._pulse_until_ns = self._free_until_ns = 0
        self._held = False

    def unlock(self, duration_ms: int) -> bool:
        """Start one pulse."""
        now_ns = self._timeline.now_ns
        if self._held or now_ns < self._pulse_until_ns:
            return False
        self._pulse_until_ns = now_ns + duration_ms * NS_PER_S // 1000
        self._free_until_ns = now_ns + round(ARM_WAITS_S * NS_PER_S)
        self._oracle.unlocked()
        return True

    def lock(self) -> None:
        """Switch the relay off; an arm that a pulse has freed still waits for its person."""
        self._pulse_until_ns = 0
        self._held = False
        self._oracle.locked()

    def hold_open(self) -> None:
        """Keep the relay on."""
        self._held = True
        self._oracle.held_open()

    def power_lost(self) -> None:
        """The relay drops."""
        self._held = False
        self._pulse_until_ns = 0

    def turn(self) -> bool:
        """Let one person through if the arm is free; return whether it was."""
        if self._held:
            return True
        free = self._timeline.now_ns <= self._free_until_ns
        self._free_until_ns = -1
        return free


class Entrance:
    """People before one gate. `post` is the gate's inbox, `view` brings a person before the thermometer."""

    def __init__(
        self,
        timeline: Timeline,
        seed: int,
        post: Post,
        view: Callable[[Person | None], None],
        oracle: Oracle,
    ) -> None:
        self._timeline = timeline
        self._rng = random.Random(f"{seed}/entrance")  # noqa: S311 - chance to be repeated, not a secret
        self.post = post
        self._view = view
        self._oracle = oracle
        self.powered = False
        self._arm: Arm | None = None
        self._queue: deque[Person] = deque()
        self.person: Person | None = None
        self.last: Person | None = None
        self._coming = False
        self.barrier = False  # what the presence sensor has last said
        self._fire = False
        self._fire_said = False
        self._phones: dict[int, tuple[Card, ...]] = {}
        self._watching = False
        self._camera: str | None = None
        self._camera_said = False
        self._frozen_frame: tuple[bytes, ...] = ()
        self._camera_fault = 0

    # --- the gate's hardware, as the gate hears of it

    def fit(self, arm: Arm) -> None:
        """Mount the arm."""
        self._arm = arm

    def powered_on(self) -> None:
        """The edges report how things stand when the gate starts."""
        self.powered = True
        self.barrier = self._camera_said = self._fire_said = False
        if self._fire:
            self._say_fire()
        self._say_barrier()
        if self._camera is not None:
            self._timeline.after(4, partial(self._say_camera_failed, self._camera_fault))

    def powered_off(self) -> None:
        """Nothing is reported any more."""
        self.powered = False
        assert self._arm is not None
        self._arm.power_lost()

    def _barrier_changed(self) -> None:
        self._timeline.after(_BEAM_BOUNCE_S, self._say_barrier)

    def _say_barrier(self) -> None:
        there = self.person is not None
        if self.powered and there != self.barrier:
            self.barrier = there
            self.post(PersonArrived() if there else PersonLeft())

    def _say_fire(self) -> None:
        if self.powered and self._fire != self._fire_said:
            self._fire_said = self._fire
            self.post(FireAlarmChanged(active=self._fire))

    # --- fire and camera faults

    def fire(self, *, active: bool) -> None:
        """The fire contact opens, or closes again; while it is open people stream out and nobody comes in."""
        self._fire = active
        self._oracle.fire(active=active)
        self._timeline.after(_CONTACT_S, self._say_fire)
        if not active:
            self._call_next()
            return
        self._queue.clear()
        self._timeline.after(1, self._oracle.check_evacuation)
        for _ in range(self._rng.randint(0, 12)):
            self._timeline.after(self._rng.uniform(2, 50), self._rotate)
        if self.person is not None:
            self._soon(self.person, 0.5, 3, self._flee)

    def _flee(self) -> None:
        self._rotate()
        self._depart()

    def break_camera(self, word: str) -> None:
        """Let the camera fail: "gone", or "frozen" with the frame that it sees now."""
        self._camera = word
        self._camera_fault += 1
        self._frozen_frame = self._frame()
        self._watch()
        notice_s = _FROZEN_AFTER_S if word == "frozen" else self._rng.uniform(0.5, 4)
        self._timeline.after(notice_s, partial(self._say_camera_failed, self._camera_fault))

    def repair_camera(self) -> None:
        """Let it see again."""
        self._camera = None
        self._watch()
        if self._camera_said and self.powered:
            self.post(DeviceRecovered(Device.CAMERA))
        self._camera_said = False

    def _say_camera_failed(self, fault: int) -> None:
        if (
            self.powered
            and self._camera is not None
            and fault == self._camera_fault
            and not self._camera_said
        ):
            self._camera_said = True
            self.post(DeviceFailed(Device.CAMERA, self._camera))

    # --- what the camera reads

    def _hold_up(self, person: Person, cards: tuple[Card, ...]) -> None:
        if cards:
            self._phones[person.number] = cards
            self._watch()

    def _put_away(self, person: Person) -> None:
        if self._phones.pop(person.number, None) and self._rng.random() < 0.3:
            self._read(self._frame())  # the last picture is still being decoded

    def _frame(self) -> tuple[bytes, ...]:
        now_s = self._timeline.wall_ms // 1000
        return tuple(dict.fromkeys(card.show(now_s) for cards in self._phones.values() for card in cards))

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self._timeline.after(self._rng.uniform(0.08, 0.3), self._look)

    def _look(self) -> None:
        frame = self._frozen_frame if self._camera == "frozen" else self._frame()
        if not frame or (self._camera is not None and (self._camera == "gone" or self._camera_said)):
            self._watching = False
            return
        self._read(frame)
        self._timeline.after(_FRAME_S, self._look)

    def _read(self, frame: tuple[bytes, ...]) -> None:
        if frame and self.powered:
            self.post(CodesRead(frame))

    # --- coming and going

    def arrive(self, person: Person) -> None:
        """Somebody comes and queues up."""
        if len(self._queue) < QUEUE_MAX and not self._fire:
            self._queue.append(person)
            self._call_next()

    def close_doors(self) -> None:
        """Send away everybody but who stands at the gate."""
        self._queue.clear()

    def _call_next(self) -> None:
        if self._queue and self.person is None and not self._coming and not self._fire:
            self._coming = True
            hurries = self._queue[0].hurries
            self._timeline.after(self._rng.uniform(*((0.15, 0.9) if hurries else (1, 4))), self._step_up)

    def _step_up(self) -> None:
        self._coming = False
        if not self._queue or self._fire or self.person is not None:
            return
        person = self.person = self.last = self._queue.popleft()
        person.stepped_up_ns = self._timeline.now_ns
        self._view(person)
        self._barrier_changed()
        self._soon(person, person.shows_s, person.shows_s, partial(self._hold_up, person, person.cards))
        self._soon(person, 0.8, 3, partial(self._attendant_looks, person))
        end = self._push if person.kind is Kind.PUSHES else self._depart
        self._soon(person, person.patience_s, person.patience_s, end)

    def _depart(self) -> None:
        """Whoever is at the gate leaves it, to one side or the other."""
        person, self.person = self.person, None
        assert person is not None
        self._view(None)
        self._barrier_changed()
        self._timeline.after(self._rng.uniform(0, 0.6), partial(self._put_away, person))
        self._call_next()

    def _soon(self, person: Person, low_s: float, high_s: float, action: Action) -> None:
        """Do something between these times from now, if this person is still there then."""

        def act() -> None:
            if self.person is person:
                action()

        self._timeline.after(self._rng.uniform(low_s, high_s), act)

    # --- what people do when they are shown something

    def show(self, key: Key, signal: LightSignal) -> None:
        """The gate shows something; who stands there reacts, and so does the person on duty."""
        person = self.person
        if person is None:
            return
        if key is Key.WELCOME and signal is LightSignal.WAIT:
            self._soon(person, 0.8, 3, partial(self._attendant_looks, person))
        elif signal is LightSignal.GO and person.kind is not Kind.STAYS:
            self._soon(person, 0.4, 3, self._walk)
        elif signal is LightSignal.STOP:
            self._soon(person, 0.5, 4, self._push if person.kind is Kind.PUSHES else self._depart)
        elif signal is LightSignal.ATTENTION:
            self._soon(person, 3, 60, partial(self._attendant_decides, person))
        elif key is Key.MASK_PLEASE and person.kind is Kind.MASK_LATE:
            self._soon(person, 1, 8, partial(self._put_mask_on, person))
        elif person.later_cards and key in {Key.ONE_CODE_ONLY, Key.REFUSED_CODE_EXPIRED}:
            self._soon(person, 1, 4, partial(self._hold_up, person, person.later_cards))
        elif key in _HELPED:
            self._soon(person, 2, 12, partial(self._attendant_helps, person))

    def _put_mask_on(self, person: Person) -> None:
        person.masked = True
        self._soon(person, 0.5, 2, partial(self._attendant_looks, person))

    def _attendant_looks(self, person: Person) -> None:
        if self.powered and self._rng.random() < 0.97:
            self.post(MaskSeen(MaskStatus.WORN if person.masked else MaskStatus.MISSING))

    def _attendant_helps(self, person: Person) -> None:
        """Look at somebody's papers; whoever begs to be let into a sealed area is vouched for as well."""
        self._attendant_notes(person)
        if person.kind is Kind.STRANGER:
            self._soon(person, 1, 6, partial(self._attendant_decides, person))

    def _attendant_notes(self, person: Person) -> None:
        if self.powered and person.notes is not None:
            self.post(person.notes)

    def _attendant_decides(self, person: Person) -> None:
        chance = self._rng.random()
        if not self.powered or chance < 0.1:  # nobody comes
            return
        if not person.masked:
            self._attendant_looks(person)
        if person.notes is not None and chance < 0.6:
            self._attendant_notes(person)
        self.post(AttendantConfirmed() if person.trusted and chance < 0.85 else AttendantRefused())

    # --- through the gate

    def _walk(self) -> None:
        assert self._arm is not None
        if not self._arm.turn():
            return
        if self.person is not None and not self._oracle.evacuating:
            self._oracle.rights.went(self.person)
        self._depart()
        self._rotate(turned=True)
        if self._queue and self._queue[0].kind is Kind.TAILGATES and self.person is None:
            self._queue.popleft()
            self._timeline.after(self._rng.uniform(0.3, 1.2), self._rotate)

    def _push(self) -> None:
        self._depart()
        self._rotate()

    def _rotate(self, *, turned: bool = False) -> None:
        """Somebody goes through, asked or not; the contact tells a little later, if anybody listens."""
        assert self._arm is not None
        if not turned:
            self._arm.turn()
        counts = not self._oracle.evacuating
        self._timeline.after(_CONTACT_S, partial(self._say_rotated, counts=counts))

    def _say_rotated(self, *, counts: bool) -> None:
        if self.powered:
            alarm_owed = counts and self._oracle.rotated()
            self.post(ArmTurned())
            if self.powered:  # the power may have failed over it
                self._oracle.passage_handled(alarm_owed=alarm_owed)
