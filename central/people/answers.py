"""How the answers are stated: as JSON for programs, and in lines for people.

Times are local and say their offset. Whatever words stand in records are shown as they are; they
were made harmless when they were read.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, Final
from zoneinfo import ZoneInfo

from central.clock import moment
from central.people.access_log import Entry
from central.people.presence import Presence
from central.people.risk import Ledger
from central.people.rounds import Member, Rounds
from central.people.sheet import Sheet
from central.people.sightings import Lost
from central.people.trace import Contact, Shared, Trace
from central.people.visits import Visit
from central.reports.spans import local
from gate.core.texts import reason_text

_MINUTE_MS: Final = 60_000

Document = dict[str, Any]


class Statement:
    """States answers in one time zone and language."""

    def __init__(self, zone: ZoneInfo, lang: str) -> None:
        self._zone = zone
        self._lang = lang

    # As documents

    def sheet(self, found: Sheet) -> Document:
        """State the sheet of a person."""
        return {"visits": [self.visit(visit) for visit in found.visits], **_lost(found.lost)}

    def rounds(self, found: Rounds) -> Document:
        """State the rounds of a day."""
        return {
            "date": f"{found.day}",
            "at": self.at(found.at_ms),
            "staff": [self._member(member) for member in found.members],
            "overdue": [self._member(member) for member in found.overdue],
            **_lost(found.lost),
        }

    def risk(self, found: Ledger) -> Document:
        """State abnormal visits by risk."""
        groups = [
            {"risk": str(group.risk), "group": group.name, "visits": [self.visit(v) for v in group.visits]}
            for group in found.groups
        ]
        return {"groups": groups, **_lost(found.lost)}

    def trace(self, found: Trace) -> Document:
        """State where a person was, and with whom."""
        return {
            "visits": [self.visit(visit) for visit in found.visits],
            "stays": [self._shared(shared) for shared in found.shared],
            **_lost(found.lost),
        }

    def visit(self, visit: Visit) -> Document:
        """State one visit."""
        return {
            "site": visit.site,
            "gate": visit.gate,
            "epoch": visit.epoch,
            "seq": visit.first.seq,
            "visit": visit.name,
            "at": self.at(visit.first.earliest_ms),
            "clock_trusted": visit.sure,
            "subject": visit.subject,
            "person": visit.person,
            "direction": visit.direction,
            "verdict": visit.verdict,
            "reasons": [one._asdict() for one in visit.reasons],
            "band": visit.band,
            "result": visit.result,
            "passed_at": None if visit.passed is None else self.at(visit.passed.earliest_ms),
            "passage_assumed": visit.perhaps,
        }

    def _presence(self, presence: Presence) -> Document:
        return {
            "site": presence.site,
            "from": self.at(presence.from_ms),
            "from_assumed": presence.entered is None,
            "until": self.at(presence.until_ms),
            "until_assumed": presence.left is None,
            "sure": presence.sure,
            "entered": None if presence.entered is None else self._passage(presence.entered),
            "left": None if presence.left is None else self._passage(presence.left),
        }

    def _passage(self, visit: Visit) -> Document:
        passed = visit.passed
        assert passed is not None
        return {
            "gate": visit.gate,
            "at": self.at(passed.earliest_ms),
            "at_latest": self.at(passed.latest_ms),
            "clock_trusted": visit.sure,
            "visit": visit.name,
            "result": visit.result,
        }

    def _shared(self, shared: Shared) -> Document:
        return {
            **self._presence(shared.presence),
            "contacts": [self._contact(contact) for contact in shared.contacts],
            "left_without_code": [self._passage(visit) for visit in shared.leavers],
            "fire_alarms": [{"gate": gate, "at": self.at(at_ms)} for gate, at_ms in shared.fires],
        }

    def _contact(self, contact: Contact) -> Document:
        presence = contact.presence
        return {
            "who": presence.who,
            "anonymous": not presence.visit.subject,
            "person": presence.visit.person,
            "shared_from": self.at(contact.from_ms),
            "shared_until": self.at(contact.until_ms),
            **self._presence(presence),
        }

    def _member(self, member: Member) -> Document:
        return {
            "site": member.site,
            "subject": member.name,
            "arrived": self._maybe(member.arrived_ms),
            "left": self._maybe(member.left_ms),
            "inside": member.inside,
            "reentries": [self.at(ms) for ms in member.reentries],
            "measured": [self.at(ms) for ms in member.measured_ms],
            "unmeasured": [self._passage(visit) for visit in member.unmeasured],
            "gaps": [{"from": self.at(gap.from_ms), "until": self.at(gap.until_ms)} for gap in member.gaps],
            "due": self._maybe(member.overdue_ms),
            "clock_trusted": member.sure,
        }

    def entry(self, entry: Entry) -> Document:
        """State one entry of the access log."""
        return asdict(entry) | {"at": self.at(entry.at_ms), "about": dict(entry.about)}

    # In lines

    def sheet_lines(self, found: Sheet, reference: str) -> Iterator[str]:
        """Tell the sheet of the person with this reference."""
        yield from (self._visit_line(visit) for visit in found.visits)
        visits = f"{len(found.visits)} visit{'' if len(found.visits) == 1 else 's'}"
        yield visits if found.visits else _unknown(reference)
        yield from _lost_lines(found.lost)

    def rounds_lines(self, found: Rounds) -> Iterator[str]:
        """Tell the rounds of a day, who is overdue last."""
        for member in found.members:
            yield self._member_line(member)
        counts = f"{len(found.members)} members of staff, {len(found.overdue)} overdue"
        yield f"{counts} at {self._clock(found.at_ms)}"
        for member in found.overdue:
            assert member.overdue_ms is not None
            since = self._clock(member.overdue_ms)
            minutes = (found.at_ms - member.overdue_ms) // _MINUTE_MS
            yield f"OVERDUE  {member.site}  {member.name}  since {since} ({minutes} min)"
        yield from _lost_lines(found.lost)

    def risk_lines(self, found: Ledger) -> Iterator[str]:
        """Tell abnormal visits by risk."""
        for group in found.groups:
            yield f"{group.risk}  {group.name}: {len(group.visits)}"
            yield from (f"  {self._visit_line(visit)}" for visit in group.visits)
        if not found.groups:
            yield "nothing abnormal"
        yield from _lost_lines(found.lost)

    def trace_lines(self, found: Trace, reference: str) -> Iterator[str]:
        """Tell where the person with this reference was, and with whom."""
        for shared in found.shared:
            yield f"{shared.presence.site}  {self._presence_line(shared.presence)}"
            for contact in shared.contacts:
                yield f"  {self._contact_line(contact)}"
            for visit in shared.leavers:
                yield f"  left without a code: {self._gate_line(visit)}"
            for gate, at_ms in shared.fires:
                yield f"  fire alarm at {gate}, {self._clock(at_ms)}: the arm was free, nobody was seen"
        contacts = sum(len(shared.contacts) for shared in found.shared)
        counts = f"{len(found.visits)} visits, {len(found.shared)} stays, {contacts} inside at the same time"
        yield counts if found.visits or found.shared else _unknown(reference)
        yield from _lost_lines(found.lost)

    def entry_line(self, entry: Entry) -> str:
        """Tell one entry of the access log."""
        about = "  ".join(f"{name} {_stated(said)}" for name, said in entry.about.items() if said is not None)
        return _plain(
            f"{entry.n}  {self._clock(entry.at_ms)}  {entry.what}  {entry.by}: {entry.reason}  {about}"
        )

    def _visit_line(self, visit: Visit) -> str:
        why = ", ".join(f"{reason_text(self._lang, one.reason)} ({one.rule})" for one in visit.reasons)
        unsure = "" if visit.sure else "?"
        return (
            f"{self._clock(visit.first.earliest_ms)}{unsure}  {visit.site}/{visit.gate}  {visit.direction}  "
            f"{visit.person}  {visit.subject or visit.name}  {visit.verdict or '-'}  {visit.band}  "
            f"{visit.result}{f'  {why}' if why else ''}"
        )

    def _contact_line(self, contact: Contact) -> str:
        presence = contact.presence
        together = f"{self._clock(contact.from_ms)} to {self._clock(contact.until_ms)}"
        who = f"{presence.who}{'' if presence.visit.subject else ' (no code)'}"
        return f"{together}  {presence.visit.person}  {who}  {self._presence_line(presence)}"

    def _presence_line(self, presence: Presence) -> str:
        came = "not seen coming" if presence.entered is None else f"in {self._gate_line(presence.entered)}"
        went = "not seen leaving" if presence.left is None else f"out {self._gate_line(presence.left)}"
        return f"{came}, {went}"

    def _gate_line(self, visit: Visit) -> str:
        assert visit.passed is not None
        unsure = "" if visit.sure and not visit.perhaps else "?"
        return f"{visit.gate} {self._clock(visit.passed.earliest_ms)}{unsure}"

    def _member_line(self, member: Member) -> str:
        def times(said: Iterable[int]) -> str:
            return " ".join(self._clock(ms)[11:16] for ms in said) or "-"

        came = "before" if member.arrived_ms is None else self._clock(member.arrived_ms)[11:16]
        went = "-" if member.left_ms is None else self._clock(member.left_ms)[11:16]
        unmeasured = f"  passed unmeasured: {len(member.unmeasured)}" if member.unmeasured else ""
        gaps = f"  too long without: {times(gap.from_ms for gap in member.gaps)}" if member.gaps else ""
        return (
            f"{member.site}  {member.name}  came {came}  left {went}  back {times(member.reentries)}  "
            f"measured {times(member.measured_ms)}{unmeasured}{gaps}{'' if member.sure else '  clock unsure'}"
        )

    def at(self, at_ms: int) -> str:
        """State an instant."""
        try:
            return local(at_ms, self._zone)
        except (OverflowError, ValueError):  # a gate may state any time
            return f"{at_ms} ms"

    def _maybe(self, at_ms: int | None) -> str | None:
        return None if at_ms is None else self.at(at_ms)

    def _clock(self, at_ms: int) -> str:
        return moment(at_ms, self._zone)


def _lost(lost: Lost) -> Document:
    return {"unreadable": lost.unreadable, "retired": lost.retired}


def _unknown(reference: str) -> str:
    """Say that nothing was found: whoever has mistyped a subject must not take it for an answer."""
    return f"{reference} is known by no record of this span"


def _stated(said: Any) -> str:
    """State a word as it is, what has parts by its parts, and anything else as JSON."""
    match said:
        case str():
            return said
        case list():
            return ", ".join(map(_stated, said)) or "none"
        case dict():
            return " ".join(f"{name} {_stated(part)}" for name, part in said.items()) or "none"
        case _:
            return json.dumps(said)


def _lost_lines(lost: Lost) -> Iterator[str]:
    if lost.unreadable:
        yield f"{lost.unreadable} records of this span could not be read"
    if lost.retired:
        yield f"{lost.retired} records of this span are retired: their time is over"


def _plain(line: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in line)
