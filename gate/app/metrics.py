"""What Prometheus can ask a gate about. The table below is the interface: names, labels, and what they mean.

The brain's thread does nothing but add to plain numbers, without a lock; whoever asks gets a copy of them, in
a thread of its own (`gate.app.exposition`). Everything counts from the start of the process. Nothing in it is
about a person.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from gate.app.board import Board
from gate.config import GateSection
from gate.core.actor import GateActor
from gate.core.effects import Effect, Record, Unlock
from gate.core.events import Event, Kind, Outcome, Result
from gate.core.evidence import Measurement, Unmeasured
from gate.core.inputs import (
    ArmTurned,
    AttendantConfirmed,
    AttendantNoted,
    CodesRead,
    Device,
    InboxOverflowed,
    Input,
    MaskSeen,
    ReadingTaken,
    RecordFailed,
    ServiceAnswered,
)
from gate.core.mode import Mode
from gate.core.moment import NS_PER_S, Moment
from gate.core.policy import Verdict
from gate.core.session import State
from gate.ports import Clock
from gate.sinks.mqtt import SinkStatus

Labels = tuple[str, ...]


class Type(StrEnum):
    """How a figure is to be read: the words are those of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Passage(StrEnum):
    """What a turn of the arm was."""

    AUTHORISED = "authorised"
    FORCED = "forced"
    EVACUATION = "evacuation"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One name. `known`: values of its only label that are told from the beginning, as 0."""

    name: str
    type: Type
    words: str
    labels: Labels = ()
    known: Labels = ()


def _counter(name: str, words: str, *labels: str, known: Iterable[str] = ()) -> Metric:
    return Metric(name, Type.COUNTER, words, labels, tuple(map(str, known)))


def _gauge(name: str, words: str, *labels: str) -> Metric:
    return Metric(name, Type.GAUGE, words, labels)


RELAY_BUCKETS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

INFO = _gauge("gate_info", "Always 1; which gate this is.", "version", "site", "gate", "policy")
DECIDED = _counter(
    "gate_visits_decided_total",
    "Decisions on record; a visit is told again when it leads from stage referred to another.",
    "stage", "verdict",
)  # fmt: skip
CLOSED = _counter("gate_visits_closed_total", "Visits that are over, by how.", "result", known=Result)
PASSAGES = _counter("gate_passages_total", "Turns of the arm.", "kind", known=Passage)
REFUSALS = _counter("gate_refusals_total", "Reasons of refused visits; one may have several.", "reason")
READINGS = _counter("gate_readings_total", "Answers of the thermometer.", "outcome", known=("ok",))
CODE_FRAMES = _counter("gate_code_frames_total", "Frames of the camera with at least one code.")
UNLOCKS = _counter("gate_unlocks_total", "Pulses of the relay that were asked for.")
COMMANDS = _counter("gate_commands_total", "Commands of the centre.", "outcome", known=Outcome)
RECORDS = _counter("gate_records_total", "Records made durable.", "kind", known=Kind)
RECORDS_FAILED = _counter("gate_record_failures_total", "Attempts to write a record that failed.")
INPUTS_LOST = _counter("gate_inputs_lost_total", "Inputs that an overflowing inbox has lost.")
RECONNECTS = _counter("gate_broker_reconnects_total", "Connections to the broker after the first.")
REFUSED_RECEIPTS = _counter("gate_receipts_refused_total", "Receipts that the centre has not signed for us.")
RELAY = Metric(
    "gate_evidence_to_relay_seconds",
    Type.HISTOGRAM,
    "From the brain's taking up the last evidence to the relay, with the durable record in between.",
)
MODE = _gauge("gate_mode", "1 for the mode that the gate is in.", "mode")
DEVICE_UP = _gauge("gate_device_up", "0 for a part that is known not to work.", "device")
UNWRITTEN = _gauge("gate_unwritten_records", "Events that wait for the ledger to work again.")
LEDGER = _gauge("gate_ledger_records", "Records in the ledger.")
BACKLOG = _gauge("gate_backlog_records", "Records that are not done yet.")
OLDEST = _gauge("gate_backlog_oldest_age_seconds", "Since the oldest record that is not done was seen.")
RECEIPT = _gauge("gate_receipt_age_seconds", "Since the centre made its newest receipt; none without one.")
CONNECTED = _gauge("gate_broker_connected", "1 while there is a connection to the broker.")
CLOCK = _gauge("gate_clock_trusted", "1 while wall time is believed.")
CERTIFICATE = _gauge(
    "gate_certificate_ends_timestamp_seconds",
    "When this gate's certificate ends (Unix time); none without one.",
)
SUPPLY = _gauge("gate_supply_low", "1 while the board's voltage is too low; none where it does not say.")

METRICS: Final = (
    INFO, DECIDED, CLOSED, PASSAGES, REFUSALS, READINGS, CODE_FRAMES, UNLOCKS, COMMANDS, RECORDS,
    RECORDS_FAILED, INPUTS_LOST, RECONNECTS, REFUSED_RECEIPTS, RELAY, MODE, DEVICE_UP, UNWRITTEN, LEDGER,
    BACKLOG, OLDEST, RECEIPT, CONNECTED, CLOCK, CERTIFICATE, SUPPLY,
)  # fmt: skip
"""Dashboards and alerts are written against this, and checked against it."""

_EVIDENCE: Final = (
    AttendantConfirmed, AttendantNoted, CodesRead, MaskSeen, ReadingTaken, ServiceAnswered,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spread:
    """How often something took how long: `counts` for each bucket and one beyond, and the sum in seconds."""

    counts: tuple[int, ...] = (0,) * (len(RELAY_BUCKETS_S) + 1)
    sum_s: float = 0.0

    def with_one(self, seconds: float) -> "Spread":
        """Return this with one more; a value on a bucket's limit belongs to it."""
        place = bisect_left(RELAY_BUCKETS_S, seconds)
        counts = (*self.counts[:place], self.counts[place] + 1, *self.counts[place + 1 :])
        return Spread(counts, self.sum_s + seconds)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All figures at one moment: a series is missing where there is nothing to tell."""

    series: Mapping[Metric, Mapping[Labels, float]]
    relay: Spread


class GateMetrics:
    """The figures of one gate. `observe` is for the brain's thread, `snapshot` for any other.

    `certificate`: this gate's own, a file that is read each time. `ledger_size` and `delivery` are called by
    whoever takes a snapshot, and must be safe there.
    """

    def __init__(
        self,
        section: GateSection,
        version: str,
        *,
        actor: GateActor,
        clock: Clock,
        ledger_size: Callable[[], int],
        delivery: Callable[[], SinkStatus],
        certificate: Path | None = None,
        board: Board | None = None,
    ) -> None:
        self._named = (version, section.site, section.id)
        self._actor = actor
        self._clock = clock
        self._ledger_size = ledger_size
        self._delivery = delivery
        self._certificate = certificate
        self._board = board or Board()
        # Both are written by the brain's thread only, and read in one step (a copy, a reference).
        self._counts: dict[tuple[Metric, Labels], int] = {
            (metric, (value,) if metric.labels else ()): 0
            for metric in METRICS
            if metric.type is Type.COUNTER
            for value in (metric.known if metric.labels else ("",))
        }
        self._relay = Spread()
        self._told: tuple[str, str] | None = None

    # In the brain's thread

    def observe(self, happened: Input, effect: Effect | None, now: Moment) -> None:
        """Count an input when it comes (`effect` None), and each effect once it has been performed."""
        match effect:
            case None:
                self._happened(happened)
            case Record(event):
                self._recorded(event)
            case Unlock():
                self._count(UNLOCKS)
                if isinstance(happened, _EVIDENCE):
                    took_ns = self._clock.now().mono_ns - now.mono_ns
                    self._relay = self._relay.with_one(took_ns / NS_PER_S)

    def _happened(self, happened: Input) -> None:
        match happened:
            case CodesRead():
                self._count(CODE_FRAMES)
            case ReadingTaken():
                self._count(READINGS, _outcome(happened.measurement))
            case ArmTurned():
                self._count(PASSAGES, self._passage())
            case RecordFailed():
                self._count(RECORDS_FAILED)
            case InboxOverflowed(lost):
                self._count(INPUTS_LOST, by=lost)

    def _passage(self) -> Passage:
        """Say what a turn of the arm is that the actor has not been told of yet."""
        if self._actor.mode is Mode.EVACUATING:
            return Passage.EVACUATION
        visit = self._actor.visit
        authorised = visit is not None and visit.state is State.AUTHORISED
        return Passage.AUTHORISED if authorised else Passage.FORCED

    def _recorded(self, event: Event) -> None:
        self._count(RECORDS, event.kind)
        match event.kind:
            case Kind.VISIT_DECIDED:
                self._decided(event.data)
            case Kind.VISIT_CLOSED:
                self._count(CLOSED, event.data["result"])
            case Kind.COMMAND:
                self._count(COMMANDS, event.data["outcome"])

    def _decided(self, data: Mapping[str, Any]) -> None:
        told = (data["visit"], data["stage"])
        if told == self._told:
            return  # said once more at the beginning of a new ledger
        self._told = told
        self._count(DECIDED, data["stage"], data["verdict"])
        if data["verdict"] == Verdict.REFUSE:
            for finding in data["findings"]:
                if finding["verdict"] == Verdict.REFUSE:
                    self._count(REFUSALS, finding["reason"])

    def _count(self, metric: Metric, *labels: str, by: int = 1) -> None:
        key = (metric, labels)
        self._counts[key] = self._counts.get(key, 0) + by

    # In the thread of whoever asks

    def snapshot(self) -> Snapshot:
        """Return all figures as they are at this moment."""
        series: dict[Metric, dict[Labels, float]] = {metric: {} for metric in METRICS}
        for (metric, labels), value in self._counts.copy().items():
            series[metric][labels] = value
        for metric, labels, standing in self._standing():
            series[metric][labels] = standing
        return Snapshot(series, self._relay)

    def _standing(self) -> Iterable[tuple[Metric, Labels, float]]:
        actor, now = self._actor, self._clock.now()
        mode, failed = actor.mode, actor.failed_devices
        yield INFO, (*self._named, actor.policy.name), 1
        yield from ((MODE, (each,), each is mode) for each in Mode)
        yield from ((DEVICE_UP, (each,), each not in failed) for each in Device)
        yield UNWRITTEN, (), actor.unwritten
        yield CLOCK, (), now.clock_trusted
        size, delivery = self._ledger_size(), self._delivery()
        yield LEDGER, (), size
        yield BACKLOG, (), max(0, size - delivery.acknowledged)
        yield OLDEST, (), delivery.oldest_unacknowledged_age_s or 0.0
        yield CONNECTED, (), delivery.connected
        yield RECONNECTS, (), delivery.reconnects
        yield REFUSED_RECEIPTS, (), delivery.refused_receipts
        if delivery.receipt_at_ms is not None:
            yield RECEIPT, (), max(0, now.wall_ms - delivery.receipt_at_ms) / 1000
        if (ends_s := _certificate_ends_s(self._certificate)) is not None:
            yield CERTIFICATE, (), ends_s
        if (low := self._board.supply_low()) is not None:
            yield SUPPLY, (), low


def _certificate_ends_s(path: Path | None) -> float | None:
    """Return when a certificate ends; None without one, and for one that the doctor would complain about."""
    if path is None:
        return None
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None


def _outcome(measurement: Measurement) -> str:
    return measurement.reason if isinstance(measurement, Unmeasured) else "ok"
