"""Gates whose records go straight into a store, in virtual time, for reports of any day."""

from datetime import datetime
from functools import partial
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central.reports.day import Order, Report, report_of, span_for
from central.reports.scopes import Scope
from central.reports.settings import ReportSettings
from central.store import AlarmKind, Arrived, Ingested, Outcome, Store, Suspicion
from gate.core import events
from gate.core.chain import genesis, link
from gate.core.codes.model import Authenticity, CodeResult, Format, Freshness, Reason, Status
from gate.core.commands import Address, Command, Name
from gate.core.delivery import Ask, Checkpoint, PreviousEpoch, Receipt, Why
from gate.core.events import Event, Origin, Result, Stage, encode
from gate.core.evidence import Direction, Evidence, MaskStatus, Reading, Symptom, Unmeasured
from gate.core.inputs import Device
from gate.core.moment import Moment
from gate.core.policy import Decision, Disposition, Finding, Verdict

ZONE = ZoneInfo("Asia/Shanghai")
SETTINGS = ReportSettings()
CENTRE_KEY = Ed25519PrivateKey.from_private_bytes(b"c" * 32)
CENTRE_PUBLIC = (CENTRE_KEY.public_key().public_bytes_raw(),)
EVERYTHING = Scope(1, "all")
MINUTE = 60_000


def decision(verdict: Verdict, rule: str, reason: str, goes: Disposition = Disposition.NONE) -> Decision:
    return Decision(verdict, goes, (Finding(rule, verdict, reason, goes),), "county", "0" * 64)


ADMIT = decision(Verdict.ADMIT, "TR-1", "code_ok")
FEVER = decision(Verdict.REFUSE, "TH-4", "temperature_fever", Disposition.FEVER_CLINIC)
RETEST = decision(Verdict.RETEST, "TH-4", "temperature_raised")
REFER = decision(Verdict.REFER, "TR-1", "code_missing")
SUSPENDED = Decision(
    Verdict.REFUSE,
    Disposition.NONE,
    (
        Finding("CO-7", Verdict.REFUSE, "suspended"),
        Finding("MA-1", Verdict.REFUSE, "mask_missing"),
        Finding("TR-1", Verdict.REFER, "code_missing"),
    ),
    "county",
    "0" * 64,
)
RED = decision(Verdict.REFUSE, "TR-2", "status_red")


def ms(text: str, zone: ZoneInfo = ZONE) -> int:
    """Return a local time such as 2022-04-11T17:00 as unix milliseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def code(status: Status = Status.GREEN, subject: str = "1a2b3c4d5e6f7a8b") -> CodeResult:
    reason = {Status.RED: Reason.STATUS_RED, Status.YELLOW: Reason.STATUS_YELLOW}.get(status, Reason.OK)
    return CodeResult(
        Format.HOME, reason, status, Authenticity.VERIFIED, Freshness.CURRENT, subject_ref=subject
    )


NORMAL = Evidence(measurements=(Reading(3650, 3630, 3670),), code=code(), mask=MaskStatus.WORN)
HOT = Evidence(
    measurements=(Reading(3790, 3770, 3810), Reading(3800, 3780, 3820)),
    code=code(),
    mask=MaskStatus.WORN,
    symptoms=frozenset({Symptom.COUGH}),
)
LEAVING = Evidence(measurements=(Unmeasured("timeout"),), direction=Direction.OUT)


class TownGate:
    """One gate: writes into its own ledger, and sends when told to."""

    def __init__(self, store: Store, site: str = "north", gate: str = "g-1", epoch: str = "epoch1") -> None:
        self.store, self.site, self.gate = store, site, gate
        self.key = Ed25519PrivateKey.from_private_bytes(f"{site}/{gate}".encode().ljust(32, b"."))
        self.visits = 0
        self.begin(epoch)

    def begin(self, epoch: str) -> None:
        """Begin a ledger."""
        self.epoch, self.bodies, self.hashes, self.sent = epoch, list[bytes](), [genesis(epoch)], 0

    def register(self, at: str = "2022-01-01T00:00") -> None:
        public = self.key.public_key().public_bytes_raw()
        self.store.register_gate(self.site, self.gate, public, ms(at))

    def write(self, event: Event, at_ms: int, *, trusted: bool = True) -> int:
        """Write a record; return its number."""
        seq = len(self.bodies) + 1
        origin = Origin(self.site, self.gate, self.epoch, "boot")
        self.bodies.append(encode(event, origin, seq, Moment(seq, at_ms, trusted)))
        self.hashes.append(link(self.hashes[-1], self.bodies[-1]))
        return seq

    def visit(
        self,
        at_ms: int,
        *stages: tuple[Stage, Decision],
        evidence: Evidence = NORMAL,
        result: Result | None = Result.PASSED,
        steps: tuple[Decision, ...] = (),
        trusted: bool = True,
    ) -> str:
        """Write a visit: its decisions a second apart, and its end a second later."""
        self.visits += 1
        name = f"0a1b2c3d-{self.visits:06}"
        for stage, decision in stages or ((Stage.AUTHORISED, ADMIT),):
            event = events.visit_decided(name, stage, decision, evidence, steps, 1200)
            self.write(event, at_ms, trusted=trusted)
            at_ms += 1000
        if result is not None:
            self.write(events.visit_closed(name, result, 2000), at_ms, trusted=trusted)
        return name

    def send(self, now_ms: int, *, without: frozenset[int] = frozenset()) -> Ingested:
        """Send what was not sent yet."""
        first, self.sent = self.sent, len(self.bodies)
        arrived = [
            Arrived(self.site, self.gate, body)
            for seq, body in enumerate(self.bodies, 1)
            if seq > first and seq not in without
        ]
        return self.store.ingest(arrived, now_ms)

    def sign(
        self,
        now_ms: int,
        *,
        size: int | None = None,
        trusted: bool = True,
        at_ms: int = 0,
        why: Why = Why.INTERVAL,
    ) -> bytes:
        size = len(self.bodies) if size is None else size
        return Checkpoint(
            site=self.site,
            gate=self.gate,
            epoch=self.epoch,
            size=size,
            hash=self.hashes[size],
            at_ms=at_ms or now_ms,
            clock_trusted=trusted,
            boot_id="boot",
            why=why,
            receipted=0,
        ).signed(self.key)

    def checkpoint(self, now_ms: int, *, trusted: bool = True, at_ms: int = 0) -> Outcome:
        """Sign how far the ledger reaches, and send it."""
        message = self.sign(now_ms, trusted=trusted, at_ms=at_ms)
        return self.store.checkpoint(message, self.site, self.gate, now_ms)

    def receipted(self, now_ms: int) -> None:
        """Let the centre sign for everything that is proved."""
        stream = self.store.stream(self.site, self.gate, self.epoch)
        assert stream is not None
        receipt = Receipt(
            self.site, self.gate, self.epoch, stream.proved, stream.proved_hash, now_ms, Ask.NOTHING
        )
        self.store.keep_receipts([(receipt, receipt.signed(CENTRE_KEY))])

    def deliver(self, now_ms: int) -> None:
        """Send everything, sign for it, and have it receipted."""
        self.send(now_ms)
        self.checkpoint(now_ms)
        self.receipted(now_ms)


def report(
    store: Store,
    day: str,
    cut: str,
    *,
    settings: ReportSettings = SETTINGS,
    scope: Scope = EVERYTHING,
    since: str | None = None,
) -> Report:
    """Return the report of a day as known before `cut`, local times."""
    last_ms = None if since is None else ms(since, settings.zone)
    span = span_for(settings, scope, datetime.fromisoformat(day).date(), ms(cut, settings.zone), last_ms)
    return report_of(store, settings, Order(scope, span))


def busy_day(store: Store, day: str = "2022-04-11") -> None:
    """Fill a day at three gates of two sites, one of them not registered, with something of everything."""

    def at(clock: str) -> int:
        return ms(f"{day}T{clock}")

    hall, side, stranger = (
        TownGate(store, site, name)
        for site, name in (("north-hall", "g-1"), ("north-hall", "g-2"), ("west-hall", "g-1"))
    )
    hall.register()
    side.register()
    for gate in (hall, side, stranger):
        gate.write(events.epoch_started(PreviousEpoch("", 0, "", "first start")), at("07:00"))
        gate.write(events.gate_started("1", "0a1b2c3d", "township-routine", "1f" * 32), at("07:00:01"))
    hall.write(events.device_checked("thermometer", {"config": "9ff4"}), at("07:00:05"))
    for minute in range(8 * 60, 16 * 60, 7):
        hour, past = divmod(minute, 60)
        for gate in (hall, side):
            leaves = minute % 3 == 0
            gate.visit(at(f"{hour:02}:{past:02}"), evidence=LEAVING if leaves else NORMAL)
    _people(hall, at("10:00"))
    _incidents(side, at("11:00"))
    hall.write(events.gate_mode("suspended", "serving"), at("16:10"))
    for number in range(3):
        hall.visit(at("16:11") + number * MINUTE, (Stage.REFUSED, SUSPENDED), result=Result.LEFT)
    hall.write(events.gate_mode("serving", "suspended"), at("16:20"))
    for gate in (hall, side, stranger):
        gate.deliver(at("16:59:30"))
    store.raise_alarm(
        Suspicion(AlarmKind.MISSED, "north-hall", "g-2", "", "lost", evidence={"since_ms": at("12:00")}),
        at("12:01"),
    )
    store.raise_alarm(
        Suspicion(AlarmKind.LATE, "north-hall", "g-2", "epoch1", "late", 5, 9, {"since_ms": at("12:00")}),
        at("12:05"),
    )
    unit = {"day": day, "level": 2, "unit": "west-hall"}
    store.raise_alarm(
        Suspicion(AlarmKind.MISSED, "", "level 2 west-hall", day, "report_late", evidence=unit),
        at("16:59:40"),
    )


def _people(gate: TownGate, at_ms: int) -> None:
    """Write visits of everybody who is not just let in."""
    red = Evidence(code=code(Status.RED, "9f8e7d6c5b4a3921"), mask=MaskStatus.MISSING)
    unseen = Evidence(measurements=(Unmeasured("out_of_window"),), stale=frozenset({"risk_areas"}))
    gate.visit(at_ms, (Stage.REFUSED, FEVER), evidence=HOT, result=Result.LEFT, steps=(RETEST,))
    gate.visit(at_ms + MINUTE, (Stage.REFUSED, RED), evidence=red, result=Result.FORCED)
    gate.visit(at_ms + 2 * MINUTE, (Stage.REFERRED, REFER), (Stage.AUTHORISED, ADMIT))
    gate.visit(at_ms + 3 * MINUTE, (Stage.REFERRED, REFER), evidence=unseen, result=Result.NOT_PASSED)
    gate.visit(at_ms + 4 * MINUTE, (Stage.UNDECIDED, REFER), evidence=unseen, result=Result.LEFT)
    gate.visit(at_ms + 5 * MINUTE, evidence=unseen, result=Result.INTERRUPTED)
    gate.write(events.passage_forced(), at_ms + 6 * MINUTE)
    gate.write(events.anomaly("called_back", "0a1b2c3d-000009: revoked"), at_ms + 7 * MINUTE)


def _incidents(gate: TownGate, at_ms: int) -> None:
    """Write everything that happens to gates: what fails, is ordered, is refused."""
    order = partial(Command, "1", Address(gate.site, gate.gate, gate.epoch), 1, 0, 60)
    happened: list[Event] = [
        *(events.device_failed(str(device), "no echo") for device in Device),
        *(events.device_recovered(str(device)) for device in Device),
        events.device_failed("thermometer", "MLX90614: a fault that no table knows; replace the part"),
        events.fire_alarm(active=True, passages=0),
        events.fire_alarm(active=False, passages=31),
        events.command(order(name=Name.RESUME, args={}), events.Outcome.REFUSED, "expired"),
        events.command(order(name=Name.CHECKPOINT, args={}), events.Outcome.FAILED, "not_recorded"),
        events.command(order(name=Name.SUSPEND, args={"reason": "cleaning"}), events.Outcome.DONE),
        events.command(None, events.Outcome.REFUSED, "bad_signature"),
        events.document("residents", "hall", 1, "accepted"),
        events.document("risk_areas", "hall", 1, "older"),
        events.document("appointments", "hall", 1, "stale"),
        events.policy_adopted("township-routine", "1f" * 32, "1"),
        events.anomaly("document_refused", "bad_signature: the signature is not the issuer's"),
        events.anomaly("records_lost", "12 records were lost while the ledger failed"),
        events.anomaly("inbox_overflowed", "3 inputs lost"),
        events.anomaly("policy_rejected", "1: fever limit missing"),
        events.anomaly("receipt_went_back", "from record 12 to record 9"),
        events.anomaly(
            "receipt_disagreed", "record 9: the centre holds more records than this ledger has"
        ),
        events.anomaly("health_service", "status 418"),
    ]  # fmt: skip
    for number, event in enumerate(happened):
        gate.write(event, at_ms + number * MINUTE)
    before = PreviousEpoch("epoch0", 9, "ab" * 32, "the centre holds more records than this ledger has")
    gate.write(events.epoch_started(before), at_ms + 55 * MINUTE)
