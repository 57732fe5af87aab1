"""The step from decision to world: in order, records first, and nothing behind a record that failed."""

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.config import load_policy
from gate.core.actor import GateActor
from gate.core.codes import Trust, TrustedKey
from gate.core.codes.trust import DOCUMENTS
from gate.core.commands import CentreWord
from gate.core.documents import Document, Suspension, sign_document
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
from gate.core.events import Event, Kind, Result, Stage, gate_stopped, visit_closed, visit_decided
from gate.core.evidence import Direction, Evidence, MaskStatus, Reading
from gate.core.inputs import (
    ArmTurned,
    AttendantConfirmed,
    DocumentReceived,
    FireAlarmChanged,
    Input,
    LedgerRenewed,
    MaskSeen,
    PersonArrived,
    ReadingTaken,
    ReceiptDisagreed,
    RecordFailed,
    TimePassed,
)
from gate.core.moment import NS_PER_S, Moment
from gate.core.rules import decide
from gate.core.texts import Key
from gate.core.uses import Use
from gate.perform import Brain, Outputs
from gate.ports import Entry, RecordFailure
from gate.store.ledger import Ledger, entries, verify

NOW = Moment(1, 1_700_000_000_000, clock_trusted=True)


class World:
    """All roles in one, noting what reaches them in order; the ledger behind it is a real one."""

    def __init__(self, path: Path) -> None:
        self.ledger = Ledger(path, site="hall", gate="g1", new_epoch="epoch", boot_id="boot")
        self.path = path
        self.did: list[object] = []
        self.fails_from: int | None = None
        self.appends = 0

    def append(
        self,
        event: Event,
        now: Moment,
        use: Use | None = None,
        *,
        word: CentreWord | None = None,
        sealed: bytes | None = None,
    ) -> Entry:
        self.appends += 1
        if self.fails_from is not None and self.appends >= self.fails_from:
            self.did.append(("failed", event.kind))
            raise RecordFailure("disk full")
        entry = self.ledger.append(event, now, use, word=word, sealed=sealed)
        assert list(entries(self.path))[-1] == entry  # readable by others before anything follows
        self.did.append(("append", event.kind))
        return entry

    def recorded(self, entry: Entry) -> None:
        self.did.append(("recorded", entry.seq))

    def unlock(self, duration_ms: int) -> bool:
        self.did.append(("unlock", duration_ms))
        return True

    def lock(self) -> None:
        self.did.append("lock")

    def hold_open(self) -> None:
        self.did.append("hold open")

    def request(self, visit: str) -> None:
        self.did.append(("request", visit))

    def ask_service(self, *question: object) -> None:
        self.did.append(("ask", *question))

    def keep_document(self, *document: object) -> None:
        self.did.append(("keep", *document))


class Screen:
    def __init__(self, did: list[object]) -> None:
        self._did = did

    def show(self, *what: object) -> None:
        self._did.append(("show", *what))


class Scripted(GateActor):
    """An actor that asks for what the test wants; for `RecordFailed` it locks."""

    effects: list[Effect]

    def handle(self, happened: Input, now: Moment) -> list[Effect]:
        return [Lock()] if isinstance(happened, RecordFailed) else self.effects


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "ledger.db")
    yield world
    world.ledger.close()


def make_actor(kind: type[GateActor] = GateActor) -> GateActor:
    return kind(load_policy("county-hall"), Trust(), "hall", "0a1b2c3d")


def make_brain(world: World, actor: GateActor, observe: object = None) -> Brain:
    screen = Screen(world.did)
    outputs = Outputs(
        world,
        screen,  # type: ignore[arg-type]  # lamps and display in one
        screen,
        world,
        world,
        world.recorded,
        world.ask_service,
        world.keep_document,
    )
    return Brain(actor, outputs, observe)  # type: ignore[arg-type]  # a function


def admit(brain: Brain) -> None:
    """Bring a visitor without a phone to the point where the person on duty lets them in."""
    brain.step(PersonArrived(), NOW)
    brain.step(MaskSeen(MaskStatus.WORN), NOW)
    brain.step(AttendantConfirmed(), NOW)
    brain.step(ReadingTaken("0a1b2c3d-000001", Reading(3650, 3650, 3650)), NOW)


def test_a_pass_is_on_disk_before_the_arm_is_free(world: World) -> None:
    brain = make_brain(world, make_actor())
    admit(brain)
    assert world.did == [
        ("show", Key.WELCOME, ()),
        ("show", LightSignal.WAIT),
        ("request", "0a1b2c3d-000001"),
        ("append", Kind.VISIT_DECIDED),
        ("recorded", 1),
        ("unlock", 300),
        ("show", Key.PASS_PLEASE, ()),
        ("show", LightSignal.GO),
    ]
    assert verify(world.path).records == 1


def test_every_effect_reaches_its_place_in_order(world: World) -> None:
    actor = make_actor(Scripted)
    assert isinstance(actor, Scripted)
    actor.effects = [
        HoldOpen(),
        Lock(),
        Record(gate_stopped()),
        Unlock(400),
        Show(Key.PLEASE_WAIT_RETEST, LightSignal.WAIT, (("wait_s", "3"),)),
        TakeReading("visit"),
        AskService("visit", b"token", "CN-31"),
        KeepDocument("occupancy-centre", b"HGD1:"),
    ]
    make_brain(world, actor).step(TimePassed(), NOW)
    assert world.did == [
        "hold open",
        "lock",
        ("append", Kind.GATE_STOPPED),
        ("recorded", 1),
        ("unlock", 400),
        ("show", Key.PLEASE_WAIT_RETEST, (("wait_s", "3"),)),
        ("show", LightSignal.WAIT),
        ("request", "visit"),
        ("ask", "visit", b"token", "CN-31"),
        ("keep", "occupancy-centre", b"HGD1:"),
    ]


def test_a_gate_without_services_and_documents_does_nothing_about_them(world: World) -> None:
    actor = make_actor(Scripted)
    assert isinstance(actor, Scripted)
    actor.effects = [AskService("visit", b"token", "CN-31"), KeepDocument("x", b""), Lock()]
    screen = Screen(world.did)
    outputs = Outputs(world, screen, screen, world, world, world.recorded)  # type: ignore[arg-type]  # all in one
    Brain(actor, outputs).step(TimePassed(), NOW)
    assert world.did == ["lock"]


def test_what_the_centre_asks_for_reaches_its_place(world: World) -> None:
    actor = make_actor(Scripted)
    assert isinstance(actor, Scripted)
    actor.effects = [SendAgain(40), MakeCheckpoint(), AdoptPolicy("text", "c5")]
    actor.effects += [RequestUpdate("0.2.0", "c6"), RenewLedger("clone")]
    screen = Screen(world.did)
    outputs = Outputs(
        world,
        screen,  # type: ignore[arg-type]  # lamps and display in one
        screen,
        world,
        world,
        world.recorded,
        send_again=lambda after: world.did.append(("again", after)),
        make_checkpoint=lambda: world.did.append("checkpoint"),
        adopt_policy=lambda *policy: world.did.append(("adopt", *policy)),
        request_update=lambda *update: world.did.append(("update", *update)),
    )
    Brain(actor, outputs).step(TimePassed(), NOW)
    assert world.did == [("again", 40), "checkpoint", ("adopt", "text", "c5"), ("update", "0.2.0", "c6")]
    Brain(actor, Outputs(world, screen, screen, world, world, world.recorded)).step(TimePassed(), NOW)  # type: ignore[arg-type]  # all in one
    assert len(world.did) == 4


def test_nothing_comes_between_a_new_epoch_and_its_first_record(world: World) -> None:
    heard: list[object] = []
    screen = Screen(world.did)

    def renew(reason: str) -> LedgerRenewed:
        previous = world.ledger.renew("epoch-2", reason)
        world.did.append("renewed")
        return LedgerRenewed(world.ledger.epoch, previous)

    outputs = Outputs(world, screen, screen, world, world, world.recorded, renew_ledger=renew)  # type: ignore[arg-type]  # all in one
    brain = Brain(make_actor(), outputs, lambda happened, effect, _now: heard.append((happened, effect)))
    brain.step(ReceiptDisagreed(40, "beyond the head"), NOW)
    assert world.did == [
        ("append", Kind.ANOMALY),
        ("recorded", 1),
        "renewed",
        ("append", Kind.EPOCH_STARTED),
        ("recorded", 1),
    ]
    first = json.loads(next(entries(world.path)).body)["data"]
    assert (first["reason"], first["previous"]["size"]) == ("beyond the head", 1)
    # The observer hears of the renewal once it is complete.
    kinds = [type(happened) if effect is None else type(effect) for happened, effect in heard]
    assert kinds == [ReceiptDisagreed, Record, LedgerRenewed, Record, RenewLedger]


def test_the_word_of_the_centre_is_on_disk_with_its_record(world: World) -> None:
    actor = make_actor(Scripted)
    assert isinstance(actor, Scripted)
    word = CentreWord(5, "flood")
    actor.effects = [Record(gate_stopped(), word=word)]
    world.fails_from = 1
    make_brain(world, actor).step(TimePassed(), NOW)
    assert world.ledger.word() == CentreWord()
    world.fails_from = None
    make_brain(world, actor).step(TimePassed(), NOW)
    assert world.ledger.word() == word


def test_what_is_sealed_is_on_disk_with_its_record(world: World) -> None:
    actor = make_actor(Scripted)
    assert isinstance(actor, Scripted)
    event = gate_stopped()
    declared = replace(event, data={**event.data, "sealed": sha256(b"box").hexdigest()})
    actor.effects = [Record(declared, sealed=b"box")]
    make_brain(world, actor).step(TimePassed(), NOW)
    assert next(entries(world.path)).sealed == b"box"


def test_the_use_of_a_pass_is_on_disk_with_its_record(world: World) -> None:
    use = Use("county/cafe0001", Direction.IN, NOW.wall_ms)
    actor = make_actor(Scripted)
    assert isinstance(actor, Scripted)
    actor.effects = [Record(gate_stopped(), use), Lock()]
    world.fails_from = 1
    make_brain(world, actor).step(TimePassed(), NOW)
    assert world.ledger.uses() == ()
    world.fails_from = None
    make_brain(world, actor).step(TimePassed(), NOW)
    assert world.ledger.uses() == (use,)
    assert verify(world.path).records == 1


def test_a_use_is_on_disk_before_the_arm_is_released_and_given_back_with_the_end_of_the_visit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the record that lets somebody pass; should the power fail then, the pass stays used."""
    use = Use("county/cafe0001", Direction.IN, NOW.wall_ms)
    seen: list[object] = []

    def unlock(_duration_ms: int) -> bool:
        seen.append(world.ledger.uses())
        return True

    monkeypatch.setattr(world, "unlock", unlock)
    actor = make_actor(Scripted)
    assert isinstance(actor, Scripted)
    evidence = Evidence()
    decision = decide(load_policy("county-hall"), "0" * 64, evidence)
    actor.effects = [
        Record(visit_decided("0a1b2c3d-000001", Stage.AUTHORISED, decision, evidence, (), 1), use),
        Unlock(500),
    ]
    make_brain(world, actor).step(TimePassed(), NOW)
    assert seen == [(use,)]
    given_back = replace(use, at_ms=0, count=0)
    actor.effects = [Record(visit_closed("0a1b2c3d-000001", Result.NOT_PASSED, 1), given_back)]
    make_brain(world, actor).step(TimePassed(), NOW)
    assert world.ledger.uses() == ()


def test_a_document_is_kept_although_the_ledger_takes_no_record_of_it(world: World) -> None:
    """It holds from now on; after the next start it must not be missing."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    trusted = TrustedKey("centre", "Centre", key.public_key().public_bytes_raw(), frozenset({DOCUMENTS}))
    actor = GateActor(load_policy("county-hall"), Trust((trusted,)), "hall", "0a1b2c3d")
    document = Document("hall", "centre", 1, 1_600_000_000, 1_800_000_000, Suspension(suspended=True))
    text = sign_document(key, document).encode()
    world.fails_from = 1
    make_brain(world, actor).step(DocumentReceived(text), NOW)
    assert world.did[:2] == [("keep", "suspension-centre", text), ("failed", Kind.DOCUMENT)]


def test_nothing_behind_a_failed_record_is_done_and_the_actor_is_told_at_once(world: World) -> None:
    actor = make_actor(Scripted)
    assert isinstance(actor, Scripted)
    actor.effects = [
        Record(gate_stopped()),
        Record(gate_stopped()),
        Unlock(400),
        Lock(),
        Record(gate_stopped()),
    ]
    world.fails_from = 2
    make_brain(world, actor).step(TimePassed(), NOW)
    assert world.did == [
        ("append", Kind.GATE_STOPPED),
        ("recorded", 1),
        ("failed", Kind.GATE_STOPPED),
        "lock",
    ]


def test_no_record_no_pass(world: World) -> None:
    brain = make_brain(world, make_actor())
    world.fails_from = 1
    admit(brain)
    assert world.did[3:] == [
        ("failed", Kind.VISIT_DECIDED),
        "lock",
        ("show", Key.GATE_FAULT, ()),
        ("show", LightSignal.STOP),
    ]
    assert brain.actor.visit is None
    world.fails_from = None
    later = Moment(11 * NS_PER_S, 1, clock_trusted=True)
    for _ in range(4):
        brain.step(TimePassed(), later)
    kinds = [Kind.VISIT_DECIDED, Kind.VISIT_CLOSED, Kind.GATE_MODE, Kind.GATE_MODE]
    assert [did[1] for did in world.did if isinstance(did, tuple) and did[0] == "append"] == kinds
    assert verify(world.path).records == 4


def test_a_fire_opens_before_the_disk_is_asked(world: World) -> None:
    brain = make_brain(world, make_actor())
    world.fails_from = 1
    brain.step(FireAlarmChanged(active=True), NOW)
    assert world.did[0] == "hold open"
    assert "lock" not in world.did


def test_the_observer_hears_the_input_first_and_each_effect_once_it_is_done(world: World) -> None:
    heard: list[object] = []

    def observe(happened: Input, effect: Effect | None, now: Moment) -> None:
        assert now is NOW
        heard.append((type(happened), type(effect), len(world.did)))

    make_brain(world, make_actor(), observe).step(ArmTurned(), NOW)
    assert heard == [
        (ArmTurned, type(None), 0),
        (ArmTurned, Record, 2),  # the append and its echo
        (ArmTurned, Show, 4),
    ]


def test_the_observer_hears_of_a_failed_record_by_its_consequence(world: World) -> None:
    heard: list[object] = []
    world.fails_from = 1
    brain = make_brain(
        world, make_actor(), lambda happened, effect, _now: heard.append((type(happened), type(effect)))
    )
    brain.step(ArmTurned(), NOW)
    assert heard == [
        (ArmTurned, type(None)),
        (RecordFailed, type(None)),
        (RecordFailed, Lock),
        (RecordFailed, Show),
    ]


def test_an_error_of_the_program_is_not_swallowed(world: World) -> None:
    def broken(_event: Event, _now: Moment, _use: Use | None = None, **_: object) -> Entry:
        raise ZeroDivisionError

    world.append = broken  # type: ignore[method-assign]  # on purpose
    with pytest.raises(ZeroDivisionError):
        make_brain(world, make_actor()).step(ArmTurned(), NOW)
