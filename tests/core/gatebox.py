"""A gate in a box: the real actor and the real `Brain` in virtual time, and a language for scenarios.

A scenario is a table of two columns, read from the top: what happens | what the gate does, in order and
complete; an empty right column says that it does nothing. Time moves with `wait` alone.

    arrives      | welcome; measure
    36.50        |
    shows green  | authorised; UNLOCK; pass_please
    turns        | passed; LOCK; idle

Effects are written as the screen's key (`idle`, `out of order` … for the screens without a visit), `measure`,
`LOCK`, `UNLOCK`, `OPEN`, or what is recorded: a stage with the rule and reason of each deciding finding
(`refused TR-1:expired`), a result (`passed`), or another event (`mode degraded`). A record that fails is
followed by `!`; one that comes late is preceded by `late`.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jsonschema import Draft202012Validator

from gate.config import load_policy
from gate.core.actor import GateActor
from gate.core.codes import Credential, Status, Travel, Trust, TrustedKey, base45
from gate.core.codes.home import PassClaims, issue
from gate.core.effects import Effect, HoldOpen, LightSignal, Lock, Record, Show, TakeReading, Unlock
from gate.core.events import BODY_BYTES_MAX, Event, Kind, Origin, encode
from gate.core.evidence import MaskStatus, Reading, Unmeasured
from gate.core.inputs import (
    ArmTurned,
    AttendantConfirmed,
    AttendantRefused,
    CodesRead,
    Device,
    DeviceFailed,
    DeviceRecovered,
    FireAlarmChanged,
    InboxOverflowed,
    Input,
    MaskSeen,
    PersonArrived,
    PersonLeft,
    ReadingTaken,
    Started,
    Stopped,
    TimePassed,
)
from gate.core.moment import NS_PER_MS, NS_PER_S, Moment
from gate.core.policy import Policy
from gate.core.texts import Key
from gate.core.uses import Use
from gate.perform import Brain, Outputs
from gate.ports import Entry, RecordFailure

SITE: Final = "hall-east"
RUN: Final = "0a1b2c3d"
ORIGIN: Final = Origin(SITE, "g1", "00112233aabbccdd", "boot-1")
MONO_0_NS: Final = 1_000 * NS_PER_S
WALL_0_S: Final = 1_700_000_000
WAKEUPS_AT_ONE_INSTANT_MAX: Final = 2_000

KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER: Final = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
TRUST: Final = Trust(
    (
        TrustedKey(
            "county",
            "County",
            KEY.public_key().public_bytes_raw(),
            frozenset({Credential.VISITOR, Credential.APPOINTMENT}),
        ),
    )
)


def make_pass(
    person: int,
    *,
    key: Ed25519PrivateKey = KEY,
    starts_s: int = -3600,
    ends_s: int = 86_400,
    number: int = 1,
    site: str = SITE,
    status: Status = Status.GREEN,
    credential: Credential = Credential.VISITOR,
    registered: tuple[str, ...] = ("name", "phone"),
) -> bytes:
    """Issue a pass for one person; times are seconds from the box's first instant."""
    start = WALL_0_S + starts_s
    claims = PassClaims(
        issuer="county",
        subject=person.to_bytes(8, "big"),
        site=site,
        valid_from=start,
        valid_until=WALL_0_S + ends_s,
        issued_at=start,
        pass_id=number.to_bytes(4, "big"),
        credential=credential,
        status=status,
        registered=frozenset(registered),
        travel=Travel.CLEAR,
    )
    return issue(key, claims).encode()


def forged(payload: bytes) -> bytes:
    """Change the last bit of a pass's signature."""
    raw = bytearray(base45.decode(payload.removeprefix(b"HG1:")))
    raw[-1] ^= 1
    return b"HG1:" + base45.encode(bytes(raw)).encode()


PASSES: Final = {
    "green": make_pass(1),
    "renewed": make_pass(1, number=2),
    "friend": make_pass(2),
    "yellow": make_pass(1, status=Status.YELLOW),
    "red": make_pass(1, status=Status.RED),
    "expired": make_pass(1, ends_s=-1),
    "early": make_pass(1, starts_s=3600),
    "short": make_pass(1, ends_s=30),
    "forged": forged(make_pass(1)),
    "stranger": make_pass(1, key=STRANGER),
    "elsewhere": make_pass(1, site="hall-west"),
    "staffpass": make_pass(1, credential=Credential.STAFF),
    "unregistered": make_pass(1, registered=("name",)),
    "foreign": b"https://health.example/0123456789abcdef",
    "noise": bytes(range(64)),
}


@cache
def schema() -> Draft202012Validator:
    """Return the validator of the wire event."""
    text = files("gate.schemas").joinpath("event-1.json").read_text("utf-8")
    return Draft202012Validator(json.loads(text))


def checked_body(event: Event, seq: int, now: Moment) -> bytes:
    """Encode an event; fail when it breaks the schema or is too large to send."""
    body = encode(event, ORIGIN, seq, now)
    assert len(body) <= BODY_BYTES_MAX
    problems = [f"{error.json_path}: {error.message}" for error in schema().iter_errors(json.loads(body))]
    assert not problems, problems
    return body


class ScribedActor(GateActor):
    """The actor, with every answer kept; an error of the actor goes through as it is."""

    answers: list[tuple[Input, list[Effect]]]

    def handle(self, happened: Input, now: Moment) -> list[Effect]:
        effects = super().handle(happened, now)
        self.answers.append((happened, effects))
        return effects


class Box:
    """One gate with everything around it: feed it inputs, move its clock, look at what came out."""

    def __init__(
        self, policy: str | Policy = "county-hall", *, clock_trusted: bool = True, wall_0_s: int = WALL_0_S
    ) -> None:
        self.policy = load_policy(policy) if isinstance(policy, str) else policy
        self.actor = ScribedActor(self.policy, TRUST, SITE, RUN)
        self.actor.answers = []
        self.now = Moment(MONO_0_NS, wall_0_s * 1000, clock_trusted)
        self.ledger_works = True
        self.recorded: list[Event] = []
        self.requests: list[str] = []
        self.performed: list[str] = []
        outputs = Outputs(self, self, self, self, self, lambda _entry: None)  # type: ignore[arg-type]  # all in one
        self.brain = Brain(self.actor, outputs)

    # --- the roles

    def append(self, event: Event, now: Moment, use: Use | None = None) -> Entry:
        word = _word(event)
        if not self.ledger_works:
            self.performed.append(word + "!")
            raise RecordFailure("disk full")
        self.recorded.append(event)
        self.performed.append(word)
        return Entry(len(self.recorded), checked_body(event, len(self.recorded), now))

    def open_visits(self) -> tuple[str, ...]:
        return ()

    def uses(self) -> tuple[Use, ...]:
        return ()

    def unlock(self, duration_ms: int) -> bool:
        assert duration_ms == self.policy.timing.unlock_ms
        self.performed.append("UNLOCK")
        return True

    def lock(self) -> None:
        self.performed.append("LOCK")

    def hold_open(self) -> None:
        self.performed.append("OPEN")

    def show(self, key: Key | LightSignal, facts: tuple[tuple[str, str], ...] = ()) -> None:
        if isinstance(key, LightSignal):  # the same effect, on the lamps
            self.performed[-1] = _SCREENS.get((self.performed[-1], key), self.performed[-1])
        else:
            self.performed.append(" ".join([str(key), *(f"{name}={value}" for name, value in facts)]))

    def request(self, visit: str) -> None:
        self.requests.append(visit)
        self.performed.append("measure")

    # --- the world

    def feed(self, happened: Input) -> list[str]:
        """Hand in one input and return what was performed."""
        before = len(self.performed)
        self.brain.step(happened, self.now)
        return self.performed[before:]

    def wait(self, seconds: float) -> list[str]:
        """Let time pass, waking the actor whenever it asked for it."""
        before = len(self.performed)
        until_ns = self.now.mono_ns + int(seconds * NS_PER_S)
        at_once = 0
        while (wakeup := self.actor.next_wakeup()) is not None and wakeup <= until_ns:
            at_once = at_once + 1 if wakeup <= self.now.mono_ns else 0
            assert at_once < WAKEUPS_AT_ONE_INSTANT_MAX, "the actor wakes for ever at one instant"
            self.move_to(max(wakeup, self.now.mono_ns))
            self.feed(TimePassed())
        self.move_to(until_ns)
        return self.performed[before:]

    def move_to(self, mono_ns: int) -> None:
        """Move both clocks; wall time goes on as monotonic time does."""
        wall_ms = self.now.wall_ms + (mono_ns - self.now.mono_ns) // NS_PER_MS
        self.now = replace(self.now, mono_ns=mono_ns, wall_ms=wall_ms)

    def read(self, *names: str, fragment: bool = False) -> list[str]:
        """Show passes by name."""
        payloads = (PASSES[name] for name in names)
        return self.feed(
            CodesRead(tuple(payload[:60] if fragment else payload for payload in payloads), fragment)
        )

    def answer(self, value: str) -> list[str]:
        """Let the thermometer answer its newest request: "36.50", "37.40 +-0.10" or a word for why not."""
        return self.feed(ReadingTaken(self.requests[-1], measurement(value)))

    # --- what came out

    def data(self, kind: Kind) -> list[dict[str, Any]]:
        """Return the data of all durable events of one kind."""
        return [event.data for event in self.recorded if event.kind is kind]

    @property
    def decided(self) -> dict[str, Any]:
        """The newest decision on record."""
        return self.data(Kind.VISIT_DECIDED)[-1]


def measurement(value: str) -> Reading | Unmeasured:
    """Read "37.40" (exact), "37.40 +-0.10", or the thermometer's word for why there is no value."""
    number = re.fullmatch(r"(\d\d\.\d\d)(?: \+-(\d\.\d\d))?", value)
    if number is None:
        return Unmeasured(value, "told so")
    value_cc, half_cc = int(number[1].replace(".", "")), int((number[2] or "0.00").replace(".", ""))
    return Reading(value_cc, value_cc - half_cc, value_cc + half_cc, (value_cc,), 0, 2500, (("offset", 0),))


_SCREENS: Final = {
    ("welcome", LightSignal.OFF): "idle",
    ("see_staff", LightSignal.OFF): "idle, see staff",
    ("gate_fault", LightSignal.STOP): "out of order",
}


def _word(event: Event) -> str:
    data = event.data
    late = "late " if "late" in data else ""
    match event.kind:
        case Kind.VISIT_DECIDED:
            deciding = [f for f in data["findings"] if f["verdict"] == data["verdict"] != "admit"]
            reasons = [f"{finding['rule']}:{finding['reason']}" for finding in deciding]
            return late + " ".join([data["stage"], *reasons])
        case Kind.VISIT_CLOSED:
            return late + str(data["result"])
        case Kind.PASSAGE_FORCED:
            return late + ("passage forced" if data["visit"] else "passage without visit")
        case Kind.GATE_MODE:
            return f"{late}mode {data['mode']}"
        case Kind.DEVICE_FAILED | Kind.DEVICE_RECOVERED:
            return f"{late}{data['device']} {event.kind.rpartition('.')[2]}"
        case Kind.FIRE_ALARM:
            return f"{late}fire {data['passages'] if not data['active'] else 'on'}"
        case Kind.ANOMALY:
            return f"{late}{data['what']}: {data['detail']}"
        case Kind.GATE_STARTED | Kind.GATE_STOPPED:
            return late + event.kind.rpartition(".")[2]


# --- the language

_FIXED: Final[dict[str, Input]] = {
    "arrives": PersonArrived(),
    "leaves": PersonLeft(),
    "mask on": MaskSeen(MaskStatus.WORN),
    "mask off": MaskSeen(MaskStatus.MISSING),
    "mask unclear": MaskSeen(MaskStatus.UNKNOWN),
    "staff confirms": AttendantConfirmed(),
    "staff refuses": AttendantRefused(),
    "turns": ArmTurned(),
    "fire": FireAlarmChanged(active=True),
    "fire over": FireAlarmChanged(active=False),
    "starts": Started("1.0"),
    "stops": Stopped(),
}
_PATTERNS: Final[dict[str, Callable[..., list[str]]]] = {
    r"shows (\w+)": lambda box, name: box.read(name),
    r"shows (\w+) and (\w+)": lambda box, one, two: box.read(one, two),
    r"shows a piece of (\w+)": lambda box, name: box.read(name, fragment=True),
    r"(\d\d\.\d\d(?: \+-\d\.\d\d)?)": lambda box, value: box.answer(value),
    r"cannot measure, (\w+)": lambda box, reason: box.answer(reason),
    r"wait (\d+(?:\.\d+)?)": lambda box, seconds: box.wait(float(seconds)),
    r"(\w+) fails": lambda box, name: box.feed(DeviceFailed(Device(name), "no answer")),
    r"(\w+) works": lambda box, name: box.feed(DeviceRecovered(Device(name))),
    r"(\d+) inputs lost": lambda box, number: box.feed(InboxOverflowed(int(number))),
    r"starts after (.+)": lambda box, names: box.feed(Started("1.0", tuple(names.split()))),
}


def act(box: Box, phrase: str) -> list[str]:
    """Do what one phrase of the language says and return what was performed."""
    if phrase in _FIXED:
        return box.feed(_FIXED[phrase])
    if phrase in {"disk fills up", "disk has room"}:
        box.ledger_works = phrase == "disk has room"
        return []
    for pattern, deed in _PATTERNS.items():
        if found := re.fullmatch(pattern, phrase):
            return deed(box, *found.groups())
    raise ValueError(f"not a phrase of the language: {phrase!r}")


def play(scenario: str, box: Box | None = None) -> Box:
    """Play a scenario against a gate and fail at the first line where the gate does something else."""
    box = box or Box()
    for phrase, expected in _lines(scenario):
        performed = act(box, phrase)
        assert performed == expected, f"{phrase}\n  expected {expected}\n  but was  {performed}"
    return box


def _lines(scenario: str) -> list[tuple[str, list[str]]]:
    """Split a scenario into its lines; one that begins with the bar goes on with the column above."""
    lines: list[tuple[str, list[str]]] = []
    for line in scenario.strip().splitlines():
        phrase, _, column = (part.strip() for part in line.partition("|"))
        words = [word.strip() for word in column.split(";") if word.strip()]
        if phrase:
            lines.append((phrase, words))
        else:
            lines[-1][1].extend(words)
    return lines


def scenarios(table: dict[str, str]) -> pytest.MarkDecorator:
    """Make one test of each scenario of a table."""
    return pytest.mark.parametrize(
        "scenario", [pytest.param(text, id=title) for title, text in table.items()]
    )


def effects_of(box: Box, kind: type[Effect]) -> list[Effect]:
    """Return all effects of one kind that the actor has asked for."""
    return [effect for _, effects in box.actor.answers for effect in effects if isinstance(effect, kind)]


EFFECTS: Final = (Record, Unlock, Lock, HoldOpen, Show, TakeReading)
