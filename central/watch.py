"""Which of a gate's silences and delays are alarms: *late* and *missed*, judged from what the store knows.

The store raises by itself what it sees in a message: bytes that differ, a ledger that went back, a key that
nobody knows. What shows only as time passes is judged here, in one pure object: it is given how every stream
stands, what the broker says of the gates, and what time it is, and it answers which alarms to raise and which
of those that stand are over.

    late/late       a signed checkpoint stated more than is proved here, and that for longer than `late_s`
    missed/hole     a record that is known to exist is not here, and for `hole_s` nothing has moved
    missed/silent   nothing at all has come from a registered gate for `silent_s`; one that has stopped in
                    order may be silent until its next report is due (`central.absence`)
    missed/lost     the broker says that the gate's connection broke, and for `lost_s` it has not come back
    missed/fault    for `lost_s` the gate has said of itself that it is in `fault`: it lets nobody in, or
                    writes late; over when for `lost_s` it has named other modes. A fault that is back sooner
                    has never been over: a part that comes and goes is an alarm
    false/clock     the clock that a gate's checkpoints go by differs from the centre's by more than `clock_s`

Nobody is accused of the centre's own absence: time counts only while the centre is listening, and while it is
not, nothing is raised and nothing cleared. After a restart an alarm stays until the thing that it was raised
for has been seen to be over.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from central.config import WatchSection
from central.intake import LOST, STOPPED
from central.store import Alarm, AlarmKind, GateKey, StreamState, Suspicion
from gate.core.mode import Mode

Key = tuple[AlarmKind, str, str, str, str]
Names = tuple[str, str]
_BEHIND_FOR_MS: Final = 180_000
"""Old checkpoints come late out of a broker's queue; a clock that is behind is so in the fresh ones too."""


class Code(StrEnum):
    """What is seen here, as the code of an alarm."""

    LATE = "late"
    HOLE = "hole"
    SILENT = "silent"
    LOST = "lost"
    FAULT = "fault"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class GateReport:
    """What a gate's state message said, and when (unix milliseconds) it began to say that state.

    `mode`: the last one that the gate itself has named, "" while it has named none. `fault_ms`: since when it
    has been in fault, or was when it last was; one that is back within `lost_s` has been there all the time.
    `well_ms`: since when it has been in other modes, None while it is in fault.
    """

    state: str
    since_ms: int
    mode: str = ""
    fault_ms: int | None = None
    well_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to write into the alarm log."""

    raised: tuple[Suspicion, ...] = ()
    over: tuple[Alarm, ...] = ()


@dataclass(frozen=True, slots=True)
class _Since:
    """Something that has not changed since then; `mark` is what has not changed, or what is waited for."""

    mark: int
    at_ms: int


def key_of(about: Suspicion) -> Key:
    """Return what makes two alarms the same one."""
    return about.kind, about.site, about.gate, about.epoch, about.code


class Watch:
    """Tells which alarms are due. `examine` is to be called about once a second.

    `owed` says up to when a gate may be silent that has stopped in order at this instant.
    """

    def __init__(
        self, settings: WatchSection, owed: Callable[[int], int] = lambda stopped_ms: stopped_ms
    ) -> None:
        self._settings = settings
        self._owed = owed
        self._unmet: dict[int, _Since] = {}
        self._stuck: dict[int, _Since] = {}
        self._behind: dict[int, int] = {}
        self._noted_ms: dict[Names, int] = {}

    def report(self, before: GateReport | None, state: str, mode: str, now_ms: int) -> GateReport:
        """Return what is known of a gate when this is said of it; `mode` is "" when none is named."""
        before = before or GateReport(state, now_ms)
        since_ms = before.since_ms if before.state == state else now_ms
        fault_ms, well_ms = before.fault_ms, before.well_ms
        if state == LOST and not mode:
            # The broker, which speaks for a gate that is lost, knows nothing of its mode.
            mode = before.mode
        if mode == Mode.FAULT:
            forgotten = well_ms is not None and now_ms - well_ms > self._settings.lost_s * 1000
            fault_ms = now_ms if fault_ms is None or forgotten else fault_ms
            well_ms = None
        elif well_ms is None or not before.mode:
            well_ms = now_ms
        return GateReport(state, since_ms, mode, fault_ms, well_ms)

    def examine(
        self,
        states: Sequence[StreamState],
        keys: Iterable[GateKey],
        reports: Mapping[Names, GateReport],
        standing: Iterable[Alarm],
        *,
        stopped: Mapping[Names, int],
        listening_since_ms: int | None,
        now_ms: int,
    ) -> Judgement:
        """Judge how things stand at this moment.

        `stopped`: the gates that have stopped in order, and when. `listening_since_ms`: None while the broker
        is away.
        """
        if listening_since_ms is None:
            self._forget({})
            return Judgement()
        known = _known(keys)
        streams = {state.id: state for state in states if (state.site, state.gate) in known}
        self._forget(streams)
        stand = {key_of(alarm.about): alarm for alarm in standing}
        found = [
            *self._delays(streams.values(), now_ms),
            *self._silences(streams.values(), known, stopped, listening_since_ms, now_ms),
            *self._losses(known, reports, listening_since_ms, now_ms),
            *self._faults(known, reports, stand, listening_since_ms, now_ms),
        ]
        seen = {key_of(about) for about in found}
        by_name = {(state.site, state.gate, state.epoch): state for state in streams.values()}
        over = _Over(by_name, known, reports, self._settings, listening_since_ms, now_ms)
        return Judgement(
            raised=tuple(about for about in found if key_of(about) not in stand),
            over=tuple(alarm for key, alarm in stand.items() if key not in seen and over(alarm)),
        )

    def _forget(self, streams: Mapping[int, StreamState]) -> None:
        self._unmet = {id_: since for id_, since in self._unmet.items() if id_ in streams}
        self._stuck = {id_: since for id_, since in self._stuck.items() if id_ in streams}
        self._behind = {id_: since for id_, since in self._behind.items() if id_ in streams}

    def _delays(self, states: Iterable[StreamState], now_ms: int) -> Iterator[Suspicion]:
        for state in states:
            if not state.successor:
                yield from self._late(state, now_ms)
                yield from self._clock(state, now_ms)
            yield from self._hole(state, now_ms)

    def _late(self, state: StreamState, now_ms: int) -> Iterator[Suspicion]:
        unmet = self._unmet.get(state.id)
        if unmet is None or state.proved >= unmet.mark:
            # What was stated has been proved; if meanwhile more was stated, its time begins now.
            self._unmet.pop(state.id, None)
            if state.proved < state.head:
                self._unmet[state.id] = _Since(state.head, now_ms)
            return
        if now_ms - unmet.at_ms > self._settings.late_s * 1000:
            evidence = {
                "stated": unmet.mark, "linked": state.linked, "proved": state.proved, "since_ms": unmet.at_ms,
            }  # fmt: skip
            yield _about(AlarmKind.LATE, state, Code.LATE, (state.proved + 1, unmet.mark), evidence)

    def _hole(self, state: StreamState, now_ms: int) -> Iterator[Suspicion]:
        stuck = self._stuck.get(state.id)
        if not state.hole:
            self._stuck.pop(state.id, None)
        elif stuck is None or stuck.mark != state.linked:
            self._stuck[state.id] = _Since(state.linked, now_ms)
        elif now_ms - stuck.at_ms > self._settings.hole_s * 1000:
            last = max(state.head, state.top, state.ended or 0)
            evidence = {"linked": state.linked, "top": state.top, "head": state.head, "ended": state.ended}
            yield _about(AlarmKind.MISSED, state, Code.HOLE, (state.linked + 1, last), evidence)

    def _clock(self, state: StreamState, now_ms: int) -> Iterator[Suspicion]:
        """Judge a clock by the newest checkpoint, one that is behind only when it has been so for a while."""
        ahead, limit_ms = ahead_ms(state) or 0, self._settings.clock_s * 1000
        if ahead >= -limit_ms:
            self._behind.pop(state.id, None)
        since_ms = self._behind.setdefault(state.id, now_ms) if ahead < -limit_ms else now_ms
        lasting = (state.heard_ms or 0) > since_ms and now_ms - since_ms > _BEHIND_FOR_MS
        if ahead > limit_ms or lasting:
            evidence = {"gate_ms": state.head_at_ms, "centre_ms": state.heard_ms}
            yield _about(AlarmKind.FALSE, state, Code.CLOCK, (None, None), evidence)

    def _silences(
        self,
        states: Iterable[StreamState],
        known: Mapping[Names, int],
        stopped: Mapping[Names, int],
        listening_since_ms: int,
        now_ms: int,
    ) -> Iterator[Suspicion]:
        heard = dict.fromkeys(known, 0)
        for state in states:
            heard[state.site, state.gate] = max(heard[state.site, state.gate], _heard_ms(state))
        for (site, gate), heard_ms in heard.items():
            since_ms = max(heard_ms, known[site, gate], listening_since_ms)
            stopped_ms = stopped.get((site, gate))
            if stopped_ms is not None and now_ms < self._owed(stopped_ms):
                continue
            if now_ms - since_ms > self._settings.silent_s * 1000:
                evidence = {"heard_ms": heard_ms or None, "stopped_ms": stopped_ms}
                yield Suspicion(AlarmKind.MISSED, site, gate, "", Code.SILENT, evidence=evidence)

    def _losses(
        self,
        known: Mapping[Names, int],
        reports: Mapping[Names, GateReport],
        listening_since_ms: int,
        now_ms: int,
    ) -> Iterator[Suspicion]:
        for (site, gate), report in reports.items():
            lost = (site, gate) in known and report.state == LOST
            away_ms = now_ms - max(report.since_ms, listening_since_ms)
            if lost and away_ms > self._settings.lost_s * 1000:
                evidence = {"since_ms": report.since_ms}
                yield Suspicion(AlarmKind.MISSED, site, gate, "", Code.LOST, evidence=evidence)

    def _faults(
        self,
        known: Mapping[Names, int],
        reports: Mapping[Names, GateReport],
        stand: Mapping[Key, Alarm],
        listening_since_ms: int,
        now_ms: int,
    ) -> Iterator[Suspicion]:
        """Take a gate at its word: with a ledger that it cannot use it has no other way to say so.

        A relay that is away for a moment is none yet. A gate that was in fault when it stopped is not well:
        what began before that is raised when it is due, but not again once somebody has looked into it.
        """
        for (site, gate), report in reports.items():
            if (site, gate) not in known or report.mode != Mode.FAULT or report.fault_ms is None:
                continue
            about = Suspicion(
                AlarmKind.MISSED, site, gate, "", Code.FAULT,
                evidence={"state": report.state, "since_ms": report.fault_ms},
            )  # fmt: skip
            if report.state == STOPPED:
                if key_of(about) in stand:
                    self._noted_ms[site, gate] = report.since_ms
                if report.fault_ms >= report.since_ms or self._noted_ms.get((site, gate)) == report.since_ms:
                    continue
            if now_ms - max(report.fault_ms, listening_since_ms) > self._settings.lost_s * 1000:
                yield about


@dataclass(frozen=True, slots=True)
class _Over:
    """Tells of an alarm that was not seen again whether what it was raised for has come right."""

    streams: Mapping[tuple[str, str, str], StreamState]
    known: Mapping[Names, int]
    reports: Mapping[Names, GateReport]
    settings: WatchSection
    listening_since_ms: int
    now_ms: int

    def __call__(self, alarm: Alarm) -> bool:
        about = alarm.about
        judge = _OVER.get((about.kind, about.code))
        if judge is None:
            return False  # somebody else's, such as those that the store raises
        return (about.site, about.gate) not in self.known or judge(self, alarm)

    def state(self, about: Suspicion) -> StreamState | None:
        """Return the stream that an alarm is about."""
        return self.streams.get((about.site, about.gate, about.epoch))

    def late(self, alarm: Alarm) -> bool:
        """What was late is proved, or the ledger has ended and nothing more can be proved of it."""
        state = self.state(alarm.about)
        return state is None or bool(state.successor) or state.proved >= (alarm.about.last or 0)

    def hole(self, alarm: Alarm) -> bool:
        """What was missing is here."""
        state = self.state(alarm.about)
        return state is None or state.linked >= (alarm.about.last or 0)

    def silent(self, alarm: Alarm) -> bool:
        """Something has come since."""
        names = alarm.about.site, alarm.about.gate
        own = (state for state in self.streams.values() if (state.site, state.gate) == names)
        return any(_heard_ms(state) > alarm.raised_ms for state in own)

    def lost(self, alarm: Alarm) -> bool:
        """The gate has spoken for itself again."""
        report = self.reports.get((alarm.about.site, alarm.about.gate))
        return report is not None and report.state != LOST

    def fault(self, alarm: Alarm) -> bool:
        """The gate has named other modes, and for a while nothing else."""
        report = self.reports.get((alarm.about.site, alarm.about.gate))
        if report is None or report.mode in {"", Mode.FAULT} or report.well_ms is None:
            return False
        return self.now_ms - max(report.well_ms, self.listening_since_ms) > self.settings.lost_s * 1000

    def clock(self, alarm: Alarm) -> bool:
        """A checkpoint has come since, and by it the clock is right."""
        state = self.state(alarm.about)
        if state is None or state.successor:
            return True
        right = abs(ahead_ms(state) or 0) <= self.settings.clock_s * 1000
        return right and (state.heard_ms or 0) > alarm.raised_ms


_OVER: Final[Mapping[tuple[AlarmKind, str], Callable[[_Over, Alarm], bool]]] = {
    (AlarmKind.LATE, Code.LATE): _Over.late,
    (AlarmKind.MISSED, Code.HOLE): _Over.hole,
    (AlarmKind.MISSED, Code.SILENT): _Over.silent,
    (AlarmKind.MISSED, Code.LOST): _Over.lost,
    (AlarmKind.MISSED, Code.FAULT): _Over.fault,
    (AlarmKind.FALSE, Code.CLOCK): _Over.clock,
}


def _known(keys: Iterable[GateKey]) -> dict[Names, int]:
    """Return the gates with a key that is not revoked, and since when each has been registered."""
    known: dict[Names, int] = {}
    for key in keys:
        if key.revoked_ms is None:
            names = key.site, key.gate
            known[names] = max(known.get(names, 0), key.registered_ms)
    return known


def ahead_ms(state: StreamState) -> int | None:
    """Return by how much a gate's clock was ahead in its newest checkpoint; None when nobody can say."""
    if state.heard_ms is None or state.head_at_ms is None or not state.head_clock_trusted:
        return None
    return state.head_at_ms - state.heard_ms


def _heard_ms(state: StreamState) -> int:
    return max(state.heard_ms or 0, state.record_ms or 0)


def _about(
    kind: AlarmKind,
    state: StreamState,
    code: Code,
    span: tuple[int | None, int | None],
    evidence: Mapping[str, int | None],
) -> Suspicion:
    first, last = span
    return Suspicion(kind, state.site, state.gate, state.epoch, code, first, last, evidence)
