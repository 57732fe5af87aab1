"""The centre at the gate: commands, policies, receipts that do not agree, and a ledger that begins anew."""

import json
from dataclasses import replace
from typing import Any

import pytest
from gatebox import (
    CENTRE,
    CENTRE_KEYS,
    EPOCH_2,
    ORIGIN,
    RUN,
    SITE,
    STRANGER,
    TRUST,
    WALL_0_S,
    Box,
    command,
    do,
    effects_of,
    play,
    scenarios,
)
from hypothesis import given
from hypothesis import strategies as st

from gate.config import load_policy
from gate.core import orders
from gate.core.actor import GateActor
from gate.core.commands import CentreWord, Name
from gate.core.delivery import PreviousEpoch
from gate.core.effects import AdoptPolicy, Effect, Record, RenewLedger, RequestUpdate
from gate.core.events import Kind
from gate.core.evidence import Direction
from gate.core.inputs import (
    CommandReceived,
    LedgerOpened,
    LedgerRenewed,
    PolicyReceived,
    Started,
    TimePassed,
    UpdateReported,
)
from gate.core.mode import Mode
from gate.core.moment import NS_PER_S
from gate.core.signed import MESSAGE_BYTES_MAX
from gate.core.texts import Key
from gate.core.updates import UpdateOutcome, UpdateResult

COUNTY_HALL = load_policy("county-hall")
EARLIER = "ffffffff-000001"
OPEN_POLICY = replace(COUNTY_HALL, on_ledger_failure="open")

OBEYED = {
    "it is on record before anything happens, and obeyed as soon as time moves": """
        starts                      | started; idle
        command 5 checkpoint        | command 5 checkpoint done
        wait 0                      | checkpoint
        wait 100                    |
    """,
    "what comes next finds it obeyed": """
        starts                      | started; idle
        command 1 resend 40         | command 1 resend done
        arrives                     | send again after 40; welcome; measure
    """,
    "another command comes next": """
        starts                      | started; idle
        command 1 resend 40         | command 1 resend done
        command 2 checkpoint        | send again after 40; command 2 checkpoint done
        wait 0                      | checkpoint
    """,
    "suspended and resumed": """
        starts                      | started; idle
        command 1 suspend flood     | command 1 suspend done
        wait 0                      | mode suspended; idle, suspended
        command 2 suspend flood     | command 2 suspend done
        wait 0                      |
        command 3 resume            | command 3 resume done
        wait 0                      | mode serving; idle
        command 4 resume            | command 4 resume done
        wait 0                      |
    """,
    "a suspension by document stands when the centre resumes, and the other way round": """
        starts                      | started; idle
        document 1: suspended       | keep suspension-county; document suspension 1 accepted;
                                    | mode suspended; idle, suspended
        command 1 resume            | command 1 resume done
        wait 0                      |
        command 2 suspend flood     | command 2 suspend done
        document 2: resumed         | keep suspension-county; document suspension 2 accepted
        command 3 resume            | command 3 resume done
        wait 0                      | mode serving; idle
    """,
    "staff are served while the centre suspends, visitors are not": """
        starts                      | started; idle
        command 1 suspend flood     | command 1 suspend done
        wait 0                      | mode suspended; idle, suspended
        arrives                     | welcome; measure
        36.50                       |
        mask on                     |
        shows staff                 | authorised; UNLOCK; pass_please
        turns                       | passed; LOCK; idle, suspended
        leaves                      |
        wait 5                      |
        arrives                     | welcome; measure
        36.50                       |
        mask on                     |
        shows green                 | refused CO-7:suspended; suspended
    """,
    "it comes in the middle of a visit": """
        starts                      | started; idle
        arrives                     | welcome; measure
        36.50                       |
        mask on                     |
        command 1 suspend flood     | command 1 suspend done
        shows green                 | mode suspended; refused CO-7:suspended; suspended
    """,
    "the person on duty cannot vouch against it": """
        starts                      | started; idle
        arrives                     | welcome; measure
        36.50                       |
        mask on                     |
        wait 12                     | referred TR-1:code_missing TR-1:travel_unknown
                                    | TR-1:registration_missing; see_staff
        command 1 suspend flood     | command 1 suspend done
        staff confirms              | mode suspended; refused CO-7:suspended; suspended
    """,
    "whoever is let in already goes through": """
        starts                      | started; idle
        arrives                     | welcome; measure
        36.50                       |
        mask on                     |
        shows green                 | authorised; UNLOCK; pass_please
        command 1 suspend flood     | command 1 suspend done
        turns                       | mode suspended; passed; LOCK; idle, suspended
    """,
    "a document, as if it had come by itself": """
        starts                      | started; idle
        command 1 document 2: counts 50 | command 1 document done
        wait 0                      | keep occupancy-county; document occupancy 2 accepted
        command 2 document 2: counts 50 | command 2 document done
        wait 0                      |
        command 3 document 2: counts 51 | command 3 document failed conflict
        command 4 document 1: counts 50 | command 4 document failed older
        wait 0                      |
    """,
    "a policy is read elsewhere": """
        starts                      | started; idle
        command 5 policy some text  | command 5 policy done
        wait 0                      | adopt c5
        policy cannot be read       | policy_rejected: c5: no such rule
    """,
}
REFUSED = {
    "each of them is on record": """
        starts                              | started; idle
        command 5 resend 1                  | command 5 resend done
        wait 0                              | send again after 1
        command 5 resend 1                  | command 5 resend refused replayed
        command 4 resend 1                  | command 4 resend refused replayed
        retained command 6 resend 1         | command 6 resend refused retained
        misaddressed command 6 resend 1     | command 6 resend refused misaddressed
        expired command 6 resend 1          | command 6 resend refused expired
        early command 6 resend 1            | command 6 resend refused not_yet
        clock unsure                        |
        command 6 resend 1                  | command 6 resend refused clock_unsure
        clock sure                          |
        command 6 resend 1                  | command 6 resend done
        wait 0                              | send again after 1
    """,
    "what nobody known has signed once a minute, with a count of the rest": """
        starts                              | started; idle
        stranger's command 5 suspend x      | command refused unknown_key
        forged command 5 suspend x          |
        stranger's command 6 suspend x      |
        wait 59                             |
        wait 1                              | command refused too_many x2
        forged command 5 suspend x          |
        wait 60                             | command refused too_many x1
        wait 59                             |
        wait 61                             |
        forged command 5 suspend x          | command refused bad_signature
        wait 1000                           |
        arrives                             | welcome; measure
    """,
    "it leaves no trace in what happens": """
        starts                              | started; idle
        forged command 1 suspend x          | command refused bad_signature
        stranger's command 1 open_once x    |
        expired command 1 open_once x       | command 1 open_once refused expired
        misaddressed command 1 suspend x    | command 1 suspend refused misaddressed
        retained command 1 suspend x        | command 1 suspend refused retained
        wait 0                              |
        arrives                             | welcome; measure
        mask on                             |
        36.50                               |
        shows green                         | authorised; UNLOCK; pass_please
    """,
}
OPENED = {
    "nobody is there": """
        starts                      | started; idle
        command 1 open_once gurney  | command 1 open_once done
        wait 0                      | UNLOCK; opened_by_centre
        turns                       | passed; LOCK; idle
        turns                       | passage without visit; forced
    """,
    "nobody comes": """
        starts                      | started; idle
        command 1 open_once gurney  | command 1 open_once done
        wait 0                      | UNLOCK; opened_by_centre
        wait 6                      | LOCK; not_passed; not_passed
        wait 5                      | idle
    """,
    "for somebody who is not let in": """
        starts                      | started; idle
        arrives                     | welcome; measure
        36.50                       |
        wait 12                     | referred TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                                    | TR-1:registration_missing; see_staff
        command 1 open_once gurney  | command 1 open_once done
        wait 0                      | interrupted; UNLOCK; opened_by_centre
        staff confirms              |
        turns                       | passed; LOCK; idle
    """,
    "what was measured of them is kept, and opens nothing": """
        starts                      | started; idle
        arrives                     | welcome; measure
        38.00                       | please_wait_retest wait_s=3
        command 1 open_once gurney  | command 1 open_once done
        wait 0                      | undecided TR-1:code_missing TR-1:travel_unknown TR-1:mask_unknown
                                    | TR-1:registration_missing; interrupted; UNLOCK; opened_by_centre
        leaves                      |
        turns                       | passed; LOCK; idle
    """,
    "the arm is free already": """
        starts                      | started; idle
        command 1 open_once gurney  | command 1 open_once done
        wait 0                      | UNLOCK; opened_by_centre
        command 2 open_once gurney  | command 2 open_once failed busy
        turns                       | passed; LOCK; idle
        command 3 open_once gurney  | command 3 open_once done
        wait 0                      | UNLOCK; opened_by_centre
    """,
    "the person on duty calls them back": """
        starts                      | started; idle
        command 1 open_once gurney  | command 1 open_once done
        wait 0                      | UNLOCK; opened_by_centre
        staff refuses               | LOCK; not_passed; refused_by_attendant
    """,
    "also while visitors are not served": """
        starts                      | started; idle
        command 1 suspend flood     | command 1 suspend done
        wait 0                      | mode suspended; idle, suspended
        command 2 open_once plumber | command 2 open_once done
        wait 0                      | UNLOCK; opened_by_centre
    """,
    "not in a fault": """
        starts                      | started; idle
        turnstile fails             | turnstile failed; mode fault; out of order
        command 1 open_once gurney  | command 1 open_once failed fault
        wait 0                      |
    """,
    "not in a fire, in which everything is open": """
        starts                      | started; idle
        fire                        | OPEN; evacuate; fire on; mode evacuating; evacuate
        command 1 open_once gurney  | command 1 open_once failed evacuating
        wait 0                      |
    """,
    "a fire comes between the record and the deed": """
        starts                      | started; idle
        command 1 open_once gurney  | command 1 open_once done
        fire                        | OPEN; evacuate; fire on; mode evacuating; evacuate
        wait 0                      |
    """,
    "a fire comes while it is open": """
        starts                      | started; idle
        command 1 open_once gurney  | command 1 open_once done
        wait 0                      | UNLOCK; opened_by_centre
        fire                        | OPEN; evacuate; interrupted; fire on; mode evacuating; evacuate
        turns                       |
    """,
}
IN_A_FIRE = {
    "nothing of the centre closes a door": """
        starts                      | started; idle
        fire                        | OPEN; evacuate; fire on; mode evacuating; evacuate
        command 1 suspend flood     | command 1 suspend done
        wait 0                      |
        policy bureau               | policy bureau by c5
        receipt disagrees           | receipt_disagreed: record 40: beyond the head; RENEW;
                                    | epoch after 6: beyond the head
        turns                       |
        fire over                   | LOCK; fire 1; mode suspended; idle, suspended
    """,
}
UNRECORDED = {
    "it is not obeyed, then or later": """
        starts                      | started; idle
        disk fills up               |
        command 1 suspend flood     | command 1 suspend done!; LOCK; out of order
        wait 0                      |
        disk has room               |
        wait 10                     | late command 1 suspend failed not_recorded; late mode fault;
                                    | mode serving; idle
        command 1 suspend flood     | command 1 suspend refused replayed
        command 2 suspend flood     | command 2 suspend done
        wait 0                      | mode suspended; idle, suspended
    """,
    "no arm is freed": """
        starts                      | started; idle
        disk fills up               |
        command 1 open_once gurney  | command 1 open_once done!; LOCK; out of order
        turns                       | passage without visit!; LOCK; out of order
        disk has room               |
        wait 10                     | late command 1 open_once failed not_recorded; late mode fault;
                                    | late passage without visit; mode serving; idle
    """,
    "one that failed before stays failed": """
        starts                      | started; idle
        turnstile fails             | turnstile failed; mode fault; out of order
        disk fills up               |
        command 1 open_once gurney  | command 1 open_once failed fault!; LOCK; out of order
        stranger's command 2 resume | command refused unknown_key!; LOCK; out of order
        disk has room               |
        wait 10                     | late command 1 open_once failed fault; late command refused unknown_key
    """,
    "a record behind it is not its own": """
        starts                      | started; idle
        command 1 suspend flood     | command 1 suspend done
        disk fills up               |
        fire                        | OPEN; evacuate; fire on!; evacuate
        disk has room               |
        wait 10                     | late fire on; late mode evacuating
        fire over                   | LOCK; fire 0; mode suspended; idle, suspended
    """,
}
UNRECORDED_WHERE_IT_SERVES_ON = {
    "it is not obeyed although visitors are served": """
        starts                      | started; idle
        disk fills up               |
        command 1 open_once gurney  | command 1 open_once done!; out of order
        wait 0                      |
        arrives                     | welcome; measure
        disk has room               |
        wait 10                     | late command 1 open_once failed not_recorded; late mode fault;
                                    | mode serving
    """,
    "no epoch begins while its reason is not on record": """
        starts                      | started; idle
        disk fills up               |
        receipt disagrees           | receipt_disagreed: record 40: beyond the head!; out of order
        disk has room               |
        wait 10                     | late receipt_disagreed: record 40: beyond the head; RENEW;
                                    | epoch after 2: beyond the head; late mode fault; mode serving; idle
    """,
}
POLICIES = {
    "at once when nobody is there": """
        starts                      | started; idle
        policy bureau               | policy bureau by c5
    """,
    "never in the middle of a visit": """
        starts                      | started; idle
        arrives                     | welcome; measure
        policy bureau               |
        36.50                       |
        mask on                     |
        shows green                 | authorised; UNLOCK; pass_please
        turns                       | passed; LOCK; idle
        wait 0                      | policy bureau by c5
    """,
    "nor later than with the next one": """
        starts                      | started; idle
        arrives                     | welcome; measure
        policy bureau               |
        36.50                       |
        mask on                     |
        shows green                 | authorised; UNLOCK; pass_please
        arrives                     |
        turns                       | passed; LOCK; policy bureau by c5; welcome; measure
    """,
    "two in one visit: the newer": """
        starts                      | started; idle
        arrives                     | welcome; measure
        policy bureau               |
        policy grid                 |
        leaves                      |
        wait 3                      | idle; policy grid by c5
    """,
}
RECEIPTS = {
    "one that went back is on record": """
        starts                      | started; idle
        receipt went back           | receipt_went_back: from record 40 to record 30
    """,
    "one that disagrees begins a new epoch, and what follows is for that one": """
        starts                          | started; idle
        command 1 suspend flood         | command 1 suspend done
        receipt disagrees               | mode suspended; idle, suspended;
                                        | receipt_disagreed: record 40: beyond the head; RENEW;
                                        | epoch after 4: beyond the head
        command 2 resume                | command 2 resume refused misaddressed
        wait 100                        |
    """,
    "a visitor's evidence goes on into the new epoch": """
        starts                          | started; idle
        arrives                         | welcome; measure
        36.50                           |
        receipt disagrees               | receipt_disagreed: record 40: beyond the head; RENEW;
                                        | epoch after 2: beyond the head
        mask on                         |
        shows green                     | authorised; UNLOCK; pass_please
        turns                           | passed; LOCK; idle
    """,
    "whoever is let in is on record there too, and goes through": """
        starts                          | started; idle
        arrives                         | welcome; measure
        36.50                           |
        mask on                         |
        shows green                     | authorised; UNLOCK; pass_please
        receipt disagrees               | receipt_disagreed: record 40: beyond the head; RENEW;
                                        | epoch after 3: beyond the head; authorised
        turns                           | passed; LOCK; idle
    """,
    "whoever the centre has let in as well": """
        starts                          | started; idle
        command 1 open_once gurney      | command 1 open_once done
        wait 0                          | UNLOCK; opened_by_centre
        receipt disagrees               | receipt_disagreed: record 40: beyond the head; RENEW;
                                        | epoch after 3: beyond the head; command 1 open_once done
        wait 6                          | LOCK; not_passed; not_passed
        receipt disagrees               | receipt_disagreed: record 40: beyond the head; RENEW;
                                        | epoch after 7: beyond the head
    """,
    "whoever is with the person on duty": """
        starts                          | started; idle
        arrives                         | welcome; measure
        36.50                           |
        mask on                         |
        wait 12                         | referred TR-1:code_missing TR-1:travel_unknown
                                        | TR-1:registration_missing; see_staff
        receipt disagrees               | receipt_disagreed: record 40: beyond the head; RENEW;
                                        | epoch after 3: beyond the head; referred TR-1:code_missing
                                        | TR-1:travel_unknown TR-1:registration_missing
        staff confirms                  | authorised; UNLOCK; pass_please
        turns                           | passed; LOCK; idle
    """,
    "no new file can be made: it is tried again, and said once": """
        starts                          | started; idle
        no new file can be made         |
        receipt disagrees               | receipt_disagreed: record 40: beyond the head; RENEW!
        receipt disagrees               | RENEW!
        wait 9.9                        |
        wait 0.1                        | RENEW!
        arrives                         | welcome; measure
        new files can be made           |
        leaves                          |
        wait 10                         | idle; RENEW; epoch after 2: beyond the head
        wait 100                        |
    """,
    "the disk is full: it begins when there is room": """
        starts                          | started; idle
        disk fills up                   |
        receipt disagrees               | receipt_disagreed: record 40: beyond the head!; LOCK; out of order
        disk has room                   |
        wait 10                         | late receipt_disagreed: record 40: beyond the head; RENEW;
                                        | epoch after 2: beyond the head; late mode fault; mode serving; idle
    """,
}


@scenarios(OBEYED | REFUSED | OPENED | IN_A_FIRE | UNRECORDED | POLICIES | RECEIPTS)
def test_scenario(scenario: str) -> None:
    play(scenario)


@scenarios(UNRECORDED_WHERE_IT_SERVES_ON)
def test_where_the_plan_serves_on(scenario: str) -> None:
    play(scenario, Box(OPEN_POLICY))


# --- the centre's word


def test_the_word_is_on_disk_with_the_record_of_the_command() -> None:
    box = Box()
    words = []
    for phrase in ("starts", "command 5 suspend flood", "command 9 checkpoint", "expired command 10 resume"):
        do(box, phrase)
        words.append(box.word_recorded)
    assert words == [CentreWord(), CentreWord(5, "flood"), CentreWord(9, "flood"), CentreWord(9, "flood")]
    do(box, "command 11 resume")
    assert box.word_recorded == CentreWord(11, "")


def test_it_outlives_a_restart() -> None:
    box = Box()
    box.feed(Started("1.0", epoch=ORIGIN.epoch, word=CentreWord(5, "flood")))
    assert box.performed == ["started", "idle", "mode suspended", "idle, suspended"]
    assert do(box, "command 5 resume") == ["command 5 resume refused replayed"]
    assert do(box, "command 6 resume", "wait 0") == ["command 6 resume done", "mode serving", "idle"]


def test_it_goes_on_into_a_new_epoch() -> None:
    box = play(RECEIPTS["one that disagrees begins a new epoch, and what follows is for that one"])
    assert box.word_recorded == CentreWord(1, "flood")
    message = command(2, Name.RESUME, epoch=EPOCH_2, from_s=box.now.wall_s)
    assert box.feed(CommandReceived(message, retained=False)) == ["command 2 resume done"]
    assert do(box, "wait 0") == ["mode serving", "idle"]


def test_a_ledger_that_opens_late_brings_its_word() -> None:
    box = Box()
    box.feed(Started("1.0"))
    assert do(box, "command 6 checkpoint") == ["command 6 checkpoint refused misaddressed"]
    word = CentreWord(5, "flood")
    assert box.feed(LedgerOpened((), (), ORIGIN.epoch, word)) == ["mode suspended", "idle, suspended"]
    assert do(box, "command 6 resume", "wait 0") == ["command 6 resume done", "mode serving", "idle"]


def test_what_was_heard_since_counts_when_a_ledger_is_opened_again() -> None:
    box = Box()
    do(box, "starts", "command 5 suspend flood", "wait 0")
    box.feed(LedgerOpened((), (), ORIGIN.epoch, CentreWord(4, "")))
    assert do(box, "command 5 resume") == ["command 5 resume refused replayed"]
    assert box.actor.mode is Mode.SUSPENDED


def test_a_record_that_comes_late_carries_the_word_of_now() -> None:
    """Otherwise a suspension, or a counter that was used, would be forgotten at the next start."""
    box = Box()
    do(box, "starts", "turnstile fails", "disk fills up", "command 5 open_once x", "disk has room")
    do(box, "turnstile works", "command 6 suspend flood", "wait 10")
    assert [data["counter"] for data in box.data(Kind.COMMAND)] == [6, 5]
    assert box.word_recorded == CentreWord(6, "flood")


# --- the first record of an epoch


@pytest.mark.parametrize("start", [Started("1.0", (EARLIER,)), LedgerOpened((EARLIER,), ())])
def test_the_first_record_says_why_the_epoch_has_begun(start: Any) -> None:
    box = Box()
    previous = PreviousEpoch("", 0, "", "first start")
    box.feed(replace(start, epoch=ORIGIN.epoch, new_epoch=previous, word=CentreWord(3, "")))
    assert box.recorded[0].kind is Kind.EPOCH_STARTED
    assert box.recorded[0].data == {"reason": "first start", "previous": None}
    assert box.word_recorded == CentreWord(3, "")


def test_a_new_epoch_names_the_one_before() -> None:
    box = do_and_box("starts", "receipt disagrees")
    assert box.data(Kind.EPOCH_STARTED) == [
        {
            "reason": "beyond the head",
            "previous": {"epoch": ORIGIN.epoch, "size": 2, "hash": "ab" * 32},
        }
    ]


def test_the_first_record_of_a_new_file_that_takes_nothing_comes_late() -> None:
    box = Box()
    do(box, "starts", "arrives", "36.50", "mask on", "shows green")
    box.ledger_works = False
    performed = box.feed(LedgerRenewed(EPOCH_2, PreviousEpoch(ORIGIN.epoch, 2, "ab" * 32, "clone")))
    assert performed == ["epoch after 2: clone!", "LOCK", "out of order"]
    assert do(box, "disk has room", "wait 10") == [
        "late epoch after 2: clone",
        "late undecided",
        "late interrupted",
        "late mode fault",
        "mode serving",
        "idle",
    ]


def do_and_box(*phrases: str) -> Box:
    box = Box()
    do(box, *phrases)
    return box


def test_a_new_epoch_is_the_last_thing_that_is_asked_for() -> None:
    """Nothing may be recorded between it and its first record."""
    box = Box()
    do(box, "starts", "arrives", "receipt disagrees", "disk fills up", "camera fails", "receipt disagrees")
    do(box, "wait 30", "disk has room", "wait 30")
    assert effects_of(box, RenewLedger)
    for _, effects in box.actor.answers:
        assert all(not isinstance(effect, RenewLedger) for effect in effects[:-1])


# --- floods


def test_a_flood_of_strangers_leaves_two_records_a_minute_and_a_count() -> None:
    box = Box()
    do(box, "starts")
    message = command(1, Name.SUSPEND, "x", key=STRANGER)
    for _ in range(1000):
        box.feed(CommandReceived(message, retained=False))
    do(box, "wait 60")
    told = [(data["reason"], data.get("left_out")) for data in box.data(Kind.COMMAND)]
    assert told == [("unknown_key", None), ("too_many", 999)]


def test_a_flood_of_replays_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "REFUSED_PER_MINUTE", 3)
    box = Box()
    do(box, "starts", "command 1 checkpoint", *["command 1 checkpoint"] * 10, "wait 59.9")
    assert [data["outcome"] for data in box.data(Kind.COMMAND)] == ["done", *["refused"] * 3]
    do(box, "wait 0.1", *["command 1 checkpoint"] * 10)
    reasons = [data["reason"] for data in box.data(Kind.COMMAND)[4:]]
    assert reasons == ["too_many", "replayed", "replayed"]
    assert box.data(Kind.COMMAND)[4]["left_out"] == 7
    assert do(box, "command 2 checkpoint", "wait 0") == ["command 2 checkpoint done", "checkpoint"]


def test_no_word_of_a_stranger_is_on_record() -> None:
    box = Box()
    do(box, "starts")
    box.feed(CommandReceived(command(7, Name.SUSPEND, "look at me", key=STRANGER), retained=False))
    box.feed(CommandReceived(b"x" * (MESSAGE_BYTES_MAX + 1), retained=False))
    assert "look at me" not in json.dumps([event.data for event in box.recorded])
    assert [data["id"] for data in box.data(Kind.COMMAND)] == [None]


def answers(effects: list[Effect]) -> list[dict[str, Any]]:
    """Return what the answers to commands among these effects say."""
    records = (effect.event for effect in effects if isinstance(effect, Record))
    return [event.data for event in records if event.kind is Kind.COMMAND]


def test_a_gate_without_a_centre_obeys_nobody() -> None:
    actor = GateActor(COUNTY_HALL, TRUST, SITE, RUN)
    box = Box()
    actor.handle(Started("1.0", epoch=ORIGIN.epoch), box.now)
    effects = actor.handle(CommandReceived(command(1, Name.SUSPEND, "x"), retained=False), box.now)
    assert [effect.event.data["reason"] for effect in effects if isinstance(effect, Record)] == [
        "unknown_key"
    ]


def test_one_of_several_keys_is_enough() -> None:
    """While the centre changes its key, both count."""
    actor = GateActor(
        COUNTY_HALL,
        TRUST,
        SITE,
        RUN,
        gate=ORIGIN.gate,
        centre_keys=(STRANGER.public_key().public_bytes_raw(), *CENTRE_KEYS),
    )
    box = Box()
    actor.handle(Started("1.0", epoch=ORIGIN.epoch), box.now)
    for counter, key in ((1, STRANGER), (2, CENTRE)):
        message = command(counter, Name.CHECKPOINT, key=key)
        effects = actor.handle(CommandReceived(message, retained=False), box.now)
        assert any(
            isinstance(effect, Record) and effect.event.data["outcome"] == "done" for effect in effects
        )


# --- what a command brings


def test_the_text_of_a_policy_is_handed_on_as_it_is() -> None:
    text = 'extends = "bureau"\nname = "夜间"\n'
    box = Box()
    do(box, "starts")
    box.feed(CommandReceived(command(5, Name.POLICY, text), retained=False))
    do(box, "wait 0")
    assert effects_of(box, AdoptPolicy) == [AdoptPolicy(text, "c5")]


def test_an_update_is_asked_for_once_it_is_on_record_and_what_comes_of_it_is_recorded() -> None:
    box = Box()
    do(box, "starts")
    assert do(box, "command 5 update 0.2.0-1") == ["command 5 update done"]
    assert do(box, "wait 0") == ["ask for 0.2.0-1 by c5"]
    assert effects_of(box, RequestUpdate) == [RequestUpdate("0.2.0-1", "c5")]
    for outcome in (UpdateOutcome.WAITING, UpdateOutcome.ROLLED_BACK):
        box.feed(UpdateReported(UpdateResult("0.2.0-1", "0.1.0-1", outcome, "not ready", "c5", 1)))
    words = [f"update to 0.2.0-1 by c5: {outcome}" for outcome in ("waiting", "rolled_back")]
    assert box.performed[-2:] == words
    do(box, "starts", "command 5 update 0.2.0-1", "wait 60")
    assert effects_of(box, RequestUpdate) == [RequestUpdate("0.2.0-1", "c5")]  # a replay asks for nothing


def test_a_document_that_nobody_vouches_for_is_refused_with_its_reason() -> None:
    box = Box()
    do(box, "starts")
    box.feed(CommandReceived(command(5, Name.DOCUMENT, "HGD1:nonsense"), retained=False))
    assert box.data(Kind.COMMAND)[-1]["reason"] == "malformed"
    assert do(box, "wait 0") == []


def test_the_opened_passage_belongs_to_the_record_of_its_command() -> None:
    box = Box()
    do(box, "starts", "arrives", "leaves", "wait 5", "command 1 open_once gurney", "wait 0", "turns")
    (told,) = box.data(Kind.COMMAND)
    (closed,) = box.data(Kind.VISIT_CLOSED)
    assert told["visit"] == closed["visit"] == f"{RUN}-000002"
    assert closed["result"] == "passed"


def test_after_an_opened_passage_the_next_one_begins_a_visit_of_their_own() -> None:
    box = Box()
    do(box, "starts", "arrives", "shows green", "command 1 open_once gurney", "wait 0", "arrives")
    assert do(box, "turns") == ["passed", "LOCK", "welcome", "measure"]
    visit = box.actor.visit
    assert visit is not None
    assert (visit.evidence.code, visit.recorded, visit.told) == (None, False, None)


def test_a_policy_counts_for_the_next_visitor_by_name_and_hash() -> None:
    box = Box()
    do(box, "starts", "arrives", "policy bureau", "36.50", "mask on", "shows green", "turns", "leaves")
    do(box, "wait 5", "arrives", "36.50", "mask on", "shows friend")
    assert [data["policy"] for data in box.data(Kind.VISIT_DECIDED)] == ["county-hall", "bureau"]
    (adopted,) = box.data(Kind.POLICY_ADOPTED)
    assert adopted["policy_hash"] == box.decided["policy_hash"]
    assert box.actor.policy.name == "bureau"


def test_a_policy_brings_its_hours_and_its_way_of_failing() -> None:
    night = replace(load_policy("township-hall"), on_ledger_failure="open")
    assert night.hours is not None
    box = Box(wall_0_s=WALL_0_S - WALL_0_S % 86_400 + 20 * 3600)  # 04:00 in the plans' time zone
    do(box, "starts", "document 1 for 864000: counts 50", "wait 1")
    box.feed(PolicyReceived(night, "c5"))
    assert box.performed[-3:] == ["policy township-hall by c5", "mode closed_hours", "idle, closed"]
    do(box, "disk fills up", "camera fails", "arrives")
    assert box.actor.visit is not None  # it serves on


def test_the_way_out_serves_on_under_every_policy() -> None:
    box = Box(direction=Direction.OUT)
    do(box, "starts", "policy bureau", "disk fills up", "camera fails")
    assert "UNLOCK" in do(box, "arrives")


def test_the_screen_says_who_has_opened() -> None:
    box = Box()
    do(box, "starts", "command 1 open_once gurney", "wait 0")
    assert box.performed[-1] == Key.OPENED_BY_CENTRE


# --- whatever comes


steps = st.sampled_from(
    [
        "arrives",
        "leaves",
        "shows green",
        "shows staff",
        "36.50",
        "38.00",
        "mask on",
        "turns",
        "staff confirms",
        "staff refuses",
        "fire",
        "fire over",
        "disk fills up",
        "disk has room",
        "turnstile fails",
        "turnstile works",
        "receipt disagrees",
        "no new file can be made",
        "new files can be made",
        "policy bureau",
        "policy county-hall",
        "wait 0",
        "wait 3",
        "wait 20",
        "SUSPEND",
        "RESUME",
        "OPEN",
        "forged command 1 suspend x",
        "command 1 suspend x",
    ]
)


@given(st.lists(steps, max_size=40))
def test_whatever_comes_no_command_is_obeyed_without_its_record_nor_twice(phrases: list[str]) -> None:
    box = Box()
    do(box, "starts")
    counter = 1
    for phrase in phrases:
        if phrase == "36.50" and not box.requests:
            continue
        if phrase == "38.00" and not box.requests:
            continue
        if phrase in {"SUSPEND", "RESUME", "OPEN"}:
            counter += 1
            name = {"SUSPEND": Name.SUSPEND, "RESUME": Name.RESUME, "OPEN": Name.OPEN_ONCE}[phrase]
            message = command(counter, name, "x", epoch=box.epoch, from_s=box.now.wall_s)
            box.feed(CommandReceived(message, retained=False))
        else:
            do(box, phrase)
    opened = [word for word in box.performed if word == Key.OPENED_BY_CENTRE]
    done = [data for data in box.data(Kind.COMMAND) if data["outcome"] == "done"]
    allowed = {data["visit"] for data in done if data["command"] == "open_once"}
    assert len(opened) <= len(allowed)
    counters = {data["counter"] for data in done}
    assert len(counters) == len({(data["counter"], data["command"]) for data in done})
    do(box, "fire over", "turnstile works", "disk has room", "new files can be made", "wait 1000")
    suspends = [data["command"] for data in done if data["command"] in {"suspend", "resume"}]
    if suspends:
        assert (box.actor.mode is Mode.SUSPENDED) == (suspends[-1] == "suspend")
    assert box.actor.unwritten == 0


def test_time_alone_is_enough_to_obey() -> None:
    box = Box()
    do(box, "starts", "command 1 checkpoint")
    assert box.actor.next_wakeup() == 0
    box.brain.step(TimePassed(), replace(box.now, mono_ns=box.now.mono_ns + NS_PER_S))
    assert box.performed[-1] == "checkpoint"
