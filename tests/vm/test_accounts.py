"""The comparison after a power cut finds what it is there to find; the machine itself is run by `make vm`."""

import json
from typing import Any

import pytest

from tests.vm import accounts
from tests.vm.accounts import overlooked, problems

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


def test_a_record_that_stands_twice() -> None:
    assert problems([], [], [ALLOWED, ALLOWED]) == ["g/e/1 is in the ledger 2 times"]
    changed = body(1, mono_ns=150, stage="authorised")
    assert problems([], [pulse(101), pulse(151)], [ALLOWED, changed]) == ["g/e/1 is in the ledger 2 times"]


# --- the control


SEEN, RISES, LEDGER = [ALLOWED, REFUSED, FIRE], [pulse(101), pulse(301)], [ALLOWED, REFUSED, FIRE, body(4)]


def test_no_damage_to_good_books_is_overlooked() -> None:
    assert problems(SEEN, RISES, LEDGER) == []
    assert overlooked(SEEN, RISES, LEDGER) == []


@pytest.mark.parametrize(("seen", "pulses"), [([], RISES), (SEEN, []), ([], [])])
def test_books_of_nothing_prove_nothing(seen: list[bytes], pulses: list[dict[str, Any]]) -> None:
    assert "nothing was seen outside, so nothing was compared" in overlooked(seen, pulses, LEDGER)


@pytest.mark.parametrize(
    ("blind", "words"),
    [
        ("was seen outside", {"g/e/2 lost", "g/e/2 altered"}),
        ("in the ledger", {"g/e/1 doubled", "g/e/2 doubled", "g/e/3 doubled", "g/e/4 doubled"}),
        ("has no record", {"a pulse of boot b1 without any record"}),
    ],
)
def test_the_control_finds_a_comparison_that_is_blind(
    monkeypatch: pytest.MonkeyPatch, blind: str, words: set[str]
) -> None:
    def blinded(*books: Any) -> list[str]:
        return [line for line in problems(*books) if blind not in line]

    monkeypatch.setattr(accounts, "problems", blinded)
    assert words <= set(overlooked(SEEN, RISES, LEDGER))
