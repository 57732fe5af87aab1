"""A gate in a box: the real actor and the real `Brain` in virtual time, and a language for scenarios.

A scenario is a table of two columns, read from the top: what happens | what the gate does, in order and
complete; an empty right column says that it does nothing. A line that begins with the bar goes on with the
one above. Time moves with `wait` alone, and the wall clock also when it is set (`clock moves 3600`).

    arrives      | welcome; measure
    36.50        |
    shows green  | authorised; UNLOCK; pass_please
    turns        | passed; LOCK; idle

Passes are shown by name (`PASSES`; `TOKENS` for codes that a service is asked about; `PHONES` for passes that
rotate: `holds up bound`, or a copy of it, `holds up bound of 30 s ago`). The person on duty writes down what
stands in `_NOTES`: `desk notes name, phone, ID checked`. Who speaks of a certain visit names it: `of visit 2:
staff confirms`, `of nobody: mask on`. A verify service answers its newest question: `service says green`,
`service timeout`. A signed document comes as `document 2: residents resident` (version
and content), perhaps `for 60` (until 60 s from the box's first instant), `by office`, `elsewhere` (for
another site) or `forged`. A command of the centre comes as `command 5 suspend power cut` (counter, name,
argument), perhaps `forged`, `retained`, `misaddressed`, `expired`, `early` or a `stranger's`; a policy that
it has brought as `policy bureau` or `policy cannot be read`; receipts as `receipt went back` and `receipt
disagrees`.

Effects are written as the screen's key (`idle`, `out of order` … for the screens without a visit), `measure`,
`LOCK`, `UNLOCK`, `OPEN`, `ask` and a region, `keep` and a document, `checkpoint`, `send again after 5`,
`adopt` and a command, `RENEW`, or what is recorded: a stage with the
rule and reason of each deciding finding (`refused TR-1:expired`), a result (`passed`), or another event
(`mode degraded`, `document residents 2 accepted`). A record that fails is followed by `!`; one that comes
late is preceded by `late`.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jsonschema import Draft202012Validator

from gate.config import load_policy
from gate.core.actor import GateActor
from gate.core.codes import Credential, LabTest, Status, Travel, Trust, TrustedKey, base45, rotating
from gate.core.codes.home import PassClaims, issue, read_pass
from gate.core.codes.model import REGISTRATION_FIELDS
from gate.core.codes.service import Outcome, ServiceAnswer
from gate.core.codes.trust import DOCUMENTS
from gate.core.codes.trust import PASSES as PASS_KINDS
from gate.core.commands import NOTHING_SAID, Address, CentreWord, Command, Name
from gate.core.delivery import PreviousEpoch
from gate.core.documents import (
    Appointment,
    Appointments,
    Content,
    Document,
    Occupancy,
    Residents,
    Revocations,
    RiskAreas,
    Suspension,
    sign_document,
)
from gate.core.effects import (
    AdoptPolicy,
    AskService,
    Effect,
    HoldOpen,
    KeepDocument,
    LightSignal,
    Lock,
    MakeCheckpoint,
    Record,
    RenewLedger,
    RequestUpdate,
    SendAgain,
    Show,
    TakeReading,
    Unlock,
)
from gate.core.events import BODY_BYTES_MAX, Event, Kind, Origin, encode
from gate.core.evidence import Direction, MaskStatus, Person, Reading, Symptom, Unmeasured
from gate.core.evidence import Origin as ComesFrom
from gate.core.inputs import (
    NOBODY,
    ArmTurned,
    AttendantConfirmed,
    AttendantNoted,
    AttendantRefused,
    CodesRead,
    CommandReceived,
    Device,
    DeviceFailed,
    DeviceRecovered,
    DocumentReceived,
    FireAlarmChanged,
    InboxOverflowed,
    Input,
    LedgerOpened,
    LedgerRenewed,
    MaskSeen,
    PersonArrived,
    PersonLeft,
    PolicyReceived,
    PolicyRejected,
    ReadingTaken,
    ReceiptDisagreed,
    ReceiptWentBack,
    ServiceAnswered,
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
EPOCH_2: Final = "44556677ccddeeff"
MONO_0_NS: Final = 1_000 * NS_PER_S
WALL_0_S: Final = 1_700_000_000
WAKEUPS_AT_ONE_INSTANT_MAX: Final = 2_000

KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OFFICE: Final = Ed25519PrivateKey.from_private_bytes(b"\x04" * 32)
STRANGER: Final = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
CENTRE: Final = Ed25519PrivateKey.from_private_bytes(b"\x0c" * 32)
CENTRE_KEYS: Final = (CENTRE.public_key().public_bytes_raw(),)
HOLDER: Final = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
ISSUERS: Final = {KEY: "county", OFFICE: "office", STRANGER: "county"}
COUNTY_PASSES: Final = (Credential.VISITOR, Credential.APPOINTMENT)
SERVICES: Final = frozenset({"CN-31", "CN-32"})
BOOKED_S: Final = -60_000
"""When appointments are made, unless said otherwise: the day before at 13:33, as the box begins at 06:13."""

TRUST: Final = Trust(
    (
        TrustedKey(
            "county",
            "County",
            KEY.public_key().public_bytes_raw(),
            frozenset({DOCUMENTS, *COUNTY_PASSES}),
        ),
        TrustedKey(
            "office",
            "Office",
            OFFICE.public_key().public_bytes_raw(),
            frozenset({DOCUMENTS, *(kind for kind in PASS_KINDS if kind not in COUNTY_PASSES)}),
        ),
    )
)


def make_pass(
    person: int,
    *,
    key: Ed25519PrivateKey = KEY,
    starts_s: int = -3600,
    ends_s: int = 86_400,
    issued_s: int | None = None,
    number: int = 1,
    site: str = SITE,
    status: Status = Status.GREEN,
    credential: Credential = Credential.VISITOR,
    registered: tuple[str, ...] = ("name", "phone"),
    travel: Travel = Travel.CLEAR,
    uses_max: int | None = None,
    holder_key: Ed25519PrivateKey | None = None,
) -> bytes:
    """Issue a pass for one person; times are seconds from the box's first instant."""
    claims = PassClaims(
        issuer=ISSUERS[key],
        subject=person.to_bytes(8, "big"),
        site=site,
        valid_from=WALL_0_S + starts_s,
        valid_until=WALL_0_S + ends_s,
        issued_at=WALL_0_S + (starts_s if issued_s is None else issued_s),
        pass_id=(person * 256 + number).to_bytes(4, "big"),
        credential=credential,
        status=status,
        registered=frozenset(registered),
        travel=travel,
        uses_max=uses_max,
        holder_key=None if holder_key is None else holder_key.public_key().public_bytes_raw(),
    )
    return issue(key, claims).encode()


def slot(person: int, from_s: int, until_s: int, *, booked_s: int = BOOKED_S) -> bytes:
    """Issue an appointment, on paper."""
    return make_pass(
        person,
        credential=Credential.APPOINTMENT,
        starts_s=from_s,
        ends_s=until_s,
        issued_s=booked_s,
        registered=("name", "phone", "id_number"),
    )


def office_pass(person: int, credential: Credential, **more: Any) -> bytes:
    """Issue what an office gives to its own people and to households."""
    registered = ("name", "phone", "id_number")
    return make_pass(person, key=OFFICE, credential=credential, registered=registered, **more)


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
    "known": make_pass(1, number=3, registered=("name", "phone", "id_number")),
    "exposed": make_pass(1, number=4, travel=Travel.RISK_AREA),
    "untravelled": make_pass(1, number=5, travel=Travel.UNKNOWN),
    "twice": make_pass(1, number=6, uses_max=2),
    "early_red": make_pass(1, number=7, starts_s=3600, status=Status.RED),
    "old_red": make_pass(1, number=8, ends_s=-1, status=Status.RED),
    "slot": slot(11, 600, 1200),
    "late_booked": slot(11, 600, 1200, booked_s=-49_399),
    "just_booked": slot(11, 600, 1200, booked_s=-49_400),
    "staff": office_pass(12, Credential.STAFF),
    "colleague": office_pass(13, Credential.STAFF),
    "resident": office_pass(14, Credential.RESIDENT),
    "neighbour": office_pass(15, Credential.RESIDENT),
    "household": office_pass(14, Credential.HOUSEHOLD, number=2, ends_s=3600, uses_max=2),
    "household_soon": office_pass(14, Credential.HOUSEHOLD, number=3, starts_s=200, issued_s=-60),
    "household_red": office_pass(14, Credential.HOUSEHOLD, number=4, ends_s=3600, status=Status.RED),
    "supplier": office_pass(16, Credential.SUPPLY, ends_s=3600),
    "copy_resident": office_pass(19, Credential.RESIDENT, holder_key=HOLDER),
    "copy": make_pass(17, holder_key=HOLDER),
}
# Passes that rotate on the phone of their holder.
PHONES: Final = {
    "bound": (HOLDER, make_pass(17, holder_key=HOLDER)),
    "bound_staff": (HOLDER, office_pass(18, Credential.STAFF, holder_key=HOLDER)),
    "bound_resident": (HOLDER, office_pass(19, Credential.RESIDENT, holder_key=HOLDER)),
}
# Codes of which only a verify service knows the colour; each with the region that is asked.
TOKENS: Final = {
    "token": b"https://jsstm.jszwfw.gov.cn/jkmIndex.html?token=0123456789abcdef",
    "other_token": b"https://jsstm.jszwfw.gov.cn/jkmIndex.html?token=fedcba9876543210",
    "dated_token": b"https://s.sh.gov.cn/%032x%d" % (0xC0DE, WALL_0_S * 1000),
    "unserved_token": b"https://h5.dingtalk.com/healthAct/index.html?token=0123456789abcdef",
}
TOKEN_HOLDER: Final = "00000000000000c1"


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
        self,
        policy: str | Policy = "county-hall",
        *,
        clock_trusted: bool = True,
        wall_0_s: int = WALL_0_S,
        direction: Direction = Direction.IN,
        services: frozenset[str] = SERVICES,
    ) -> None:
        self.policy = load_policy(policy) if isinstance(policy, str) else policy
        self.actor = ScribedActor(
            self.policy, TRUST, SITE, RUN, direction, services, ORIGIN.gate, CENTRE_KEYS
        )
        self.actor.answers = []
        self.now = Moment(MONO_0_NS, wall_0_s * 1000, clock_trusted)
        self.ledger_works = True
        self.recorded: list[Event] = []
        self.uses_recorded: list[Use] = []
        self.sealed_recorded: list[tuple[Event, bytes]] = []
        self.requests: list[str] = []
        self.questions: list[tuple[str, bytes, str]] = []
        self.kept: dict[str, bytes] = {}
        self.word_recorded = NOTHING_SAID
        self.epoch = ORIGIN.epoch
        self.renews = True
        self.performed: list[str] = []
        ledger: Any = self  # and every other role too
        outputs = Outputs(
            ledger,
            ledger,
            ledger,
            ledger,
            ledger,
            lambda _entry: None,
            self.ask,
            self.keep,
            self.renew,
            lambda after: self.performed.append(f"send again after {after}"),
            lambda: self.performed.append("checkpoint"),
            lambda _text, command: self.performed.append(f"adopt {command}"),
            lambda version, command: self.performed.append(f"ask for {version} by {command}"),
        )
        self.brain = Brain(self.actor, outputs)

    # --- the roles

    def append(
        self,
        event: Event,
        now: Moment,
        use: Use | None = None,
        *,
        word: CentreWord | None = None,
        sealed: bytes | None = None,
    ) -> Entry:
        assert event.data.get("sealed") == (sealed and sha256(sealed).hexdigest())
        told = _word(event)
        if not self.ledger_works:
            self.performed.append(told + "!")
            raise RecordFailure("disk full")
        self.recorded.append(event)
        self.performed.append(told)
        if sealed is not None:
            self.sealed_recorded.append((event, sealed))
        if word is not None:
            self.word_recorded = word
        if use is not None:
            self.uses_recorded.append(use)
        return Entry(len(self.recorded), checked_body(event, len(self.recorded), now))

    def open_visits(self) -> tuple[str, ...]:
        return ()

    def uses(self) -> tuple[Use, ...]:
        """Return the last row of each pass and direction, which is the one that counts."""
        return tuple({(use.key, use.direction): use for use in self.uses_recorded}.values())

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

    def ask(self, visit: str, token: bytes, region: str) -> None:
        self.questions.append((visit, token, region))
        self.performed.append(f"ask {region}")

    def keep(self, name: str, text: bytes) -> None:
        self.kept[name] = text
        self.performed.append(f"keep {name}")

    def renew(self, reason: str) -> LedgerRenewed | None:
        """Put the ledger aside, unless the disk lets nobody."""
        if not self.renews:
            self.performed.append("RENEW!")
            return None
        self.performed.append("RENEW")
        previous = PreviousEpoch(self.epoch, len(self.recorded), "ab" * 32, reason)
        self.epoch = EPOCH_2
        return LedgerRenewed(EPOCH_2, previous)

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

    def set_clock(self, seconds: float) -> None:
        """Move the wall clock alone."""
        self.now = replace(self.now, wall_ms=self.now.wall_ms + int(seconds * 1000))

    def read(self, *names: str, fragment: bool = False) -> list[str]:
        """Show passes by name."""
        payloads = (PASSES[name] if name in PASSES else TOKENS[name] for name in names)
        return self.feed(
            CodesRead(tuple(payload[:60] if fragment else payload for payload in payloads), fragment)
        )

    def hold_up(self, name: str, age_s: int = 0) -> list[str]:
        """Show a rotating pass as a phone shows it now, or showed it some seconds ago."""
        return self.feed(CodesRead((rotated(name, self.now.wall_s - age_s),)))

    def say(self, answer: ServiceAnswer, question: tuple[str, bytes, str] | None = None) -> list[str]:
        """Let a verify service answer the newest question, or an earlier one."""
        visit, token, _region = question or self.questions[-1]
        return self.feed(ServiceAnswered(visit, token, answer))

    def answer(self, value: str) -> list[str]:
        """Let the thermometer answer its newest request: "36.50", "37.40 +-0.10" or a word for why not."""
        return self.feed(ReadingTaken(self.requests[-1], measurement(value)))

    # --- what came out

    def data(self, kind: Kind) -> list[dict[str, Any]]:
        """Return the data of all durable events of one kind."""
        return [event.data for event in self.recorded if event.kind is kind]

    @property
    def reasons(self) -> set[str]:
        """Name what the newest decision on record rests on."""
        verdict = self.decided["verdict"]
        return {found["reason"] for found in self.decided["findings"] if found["verdict"] == verdict}

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


def rotated(name: str, at_s: int) -> bytes:
    """Return what a phone shows of a rotating pass at an instant (unix seconds)."""
    holder, text = PHONES[name]
    return rotating.present(holder, text.decode(), at_s).encode()


def pass_id(name: str) -> str:
    """Return the id of a pass, in hexadecimal digits."""
    return read_pass(PASSES[name])[1].pass_id.hex()


def subject(name: str) -> str:
    """Return the pseudonym of a pass's holder."""
    return TOKEN_HOLDER if name in TOKENS else read_pass(PASSES[name])[1].subject.hex()


def make_document(
    version: int,
    content: Content,
    *,
    ends_s: int = 604_800,
    key: Ed25519PrivateKey = KEY,
    site: str = SITE,
) -> bytes:
    """Sign a document; its time begins with the box's and ends after some seconds."""
    document = Document(site, ISSUERS[key], version, WALL_0_S, WALL_0_S + ends_s, content)
    return sign_document(key, document).encode()


def content(words: str) -> Content:
    """Read what a document is to say: `suspended`, `revokes green friend`, `counts 99` …"""
    what, *names = words.split()
    match what:
        case "suspended" | "resumed":
            return Suspension(what == "suspended")
        case "revokes":
            return Revocations(frozenset(map(pass_id, names)))
        case "residents":
            return Residents(frozenset(map(subject, names)))
        case "areas":
            return RiskAreas(frozenset(names))
        case "counts":
            return Occupancy(int(names[0]), WALL_0_S)
        case "books":
            return Appointments(frozenset(map(_booking, " ".join(names).split(", "))))
    raise ValueError(f"nothing that a document says: {words!r}")


def _booking(words: str) -> Appointment:
    """Read `green 600-1200`: a slot for the holder of a pass."""
    name, times = words.split()
    start_s, _, end_s = times.partition("-")
    from_s, until_s = WALL_0_S + int(start_s), WALL_0_S + int(end_s)
    return Appointment(subject(name), from_s, until_s, WALL_0_S + BOOKED_S, "b00c0001")


_SCREENS: Final = {
    ("suspended", LightSignal.OFF): "idle, suspended",
    ("closed_hours", LightSignal.OFF): "idle, closed",
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
        case Kind.DEVICE_FAILED | Kind.DEVICE_RECOVERED | Kind.DEVICE_CHECKED:
            return f"{late}{data['device']} {event.kind.rpartition('.')[2]}"
        case Kind.FIRE_ALARM:
            return f"{late}fire {data['passages'] if not data['active'] else 'on'}"
        case Kind.ANOMALY:
            return f"{late}{data['what']}: {data['detail']}"
        case Kind.DOCUMENT:
            return f"{late}document {data['document']} {data['version']} {data['outcome']}"
        case Kind.GATE_STARTED | Kind.GATE_STOPPED:
            return late + event.kind.rpartition(".")[2]
        case Kind.COMMAND:
            parts = ("command", data["counter"], data["command"], data["outcome"], data.get("reason"))
            return late + " ".join([*(str(part) for part in parts if part), *_many(data)])
        case Kind.EPOCH_STARTED:
            return f"{late}epoch after {(data['previous'] or {'size': 'nothing'})['size']}: {data['reason']}"
        case Kind.POLICY_ADOPTED:
            return f"{late}policy {data['policy']} by {data['command']}"
        case Kind.UPDATE:
            return f"{late}update to {data['version']} by {data['command']}: {data['outcome']}"


def _many(data: dict[str, Any]) -> list[str]:
    return [f"x{data['left_out']}"] if "left_out" in data else []


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
    "starts": Started("1.0", epoch=ORIGIN.epoch),
    "stops": Stopped(),
    "receipt went back": ReceiptWentBack(40, 30),
    "receipt disagrees": ReceiptDisagreed(40, "beyond the head"),
    "policy cannot be read": PolicyRejected("no such rule", "c5"),
}
# What the person on duty may write down; the words of registration stand for themselves.
_NOTES: Final[dict[str, dict[str, Any]]] = {
    **{field: {"registered": frozenset({field})} for field in REGISTRATION_FIELDS},
    **{str(person): {"person": person} for person in Person},
    **{str(symptom).replace("_", " "): {"symptoms": frozenset({symptom})} for symptom in Symptom},
    **{f"travel {travel}": {"travel": travel} for travel in Travel},
    **{f"from {origin}": {"origin": origin} for origin in ComesFrom},
    "ID checked": {"id_checked": True},
    "no ID": {"id_checked": False},
    "no symptoms": {"symptoms": frozenset()},
}


def notes(words: str, now: Moment) -> AttendantNoted:
    """Read `name, ID checked, test negative 48 h old`."""
    noted = AttendantNoted()
    for word in words.split(", "):
        if found := re.fullmatch(r"test (negative|positive) (-?[\d.]+) h old", word):
            taken_s = now.wall_ms / 1000 - float(found[2]) * 3600
            noted = replace(noted, test=LabTest(taken_s, found[1] == "negative"))
        for name, value in _NOTES.get(word, {}).items():
            several = isinstance(value, frozenset)
            noted = replace(
                noted, **{name: (getattr(noted, name) or frozenset()) | value if several else value}
            )
        assert found or word in _NOTES, f"nobody writes down {word!r}"
    return noted


def service_answer(words: str) -> ServiceAnswer:
    """Read `green`, `green of nobody`, `green, travel risk_area`: what a service states of a token."""
    status, _, travel = words.removesuffix(" of nobody").partition(", travel ")
    holder = None if words.endswith(" of nobody") else TOKEN_HOLDER
    return ServiceAnswer(Outcome.ANSWERED, Status(status), Travel(travel or "clear"), holder)


def signed(box: Box, forged_: str, elsewhere: str, version: str, issuer: str, ends: str, words: str) -> bytes:
    key = {"county": KEY, "office": OFFICE, "stranger": STRANGER}[issuer or "county"]
    text = make_document(
        int(version),
        content(words),
        ends_s=int(ends or 604_800),
        key=key,
        site="hall-west" if elsewhere else SITE,
    )
    if not forged_:
        return text
    last = len(text) // 2
    return text[:last] + (b"A" if text[last:][:1] != b"A" else b"B") + text[last + 1 :]


# The one argument that some commands take.
_ARGUMENTS: Final = {
    Name.SUSPEND: "reason",
    Name.OPEN_ONCE: "reason",
    Name.DOCUMENT: "text",
    Name.POLICY: "text",
    Name.RESEND: "after",
    Name.UPDATE: "version",
}


def command(
    counter: int,
    name: Name,
    argument: str | int = "",
    *,
    key: Ed25519PrivateKey = CENTRE,
    epoch: str = ORIGIN.epoch,
    starts_s: int = -60,
    ends_s: int = 600,
    from_s: int = WALL_0_S,
) -> bytes:
    """Sign a command; its time is given in seconds from `from_s`."""
    args = {} if name not in _ARGUMENTS else {_ARGUMENTS[name]: argument}
    to = Address(SITE, ORIGIN.gate, epoch)
    return Command(f"c{counter}", to, counter, from_s + starts_s, from_s + ends_s, name, args).signed(key)


_FLAWS: Final[dict[str, dict[str, Any]]] = {
    "forged": {},
    "retained": {},
    "misaddressed": {"epoch": EPOCH_2},
    "expired": {"ends_s": -1},
    "early": {"starts_s": 1},
    "stranger's": {"key": STRANGER},
}


def _commanded(box: Box, flaw: str, counter: str, name: str, argument: str) -> list[str]:
    told: Any = argument or ""
    if name == Name.RESEND:
        told = int(told)
    elif name == Name.DOCUMENT:
        version, _, words = told.partition(": ")
        told = make_document(int(version), content(words)).decode()
    message = command(int(counter), Name(name), told, from_s=box.now.wall_s, **_FLAWS.get(flaw, {}))
    if flaw == "forged":
        message = message.replace(b'"v":1', b'"v": 1')
    return box.feed(CommandReceived(message, flaw == "retained"))


def _of(box: Box, whom: str, phrase: str) -> list[str]:
    """Say something of a certain visit, or of nobody."""
    noted = re.fullmatch(r"desk notes (.+)", phrase)
    word: Any = notes(noted[1], box.now) if noted else _FIXED[phrase]
    visit = NOBODY if whom == "nobody" else f"{RUN}-{int(whom.removeprefix('visit ')):06d}"
    return box.feed(replace(word, visit=visit))


def _toggle(box: Box, *, trusted: bool) -> list[str]:
    box.now = replace(box.now, clock_trusted=trusted)
    return []


def _set_clock(box: Box, seconds: str) -> list[str]:
    box.set_clock(float(seconds))
    return []


_PATTERNS: Final[dict[str, Callable[..., list[str]]]] = {
    r"holds up (\w+)": lambda box, name: box.hold_up(name),
    r"holds up (\w+) of (-?\d+) s ago": lambda box, name, age_s: box.hold_up(name, int(age_s)),
    r"of (nobody|visit \d+): (.+)": _of,
    r"desk notes (.+)": lambda box, words: box.feed(notes(words, box.now)),
    r"service says (.+)": lambda box, words: box.say(service_answer(words)),
    r"service (\w+)": lambda box, word: box.say(ServiceAnswer(Outcome(word))),
    r"service (\w+), complaining of (.+)": lambda box, word, problem: box.say(
        ServiceAnswer(Outcome(word), problems=(problem,))
    ),
    r"(forged )?document( elsewhere)? (\d+)(?: by (\w+))?(?: for (\d+))?: (.+)": lambda box, *words: box.feed(
        DocumentReceived(signed(box, *words))
    ),
    r"(?:(forged|retained|misaddressed|expired|early|stranger's) )?command (\d+) (\w+)(?: (.+))?": _commanded,
    r"policy (\w[\w-]+)": lambda box, name: box.feed(PolicyReceived(load_policy(name), "c5")),
    r"clock moves (-?\d+)": _set_clock,
    r"clock (un)?sure": lambda box, un: _toggle(box, trusted=not un),
    r"shows (\w+)": lambda box, name: box.read(name),
    r"shows (\w+) and (\w+)": lambda box, one, two: box.read(one, two),
    r"shows a piece of (\w+)": lambda box, name: box.read(name, fragment=True),
    r"(\d\d\.\d\d(?: \+-\d\.\d\d)?)": lambda box, value: box.answer(value),
    r"cannot measure, (\w+)": lambda box, reason: box.answer(reason),
    r"wait (\d+(?:\.\d+)?)": lambda box, seconds: box.wait(float(seconds)),
    r"(\w+) fails": lambda box, name: box.feed(DeviceFailed(Device(name), "no answer")),
    r"(\w+) works": lambda box, name: box.feed(DeviceRecovered(Device(name))),
    r"(\d+) inputs lost": lambda box, number: box.feed(InboxOverflowed(int(number))),
    r"ledger opens after (.+)": lambda box, names: box.feed(LedgerOpened(tuple(names.split()), ())),
    r"starts after (.+)": lambda box, names: box.feed(
        Started("1.0", tuple(names.split()), epoch=ORIGIN.epoch)
    ),
}


def act(box: Box, phrase: str) -> list[str]:
    """Do what one phrase of the language says and return what was performed."""
    if phrase in _FIXED:
        return box.feed(_FIXED[phrase])
    if phrase in {"disk fills up", "disk has room"}:
        box.ledger_works = phrase == "disk has room"
        return []
    if phrase in {"no new file can be made", "new files can be made"}:
        box.renews = phrase == "new files can be made"
        return []
    for pattern, deed in _PATTERNS.items():
        if found := re.fullmatch(pattern, phrase):
            return deed(box, *found.groups())
    raise ValueError(f"not a phrase of the language: {phrase!r}")


def do(box: Box, *phrases: str) -> list[str]:
    """Do what phrases of the language say, one after the other, and return all that was performed."""
    return [word for phrase in phrases for word in act(box, phrase)]


def play(scenario: str, box: Box | None = None) -> Box:
    """Play a scenario against a gate and fail at the first line where the gate does something else."""
    box = box or Box()
    for phrase, expected in _lines(scenario):
        performed = act(box, phrase)
        assert performed == expected, f"{phrase}\n  expected {expected}\n  but was  {performed}"
    return box


def _lines(scenario: str) -> list[tuple[str, list[str]]]:
    """Split a scenario into its lines; one that begins with the bar goes on with the column above."""
    columns: list[tuple[str, list[str]]] = []
    for line in scenario.strip().splitlines():
        phrase, _, column = (part.strip() for part in line.partition("|"))
        if phrase:
            columns.append((phrase, []))
        columns[-1][1].append(column)
    return [
        (phrase, [word.strip() for word in " ".join(parts).split(";") if word.strip()])
        for phrase, parts in columns
    ]


def scenarios(table: dict[str, str]) -> pytest.MarkDecorator:
    """Make one test of each scenario of a table."""
    return pytest.mark.parametrize(
        "scenario", [pytest.param(text, id=title) for title, text in table.items()]
    )


def effects_of(box: Box, kind: type[Effect]) -> list[Effect]:
    """Return all effects of one kind that the actor has asked for."""
    return [effect for _, effects in box.actor.answers for effect in effects if isinstance(effect, kind)]


EFFECTS: Final = (
    Record,
    Unlock,
    Lock,
    HoldOpen,
    Show,
    TakeReading,
    AskService,
    KeepDocument,
    RenewLedger,
    SendAgain,
    MakeCheckpoint,
    AdoptPolicy,
    RequestUpdate,
)
