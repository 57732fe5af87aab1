"""The report of one local day, for one unit: everything a report states, before it is signed.

    {"v": 1, "report": "health-gate daily", "date", "time_zone", "level", "unit",
     "from", "to", "cut_off", "since", "day_over": it lies before the cut-off,
     "handed_in": {"due", "late"} of a report that was due, null of one that somebody asked for,
     "zero": nobody abnormal (GR-2), "empty": no records at all,
     "gates": {"all", "vouched", "not_vouched": [{"site", "gate", "doubts"}],
               "begun": those whose first ledger did not begin after the day,
               "unchecked": [{"site", "gate"}]: of these, no sensor has looked at itself there in the day},
     "totals": {"day": {group: {word: count}}, "carried", "unsure"},
     "hours": [{"from", "in", "out", "refused", "abnormal"}], "modes_s": {mode: seconds}, "policies": [...],
     "units": [...], "by_gate": [...], "cases": [...], "cases_left_out", "incidents": [...],
     "incidents_left_out", "alarms": [...], "alarms_left_out", "proofs": [...]}

See `spans.Section` for day, carried and unsure, `figures.GROUPS` for what is counted, `cases` for who is in
which list, and `alarms_of` for which alarms belong to a day. The same store, day and cut-off give the same
report, byte for byte.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from central.reports.cases import CASES_MAX, Case
from central.reports.figures import HOURLY, Figures, Range, Tally
from central.reports.proofs import proof, unheard
from central.reports.reading import AGAINST, AlarmSeen, Stream, View, viewed
from central.reports.schedule import LATE_CODE
from central.reports.scopes import Scope
from central.reports.settings import ReportSettings
from central.reports.spans import HOUR_MS, Section, Span, instant, span_of
from central.store import Store

KIND: Final = "health-gate daily"
ALARMS_MAX: Final = 1000
"""In one report; which of them, see `alarms_listed`."""

Report = dict[str, Any]
GateName = tuple[str, str]


@dataclass(slots=True)
class GateDay:
    """What one gate comes to: its figures, and a proof for each of its ledgers.

    `registered`: on that day or since. `began`: False when its first ledger began after the day.
    """

    site: str
    gate: str
    figures: Figures = field(default_factory=Figures)
    proofs: list[dict[str, Any]] = field(default_factory=list)
    registered: bool = False
    began: bool = True

    @property
    def vouched(self) -> bool:
        """True when each of its ledgers can be vouched for."""
        return all(shown["vouched"] for shown in self.proofs)

    @property
    def doubts(self) -> list[dict[str, Any]]:
        """Why it cannot be vouched for, each reason with its epoch."""
        return [{**doubt, "epoch": shown["epoch"]} for shown in self.proofs for doubt in shown["doubts"]]


@dataclass(frozen=True, slots=True)
class Order:
    """Which report is to be made. `due_ms`, None when somebody just asks; `late`: made after its time."""

    scope: Scope
    span: Span
    due_ms: int | None = None
    late: bool = False


def report_of(store: Store, settings: ReportSettings, order: Order) -> Report:
    """Return the report of one unit, as the store stands now. Raises StoreError."""
    with viewed(store, order.span, order.scope) as view:
        return assemble(settings, order, gate_days(view, order.span), view.alarms)


def span_for(settings: ReportSettings, scope: Scope, day: date, cut_ms: int, last_cut_ms: int | None) -> Span:
    """Return the span of a unit's report; `last_cut_ms` is the cut-off of its last report before this day.

    Without one the report of the day before is taken to have been made when it was due. Raises ValueError
    when the day begins only after the cut-off.
    """
    before = date.fromordinal(day.toordinal() - 1)
    due_ms = instant(before, settings.due_minute(scope.level), settings.zone)
    return span_of(day, settings.zone, cut_ms, due_ms if last_cut_ms is None else last_cut_ms)


def gate_days(view: View, span: Span) -> list[GateDay]:
    """Count the records of each gate and prove its ledgers; in order of site and gate."""
    tallies: dict[GateName, Tally] = {}
    for stream, record in view.records():
        name = (stream.site, stream.gate)
        if name not in tallies:
            tallies[name] = Tally(span)
        tallies[name].count(record)
    registered = view.registered()
    ledgers: dict[GateName, list[Stream]] = {name: [] for name in registered}
    for stream in view.streams:
        ledgers.setdefault((stream.site, stream.gate), []).append(stream)
    found = [GateDay(*name, registered=name in registered) for name in sorted(ledgers)]
    for gate_day in found:
        name = (gate_day.site, gate_day.gate)
        _fill(gate_day, view, span, tallies.get(name) or Tally(span), ledgers[name])
    return [gate_day for gate_day in found if gate_day.proofs]


def _fill(gate_day: GateDay, view: View, span: Span, tally: Tally, ledgers: list[Stream]) -> None:
    """Put in the proofs and the figures; neither where nothing has to be said of the gate."""
    shown = [
        stream for stream in ledgers if stream.epoch in tally.ranges or _was_current(stream, ledgers, span)
    ]
    if not shown and gate_day.registered:
        # Its first ledger began later; when that is proved from its beginning, nothing of the day is missing.
        shown = ledgers[:1]
        if not shown:
            if (gate_day.site, gate_day.gate) in view.expected():
                gate_day.proofs = [unheard(gate_day.site, gate_day.gate)]
            return
        gate_day.began = False
    gate_day.proofs = [_proof(view, span, stream, tally.ranges.get(stream.epoch)) for stream in shown]
    heard_ms = max((stream.heard_ms or 0 for stream in shown), default=0)
    known_ms = None if gate_day.vouched else heard_ms
    gate_day.figures = tally.figures(_mode_before(view, shown, tally.ranges), known_ms)


def _was_current(stream: Stream, ledgers: list[Stream], span: Span) -> bool:
    """Say whether a ledger was the one in use at some time of the day."""
    if stream.first_ms >= span.until_ms:
        return False
    later = ledgers[ledgers.index(stream) + 1 :]
    return all(other.first_ms >= span.start_ms for other in later)


def _mode_before(view: View, shown: list[Stream], ranges: Mapping[str, Range]) -> str:
    if not shown:
        return ""
    oldest = shown[0]
    found = ranges.get(oldest.epoch)
    first = None if found is None else found.day_first
    return view.mode_before(oldest, view.newest_before(oldest) + 1 if first is None else first)


def _proof(view: View, span: Span, stream: Stream, found: Range | None) -> dict[str, Any]:
    if found is None:
        return proof(view.ledger(stream, 0), None, None, 0, span)
    return proof(view.ledger(stream, found.last), found.first, found.last, found.records, span)


def assemble(
    settings: ReportSettings, order: Order, gates: list[GateDay], alarms: Iterable[AlarmSeen]
) -> Report:
    """Put a report together from what was found."""
    scope, span = order.scope, order.span
    total = Figures()
    for gate_day in gates:
        total.add(gate_day.figures)
    cases, incidents = (sorted(found, key=_in_order) for found in (total.cases, total.incidents))
    all_alarms = alarms_of(span, gates, alarms)
    listed = alarms_listed(gates, all_alarms)
    return {
        "v": 1,
        "report": KIND,
        **_heading(order),
        "zero": not cases,
        "empty": total.nothing,
        "gates": _vouching(gates),
        "totals": {str(section): total.stated(section) for section in Section},
        "hours": list(_hours(total, span)),
        "modes_s": _seconds(total.mode_ms),
        "policies": [{"policy": name, "policy_hash": digest} for name, digest in sorted(total.policies)],
        "units": list(_units(settings, scope, gates)),
        "by_gate": [_by_gate(settings, gate_day) for gate_day in gates],
        "cases": [case.stated(span) for case in cases[:CASES_MAX]],
        "cases_left_out": len(cases[CASES_MAX:]),
        "incidents": [case.stated(span) for case in incidents[:CASES_MAX]],
        "incidents_left_out": len(incidents[CASES_MAX:]),
        "alarms": [_alarm(alarm, span) for alarm in listed],
        "alarms_left_out": len(all_alarms) - len(listed),
        "proofs": [shown for gate_day in gates for shown in gate_day.proofs],
    }


def alarms_of(span: Span, gates: Iterable[GateDay], alarms: Iterable[AlarmSeen]) -> list[AlarmSeen]:
    """Return the alarms that belong to a report, of those that were raised before its cut-off.

    - Those that stood while it tells of the gates: what they were raised for began before the day (or, while
      it runs, the report) ended, and they were not cleared before the report before this one was made.
    - Those raised later about this day: about records that this report counts, or about its reports.
    - Those for which a ledger is not vouched for here, whenever they were raised.

    An alarm raised later about something else is in the report of its own day. See `AlarmSeen.began_ms`.
    """
    proofs = [shown for gate_day in gates for shown in gate_day.proofs]
    return [alarm for alarm in alarms if _stood(alarm, span) or _is_about(alarm, span, proofs)]


def alarms_listed(gates: Iterable[GateDay], alarms: list[AlarmSeen]) -> list[AlarmSeen]:
    """Return the alarms that a report names, in the order in which they came; at most `ALARMS_MAX`.

    Anybody may make up gates, and raise as many alarms with them as he likes: those of registered gates and
    of reports go before, those against vouching first of all; then the newest.
    """
    registered = {(gate_day.site, gate_day.gate) for gate_day in gates if gate_day.registered}

    def rank(place: int) -> tuple[bool, bool, int]:
        alarm = alarms[place]
        ours = (alarm.site, alarm.gate) in registered or alarm.code == LATE_CODE
        return ours, alarm.code in AGAINST, place

    chosen = sorted(range(len(alarms)), key=rank)[-ALARMS_MAX:]
    return [alarms[place] for place in sorted(chosen)]


def _stood(alarm: AlarmSeen, span: Span) -> bool:
    return alarm.began_ms < span.until_ms and (alarm.cleared_ms is None or alarm.cleared_ms >= span.since_ms)


def _is_about(alarm: AlarmSeen, span: Span, proofs: Iterable[Mapping[str, Any]]) -> bool:
    if alarm.code == LATE_CODE:
        return alarm.epoch == span.day.isoformat()
    return any(
        (alarm.site, alarm.gate) == (shown["site"], shown["gate"])
        and (_counts_some(alarm, shown) or (alarm.epoch in {"", shown["epoch"]} and _doubts(alarm, shown)))
        for shown in proofs
    )


def _counts_some(alarm: AlarmSeen, shown: Mapping[str, Any]) -> bool:
    """Say whether the records of an alarm are among those that the report counts of a ledger."""
    if alarm.epoch != shown["epoch"] or alarm.first is None or shown["from"] is None:
        return False
    last = alarm.first if alarm.last is None else alarm.last
    return bool(alarm.first <= shown["to"] and last >= shown["from"])


def _doubts(alarm: AlarmSeen, shown: Mapping[str, Any]) -> bool:
    return any(alarm.code in doubt.get("codes", ()) for doubt in shown["doubts"])


def _in_order(case: Case) -> tuple[int, str, str, str, int]:
    return case.order


def _heading(order: Order) -> Report:
    scope, span = order.scope, order.span
    handed_in = None
    if order.due_ms is not None:
        handed_in = {"due": span.local(order.due_ms), "late": order.late}
    return {
        "date": span.day.isoformat(),
        "time_zone": span.zone.key,
        "level": scope.level,
        "unit": scope.name,
        "from": span.local(span.start_ms),
        "to": span.local(span.until_ms),
        "cut_off": span.local(span.cut_ms),
        "cut_off_ms": span.cut_ms,
        "since": span.local(span.since_ms),
        "day_over": span.over,
        "handed_in": handed_in,
    }


def _vouching(gates: list[GateDay]) -> Report:
    doubtful = [gate_day for gate_day in gates if not gate_day.vouched]
    return {
        "all": len(gates),
        "vouched": len(gates) - len(doubtful),
        "not_vouched": [
            {"site": gate_day.site, "gate": gate_day.gate, "doubts": gate_day.doubts} for gate_day in doubtful
        ],
        "begun": sum(gate_day.began for gate_day in gates),
        "unchecked": [
            {"site": gate_day.site, "gate": gate_day.gate}
            for gate_day in gates
            if gate_day.began and not gate_day.figures.checked
        ],
    }


def _hours(total: Figures, span: Span) -> Iterator[Report]:
    for hour in range(-(-(span.until_ms - span.start_ms) // HOUR_MS)):
        begins = span.local(span.start_ms + hour * HOUR_MS)
        yield {"from": begins} | {what: total.hours[hour, what] for what in HOURLY}


def _seconds(mode_ms: Mapping[str, int]) -> dict[str, int]:
    return {mode: round(ms / 1000) for mode, ms in sorted(mode_ms.items())}


def _units(settings: ReportSettings, scope: Scope, gates: list[GateDay]) -> Iterator[Report]:
    """Yield the parts that report to this one: units to level 1, sites to a unit of several."""
    if scope.level == 3:
        return
    parts: dict[str, list[GateDay]] = {}
    for gate_day in gates:
        name = settings.unit_of(gate_day.site) if scope.level == 1 else gate_day.site
        parts.setdefault(name, []).append(gate_day)
    for name, members in sorted(parts.items()):
        total = Figures()
        for gate_day in members:
            total.add(gate_day.figures)
        vouched = sum(gate_day.vouched for gate_day in members)
        yield {"unit": name, "gates": len(members), "vouched": vouched, "totals": _brief(total)}


def _by_gate(settings: ReportSettings, gate_day: GateDay) -> Report:
    figures = gate_day.figures
    return {
        "site": gate_day.site,
        "gate": gate_day.gate,
        "unit": settings.unit_of(gate_day.site),
        "vouched": gate_day.vouched,
        "zero": not figures.cases,
        "empty": figures.nothing,
        "totals": _brief(figures),
        "modes_s": _seconds(figures.mode_ms),
    }


def _brief(figures: Figures) -> Report:
    """Return what was counted, without the words that count nothing."""
    return {
        str(section): {
            group: kept
            for group, words in figures.stated(section).items()
            if (kept := {name: count for name, count in words.items() if count})
        }
        for section in Section
    }


def _alarm(alarm: AlarmSeen, span: Span) -> Report:
    # What came later than the cut-off is not known to this report.
    cleared_ms = alarm.cleared_ms if (alarm.cleared_ms or span.cut_ms) < span.cut_ms else None
    return {
        "kind": alarm.kind,
        "site": alarm.site,
        "gate": alarm.gate,
        "epoch": alarm.epoch,
        "code": alarm.code,
        "first": alarm.first,
        "last": alarm.last,
        "raised": span.local(alarm.raised_ms),
        "cleared": None if cleared_ms is None else span.local(cleared_ms),
    }
