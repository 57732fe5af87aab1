"""The comparison after a power cut finds what it is there to find; the machine itself is run by `make vm`."""

import json
from typing import Any

from tests.vm.accounts import problems

BOOT, OTHER_BOOT = "b1", "b2"


def body(seq: int, kind: str = "visit.decided", mono_ns: int = 0, boot_id: str = BOOT, **data: Any) -> bytes:
    clock = {"mono_ns": mono_ns, "boot_id": boot_id}
    return json.dumps(
        {"id": f"g/e/{seq}", "type": f"hg.{kind}.v1", "data": {"clock": clock, **data}}
    ).encode()


def pulse(mono_ns: int, boot_id: str = BOOT) -> dict[str, Any]:
    return {"boot_id": boot_id, "mono_ns": mono_ns}


ALLOWED = body(1, mono_ns=100, stage="authorised")
REFUSED = body(2, mono_ns=200, stage="refused")
FIRE = body(3, "fire.alarm", mono_ns=300, active=True)


def test_books_that_agree() -> None:
    ledger = [ALLOWED, REFUSED, FIRE]
    assert problems([ALLOWED, ALLOWED, REFUSED], [pulse(101)], ledger) == []


def test_an_event_seen_outside_that_the_ledger_has_lost() -> None:
    assert problems([ALLOWED, REFUSED], [], [ALLOWED]) == ["g/e/2 was seen outside and is not in the ledger"]


def test_an_event_that_the_ledger_has_otherwise() -> None:
    assert problems([ALLOWED], [], [body(1, mono_ns=100, stage="refused")]) != []


def test_a_pulse_without_a_record_and_one_before_its_record() -> None:
    missing = ["pulse 1 of boot b1 has no record before it"]
    assert problems([], [pulse(101)], [REFUSED]) == missing
    assert problems([], [pulse(99)], [ALLOWED]) == missing
    assert problems([], [pulse(101), pulse(102)], [ALLOWED]) == ["pulse 2 of boot b1 has no record before it"]


def test_a_record_of_another_boot_allows_nothing_now() -> None:
    assert problems([], [pulse(101, OTHER_BOOT)], [ALLOWED]) == ["pulse 1 of boot b2 has no record before it"]


def test_in_a_fire_the_arm_opens_before_the_record() -> None:
    assert problems([], [pulse(99)], [FIRE]) == []
    assert problems([], [pulse(99)], [body(3, "fire.alarm", mono_ns=300, active=False)]) != []
