"""Late and missed in virtual time: raised when due, cleared when over, never for the centre's absence."""

from collections.abc import Sequence
from typing import Any

import pytest

from central.config import WatchSection
from central.store import Alarm, AlarmKind, GateKey, StreamState
from central.watch import Code, GateReport, Judgement, Names, Watch
from tests.central.streams import S, alarm, key, stream

SETTINGS = WatchSection(late_s=60, hole_s=120, silent_s=180, lost_s=15, clock_s=300)


class Centre:
    """A watch that is asked every second, and an alarm log that does what it is told."""

    def __init__(self, settings: WatchSection = SETTINGS, owed_ms: int = 0) -> None:
        self.watch = Watch(settings, lambda stopped_ms: max(stopped_ms, owed_ms))
        self.keys: list[GateKey] = [key()]
        self.reports: dict[Names, GateReport] = {}
        self.standing: list[Alarm] = []
        self.listening_since_ms: int | None = 0
        self.stopped: dict[Names, int] = {}
        self.log: list[tuple[int, str]] = []
        self.now_ms = 0

    def restart(self) -> None:
        self.watch = Watch(SETTINGS)
        self.listening_since_ms = self.now_ms
        self.reports.clear()

    def until(self, at_ms: int, states: Sequence[StreamState]) -> list[str]:
        """Let the seconds pass; return what stands then."""
        while self.now_ms < at_ms:
            self.now_ms += S
            self._apply(
                self.watch.examine(
                    states,
                    self.keys,
                    self.reports,
                    self.standing,
                    stopped=self.stopped,
                    listening_since_ms=self.listening_since_ms,
                    now_ms=self.now_ms,
                )
            )
        return [alarm.about.code for alarm in self.standing]

    def _apply(self, judgement: Judgement) -> None:
        for about in judgement.raised:
            self.log.append((self.now_ms, f"+{about.code}"))
            self.standing.append(Alarm(len(self.log), about, self.now_ms))
        for over in judgement.over:
            self.log.append((self.now_ms, f"-{over.about.code}"))
            self.standing.remove(over)


def fresh(now_ms: int, **changes: Any) -> StreamState:
    """A stream whose gate has just been heard."""
    return stream(**({"heard_ms": now_ms, "record_ms": now_ms} | changes))


def test_what_is_stated_and_not_proved_is_late_after_a_minute_and_over_when_proved() -> None:
    centre = Centre()
    waiting = fresh(600 * S, linked=10, head=10, proved=4)
    assert centre.until(61 * S, [waiting]) == []
    assert centre.until(62 * S, [waiting]) == ["late"]
    about = centre.standing[0].about
    assert (about.kind, about.first, about.last, about.epoch) == (AlarmKind.LATE, 5, 10, "e1")
    assert about.evidence["stated"] == 10
    assert centre.until(63 * S, [fresh(600 * S, linked=10, head=10, proved=10)]) == []
    assert centre.log == [(62 * S, "+late"), (63 * S, "-late")]


def test_a_gate_that_is_always_a_little_behind_is_not_late() -> None:
    centre = Centre()
    for second in range(1, 600):
        busy = fresh(second * S, linked=second, head=second, proved=max(0, second - 30))
        assert centre.until(second * S, [busy]) == []


def test_of_a_gate_that_states_more_each_minute_the_first_statement_counts() -> None:
    centre = Centre()
    for second in range(1, 100):
        growing = fresh(second * S, linked=0, head=10 + second, proved=0)
        centre.until(second * S, [growing])
    assert centre.log[0] == (62 * S, "+late")


def test_a_hole_that_stays_is_missed_and_one_that_fills_up_is_not() -> None:
    centre = Centre()
    for second in range(1, 300):  # a backlog that moves: there is a hole all the time, and it moves
        moving = fresh(second * S, linked=second, top=second + 5, head=second + 5, proved=second + 5)
        assert centre.until(second * S, [moving]) == []
    stuck = fresh(600 * S, linked=300, top=305, head=305, proved=300)
    assert "hole" not in centre.until(420 * S, [stuck])
    assert "hole" in centre.until(422 * S, [stuck])
    about = next(alarm.about for alarm in centre.standing if alarm.about.code == Code.HOLE)
    assert (about.kind, about.first, about.last) == (AlarmKind.MISSED, 301, 305)
    whole = fresh(600 * S, linked=305, top=305, head=305, proved=305)
    assert centre.until(423 * S, [whole]) == []


def test_records_that_a_finished_ledger_never_delivered_are_missed_for_ever() -> None:
    centre = Centre()
    ended = fresh(600 * S, linked=7, proved=7, head=7, ended=9, successor="e2")
    current = fresh(600 * S, id=2, epoch="e2", linked=1, proved=1, head=1)
    assert centre.until(200 * S, [ended, current]) == ["hole"]
    about = centre.standing[0].about
    assert (about.epoch, about.first, about.last) == ("e1", 8, 9)
    centre.restart()
    assert centre.until(800 * S, [ended, fresh(800 * S, id=2, epoch="e2", linked=1, proved=1, head=1)]) == [
        "hole"
    ]


def test_a_finished_ledger_is_not_late() -> None:
    centre = Centre()
    ended = fresh(600 * S, linked=9, proved=7, head=9, ended=9, successor="e2")
    assert centre.until(300 * S, [ended]) == []


@pytest.mark.parametrize("heard", ["heard_ms", "record_ms"])
def test_a_gate_that_says_nothing_is_silent_until_anything_comes(heard: str) -> None:
    centre = Centre()
    quiet = stream(**{heard: 20 * S})
    assert centre.until(200 * S, [quiet]) == []
    assert centre.until(201 * S, [quiet]) == ["silent"]
    about = centre.standing[0].about
    assert (about.kind, about.epoch, about.evidence["heard_ms"]) == (AlarmKind.MISSED, "", 20 * S)
    assert centre.until(202 * S, [stream(**{heard: 202 * S})]) == []


def test_a_gate_that_has_stopped_in_order_is_silent_when_it_owes_a_report() -> None:
    centre = Centre(owed_ms=5000 * S)
    centre.stopped = {("north", "g-1"): 20 * S}
    stopped = stream(heard_ms=20 * S)
    assert centre.until(4999 * S, [stopped]) == []
    assert centre.until(5000 * S, [stopped]) == ["silent"]
    assert centre.standing[0].about.evidence == {"heard_ms": 20 * S, "stopped_ms": 20 * S}
    centre.stopped = {}
    assert centre.until(5001 * S, [stream(heard_ms=5001 * S)]) == []


def test_a_gate_that_stops_beside_one_that_is_silent_excuses_only_itself() -> None:
    centre = Centre(owed_ms=5000 * S)
    centre.keys = [key(), key(gate="g-2")]
    centre.stopped = {("north", "g-2"): 20 * S}
    both = [stream(heard_ms=20 * S), stream(id=2, gate="g-2", heard_ms=20 * S)]
    assert centre.until(300 * S, both) == ["silent"]
    assert centre.standing[0].about.gate == "g-1"


def test_a_registered_gate_that_never_speaks_is_silent_and_one_registered_just_now_is_not() -> None:
    centre = Centre()
    centre.keys = [key(), key(gate="g-2", registered_ms=150 * S)]
    assert centre.until(181 * S, []) == ["silent"]
    assert centre.standing[0].about.gate == "g-1"
    centre.until(331 * S, [])
    assert [alarm.about.gate for alarm in centre.standing] == ["g-1", "g-2"]


def test_a_gate_without_a_key_is_nobody_s_to_miss() -> None:
    centre = Centre()
    centre.keys = [key(revoked_ms=5)]
    centre.reports = {("north", "g-1"): GateReport("lost", 0)}
    assert centre.until(900 * S, [stream(head=5, heard_ms=1)]) == []


def test_alarms_of_a_gate_whose_key_is_revoked_are_over() -> None:
    centre = Centre()
    assert centre.until(181 * S, []) == ["silent"]
    centre.keys = [key(revoked_ms=181 * S)]
    assert centre.until(182 * S, []) == []


def test_nobody_is_accused_while_the_centre_is_not_listening() -> None:
    centre = Centre()
    centre.listening_since_ms = None
    behind = stream(linked=5, head=10, heard_ms=1)
    assert centre.until(1000 * S, [behind]) == []
    centre.listening_since_ms = 1000 * S
    assert centre.until(1060 * S, [behind]) == []
    assert centre.until(1181 * S, [behind]) == ["late", "hole", "silent"]


def test_nothing_is_cleared_while_the_centre_is_not_listening() -> None:
    centre = Centre()
    assert centre.until(181 * S, []) == ["silent"]
    centre.listening_since_ms = None
    assert centre.until(400 * S, [stream(heard_ms=300 * S)]) == ["silent"]


def test_after_a_restart_alarms_stay_until_what_they_are_about_is_over() -> None:
    centre = Centre()
    behind = stream(linked=5, top=8, head=10, proved=5, heard_ms=1)
    centre.reports = {("north", "g-1"): GateReport("lost", 0)}
    assert sorted(centre.until(200 * S, [behind])) == ["hole", "late", "lost", "silent"]
    before = list(centre.log)
    centre.restart()
    assert sorted(centre.until(210 * S, [behind])) == ["hole", "late", "lost", "silent"]
    assert centre.log == before
    centre.reports = {("north", "g-1"): GateReport("ready", 210 * S)}
    done = fresh(210 * S, linked=10, head=10, proved=10)
    assert centre.until(211 * S, [done]) == []


def test_a_lost_connection_counts_when_it_does_not_come_back() -> None:
    centre = Centre()
    here = fresh(100 * S)
    centre.reports = {("north", "g-1"): GateReport("lost", 10 * S)}
    assert centre.until(25 * S, [here]) == []
    assert centre.until(26 * S, [here]) == ["lost"]
    centre.reports = {("north", "g-1"): GateReport("disconnected", 30 * S)}
    assert centre.until(31 * S, [here]) == []
    centre.reports = {("south", "g-9"): GateReport("lost", 30 * S)}
    assert centre.until(90 * S, [here]) == []


def test_a_connection_that_broke_while_nobody_listened_has_time_to_come_back() -> None:
    centre = Centre()
    centre.reports = {OURS: GateReport("lost", 5 * S)}
    centre.listening_since_ms = None
    assert centre.until(900 * S, [fresh(0)]) == []
    centre.listening_since_ms = 900 * S
    assert centre.until(915 * S, [fresh(900 * S)]) == []
    assert centre.until(916 * S, [fresh(900 * S)]) == ["lost"]


OURS = ("north", "g-1")


def said(centre: Centre, mode: str, state: str = "ready") -> None:
    """Have the gate say this, now, as the centre keeps it."""
    centre.reports = {OURS: centre.watch.report(centre.reports.get(OURS), state, mode, centre.now_ms)}


def test_a_gate_that_says_that_it_is_in_fault_is_believed_until_it_says_other() -> None:
    centre = Centre()
    centre.stopped = {OURS: 1}  # in order: its silence is excused, for it cannot sign
    said(centre, "suspended")
    here = fresh(100 * S)
    assert centre.until(5 * S, [here]) == []
    said(centre, "fault")
    assert centre.until(20 * S, [here]) == []
    assert centre.until(21 * S, [here]) == ["fault"]
    about = centre.standing[0].about
    assert (about.kind, about.site, about.gate, about.epoch) == (AlarmKind.MISSED, "north", "g-1", "")
    for state in ("lost", "disconnected"):
        said(centre, "fault", state)
        assert "fault" in centre.until(centre.now_ms + 9 * S, [here])
    centre.restart()
    assert "fault" in centre.until(centre.now_ms + 9 * S, [here]), "until it has said anything"
    said(centre, "", "lost")
    assert "fault" in centre.until(centre.now_ms + 20 * S, [here]), (
        "what the broker says is not the gate's word"
    )
    said(centre, "degraded")
    assert "fault" in centre.until(centre.now_ms + 15 * S, [here])
    assert "fault" not in centre.until(centre.now_ms + S, [here])


def turns(centre: Centre, times: int, *said_for_s: tuple[str, int]) -> None:
    """Have the gate say one thing after the other, each for so long, again and again."""
    for _ in range(times):
        for mode, for_s in said_for_s:
            said(centre, mode)
            centre.until(centre.now_ms + for_s * S, [fresh(centre.now_ms)])


def test_a_relay_that_is_away_for_a_moment_now_and_then_is_no_alarm() -> None:
    centre = Centre()
    turns(centre, 60, ("fault", 14), ("serving", 16))
    assert centre.log == []


def test_a_part_that_comes_and_goes_is_one_alarm_until_it_stays() -> None:
    centre = Centre()
    turns(centre, 80, ("fault", 14), ("degraded", 1))
    assert centre.log == [(16 * S, "+fault")]
    assert centre.standing[0].about.evidence["since_ms"] == 0
    well_ms = centre.now_ms - S
    turns(centre, 6, ("serving", 10), ("degraded", 10))
    assert centre.log[1:] == [(well_ms + 16 * S, "-fault")], "in which other mode makes no difference"
    again_ms = centre.now_ms
    turns(centre, 1, ("fault", 30))
    assert centre.log[2:] == [(again_ms + 16 * S, "+fault")], "the old fault is forgotten"


def test_a_gate_that_names_no_mode_has_named_no_other_one() -> None:
    centre = Centre()
    turns(centre, 1, ("fault", 20), ("", 60))
    assert centre.log == [(16 * S, "+fault")]
    turns(centre, 1, ("serving", 20))
    assert centre.log[1:] == [(96 * S, "-fault")]


def test_a_gate_that_is_lost_stays_in_the_mode_that_it_has_named() -> None:
    centre = Centre()
    said(centre, "fault")
    said(centre, "", "lost")
    assert centre.reports[OURS].mode == "fault"
    assert centre.until(16 * S, [fresh(0)]) == ["lost", "fault"]


def test_a_fault_while_the_centre_was_away_counts_from_when_it_listens_again() -> None:
    centre = Centre()
    said(centre, "fault")
    centre.listening_since_ms = None
    centre.until(900 * S, [])
    centre.listening_since_ms = 900 * S
    assert centre.until(915 * S, [fresh(900 * S)]) == [], "it may have been well for long, and say so now"
    assert centre.until(916 * S, [fresh(900 * S)]) == ["fault"]


def test_a_fault_is_not_over_because_the_centre_was_away() -> None:
    centre = Centre()
    turns(centre, 1, ("fault", 20), ("serving", 2))
    centre.listening_since_ms = None
    centre.until(900 * S, [])
    centre.listening_since_ms = 900 * S
    assert centre.until(915 * S, [fresh(900 * S)]) == ["fault"], "it may have been in fault since, and say so"
    assert centre.until(916 * S, [fresh(900 * S)]) == []


def test_a_gate_that_is_stopped_in_fault_is_an_alarm_until_somebody_has_looked_into_it() -> None:
    centre = Centre()
    centre.stopped = {OURS: 1}
    here = fresh(0)
    said(centre, "serving")
    centre.until(10 * S, [here])
    said(centre, "fault")
    centre.until(13 * S, [here])
    said(centre, "fault", "disconnected")
    assert centre.until(25 * S, [here]) == []
    assert "fault" in centre.until(26 * S, [here])
    assert "fault" in centre.until(60 * S, [here])
    centre.standing = [one for one in centre.standing if one.about.code != "fault"]
    assert "fault" not in centre.until(90 * S, [here]), "it is still off, and that is known"
    said(centre, "fault")
    assert "fault" in centre.until(91 * S, [here]), "it is back, and in fault"


@pytest.mark.parametrize(
    ("names", "report"),
    [
        (("south", "g-9"), GateReport("ready", 0, "fault", 0)),
        (("north", "g-1"), GateReport("disconnected", 0, "fault", 0)),
    ],
)
def test_only_a_gate_of_ours_that_is_at_work_is_in_fault(names: Names, report: GateReport) -> None:
    centre = Centre()
    centre.reports = {names: report}
    assert centre.until(5 * S, [fresh(5 * S)]) == []


def test_a_clock_that_is_ahead_is_seen_at_once_unless_nobody_trusts_it() -> None:
    ahead = stream(heard_ms=10 * S, head_at_ms=311 * S)
    assert Centre().until(11 * S, [ahead]) == ["clock"]
    assert Centre().until(11 * S, [stream(heard_ms=10 * S, head_at_ms=310 * S)]) == []
    unsure = stream(heard_ms=10 * S, head_at_ms=311 * S, head_clock_trusted=False)
    assert Centre().until(11 * S, [unsure]) == []


def test_a_clock_that_is_behind_is_told_from_a_checkpoint_that_came_late() -> None:
    centre = Centre()
    centre.until(10 * S, [stream()])
    late_one = stream(heard_ms=10 * S, head_at_ms=-600 * S)
    assert "clock" not in centre.until(400 * S, [late_one])
    for second in range(401, 700):
        centre.until(second * S, [fresh(second * S, head_at_ms=(second - 600) * S)])
    assert "clock" in centre.until(700 * S, [fresh(700 * S, head_at_ms=100 * S)])
    centre.restart()
    wrong = fresh(701 * S, head_at_ms=101 * S)
    assert centre.until(702 * S, [wrong]) == ["clock"]
    right = fresh(703 * S, head_at_ms=703 * S)
    assert centre.until(703 * S, [right]) == []


def test_alarms_that_the_store_has_raised_are_left_alone() -> None:
    centre = Centre()
    centre.standing = [
        alarm(AlarmKind.FALSE, "altered", raised_ms=0),
        alarm(AlarmKind.LATE, "report", raised_ms=0),
    ]
    assert centre.until(5 * S, [fresh(5 * S)]) == ["altered", "report"]
