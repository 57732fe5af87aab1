"""Gates whose records go straight into a store, in virtual time, for reports of any day."""

from datetime import datetime
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central.reports.day import Order, Report, report_of, span_for
from central.reports.scopes import Scope
from central.reports.settings import ReportSettings
from central.store import Arrived, Ingested, Outcome, Store
from gate.core import events
from gate.core.chain import genesis, link
from gate.core.codes.model import Authenticity, CodeResult, Format, Freshness, Reason, Status
from gate.core.delivery import Ask, Checkpoint, Receipt, Why
from gate.core.events import Event, Origin, Result, Stage, encode
from gate.core.evidence import Direction, Evidence, MaskStatus, Reading, Symptom, Unmeasured
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
