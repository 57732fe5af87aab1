"""What is sealed for the centre goes beside the next record of its visit, once; a part that checks itself."""

from dataclasses import replace
from hashlib import sha256

import pytest
from gatebox import EPOCH_2, Box, do, effects_of

from gate.config import load_policy
from gate.core.effects import Record, Unlock
from gate.core.events import Event, Kind
from gate.core.inputs import AttendantNoted, Device, Input, SensorChecked

FIRST, SECOND = b"sealed for the centre", b"sealed once more"
REGISTERED = frozenset({"name", "phone"})


def noted(sealed: bytes = FIRST) -> Input:
    return AttendantNoted(registered=REGISTERED, sealed=sealed)


def with_staff(box: Box) -> Box:
    """Somebody who has no code stands before the person on duty."""
    do(box, "starts", "arrives", "36.50", "mask on", "wait 20")
    assert box.decided["stage"] == "referred"
    return box


def told(box: Box) -> list[tuple[str, bytes]]:
    """Return beside which records something was sealed, by stage or result."""
    return [(word(event), sealed) for event, sealed in box.sealed_recorded]


def word(event: Event) -> str:
    return str(event.data.get("stage") or event.data["result"])


def test_it_goes_beside_the_decision_that_it_has_led_to() -> None:
    box = with_staff(Box())
    box.feed(noted())
    assert box.sealed_recorded == []
    do(box, "staff confirms")
    assert told(box) == [("authorised", FIRST)]
    assert box.decided["sealed"] == sha256(FIRST).hexdigest()
    assert box.decided["evidence"]["registered"] == ["name", "phone"]
    do(box, "turns")
    assert told(box) == [("authorised", FIRST)], "once"
    assert "sealed" not in box.recorded[-1].data


def test_the_record_with_it_comes_before_the_turnstile_moves() -> None:
    box = with_staff(Box())
    box.feed(noted())
    do(box, "staff confirms")
    answers = [effects for _, effects in box.actor.answers if any(isinstance(e, Unlock) for e in effects)]
    (answer,) = answers
    assert isinstance(answer[0], Record)
    assert answer[0].sealed == FIRST


def test_the_later_replaces_the_earlier() -> None:
    box = with_staff(Box())
    box.feed(noted())
    box.feed(noted(SECOND))
    box.feed(AttendantNoted(id_checked=True))  # says nothing new
    do(box, "staff confirms")
    assert told(box) == [("authorised", SECOND)]


def test_who_leaves_after_all_has_it_beside_the_end_of_the_visit() -> None:
    box = with_staff(Box())
    box.feed(noted())
    do(box, "leaves", "wait 10")
    assert told(box) == [("left", FIRST)]


def test_before_anything_is_decided_it_waits_and_then_leaves_a_record_for_itself() -> None:
    """Who is taken down and goes has shown nothing else; the desk has been told that it was taken."""
    box = Box()
    do(box, "starts", "arrives")
    box.feed(noted())
    assert box.sealed_recorded == []
    do(box, "leaves", "wait 10")
    assert told(box) == [("undecided", FIRST)]
    assert box.recorded[-1].data["result"] == "left"


def test_a_visit_takes_nothing_of_the_one_before() -> None:
    box = with_staff(Box())
    box.feed(noted())
    do(
        box,
        "staff confirms",
        "turns",
        "arrives",
        "36.50",
        "mask on",
        "wait 20",
        "staff confirms",
    )
    assert told(box) == [("authorised", FIRST)]


@pytest.mark.parametrize("plan", ["closed", "open"])
def test_it_waits_with_its_record_while_the_ledger_fails(plan: str) -> None:
    box = with_staff(Box(replace(load_policy("county-hall"), on_ledger_failure=plan)))
    box.feed(noted())
    do(box, "disk fills up", "staff confirms", "wait 30")
    assert box.sealed_recorded == []
    do(box, "disk has room", "wait 60")
    ((event, sealed),) = box.sealed_recorded
    assert (event.kind, event.data["late"], sealed) == (Kind.VISIT_DECIDED, True, FIRST)


def test_a_new_epoch_in_the_middle_of_a_visit_has_it_too() -> None:
    """The centre has seen nothing of what stands in the ledger that was put aside."""
    box = with_staff(Box())
    box.feed(noted())
    do(box, "staff confirms", "receipt disagrees")
    assert box.epoch == EPOCH_2
    assert told(box) == [("authorised", FIRST)] * 2


def test_without_a_word_of_it_nothing_is_sealed() -> None:
    box = with_staff(Box())
    box.feed(AttendantNoted(registered=REGISTERED))
    do(box, "staff confirms", "turns")
    assert all(effect.sealed is None for effect in effects_of(box, Record) if isinstance(effect, Record))


# --- what a part says of itself


def test_a_check_is_on_record_whatever_is_going_on() -> None:
    box = Box()
    do(box, "starts")
    facts = (("config", "9ff4"), ("ambient_cc", 2200))
    for going_on in ("arrives", "fire", "fire over"):
        do(box, going_on)
        assert box.feed(SensorChecked(Device.THERMOMETER, facts)) == ["thermometer checked"]
    assert box.recorded[-1].data == {"device": "thermometer", "ok": True, "facts": dict(facts)}
    assert not box.recorded[-1].abnormal


def test_a_check_says_nothing_of_what_has_failed() -> None:
    """Only a reading takes a fault back, or whoever has found it."""
    box = Box()
    do(
        box,
        "starts",
        "arrives",
        "cannot measure, bus_error",
        "cannot measure, bus_error",
        "cannot measure, bus_error",
    )
    assert Device.THERMOMETER in box.actor.failed_devices
    box.feed(SensorChecked(Device.THERMOMETER, ()))
    assert Device.THERMOMETER in box.actor.failed_devices
