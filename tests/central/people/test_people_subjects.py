"""What somebody is called, day by day."""

from datetime import datetime
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from central.people.settings import DAY_MS, SiteSettings
from central.people.subjects import Subject, SubjectError, site_keys
from gate.core.policy import Policy
from gate.core.pseudonyms import UTC_OFFSETS_MIN, day_key, day_of, pseudonym
from tests.central.people.hall import ALICE, SITE_KEY, at

OLD = b"o" * 32


def made(*days: str, keys: tuple[bytes, ...] = (SITE_KEY,)) -> set[str]:
    return {ALICE, *(pseudonym(day_key(key, day), "subject", ALICE) for key in keys for day in days)}


def test_a_person_has_a_name_for_each_day_and_key_beside_the_reference() -> None:
    someone = Subject(ALICE, {"north": (OLD, SITE_KEY)})
    names = made("2022-04-10", "2022-04-11", keys=(OLD, SITE_KEY))
    assert someone.names("north", at("12:00")) == names
    assert someone.names("north", at("12:00")) != someone.names("north", at("12:00") + DAY_MS)
    assert someone.names("south", at("12:00")) == {ALICE}
    for strange in (None, 2**60, -(2**60)):
        assert someone.names("north", strange) == {ALICE}


@pytest.mark.parametrize(
    ("utc", "days"),
    [
        ("00:00:00.000", ("2022-04-10", "2022-04-11")),
        ("09:59:59.999", ("2022-04-10", "2022-04-11")),
        ("10:00:00.000", ("2022-04-10", "2022-04-11", "2022-04-12")),  # tomorrow has begun in Kiribati
        ("11:59:59.999", ("2022-04-10", "2022-04-11", "2022-04-12")),
        ("12:00:00.000", ("2022-04-11", "2022-04-12")),  # and yesterday has ended everywhere
        ("23:59:59.999", ("2022-04-11", "2022-04-12")),
    ],
)
def test_the_names_are_those_of_all_days_that_it_is_somewhere(utc: str, days: tuple[str, ...]) -> None:
    at_ms = round(datetime.fromisoformat(f"2022-04-11T{utc}+00:00").timestamp() * 1000)
    assert Subject(ALICE, {"north": (SITE_KEY,)}).names("north", at_ms) == made(*days)


@pytest.mark.parametrize("offset_min", [480, -300, 0, 345, *UTC_OFFSETS_MIN])
@pytest.mark.parametrize("since_midnight_ms", [-1, 0, 1, DAY_MS // 2, DAY_MS - 1])
def test_whatever_a_gate_calls_somebody_is_found(offset_min: int, since_midnight_ms: int) -> None:
    at_ms = at("08:00") - offset_min * 60_000 + since_midnight_ms  # 08:00 in China is midnight UTC
    called = pseudonym(day_key(SITE_KEY, day_of(at_ms, offset_min)), "subject", ALICE)
    someone = Subject(ALICE, {"north": (SITE_KEY,)})
    assert called in someone.names("north", at_ms)
    assert called not in someone.names("north", at_ms + 3 * DAY_MS)


def test_a_plan_has_no_other_local_time() -> None:
    _, west, east = get_args(get_type_hints(Policy, include_extras=True)["utc_offset_min"])
    assert (west.ge, east.le) == UTC_OFFSETS_MIN


def test_a_spell_is_as_long_as_the_names_stay() -> None:
    someone = Subject(ALICE, {"north": (SITE_KEY,)})
    start, end = at("08:00"), at("08:00") + 2 * DAY_MS
    spells = [start]
    while spells[-1] < end:
        until, names = someone.spell("north", spells[-1], end)
        assert names == someone.names("north", spells[-1]) == someone.names("north", until - 1)
        assert until == end or names != someone.names("north", until)
        spells.append(until)
    assert [(ms - start) / 3_600_000 for ms in spells] == [0, 10, 12, 34, 36, 48]
    assert someone.spell("south", start, end) == (end, frozenset({ALICE}))


@pytest.mark.parametrize("reference", ["", "x" * 65, "a b", "a\n", "%", "名", "'--"])
def test_what_is_no_subject_is_refused(reference: str) -> None:
    with pytest.raises(SubjectError, match="16 hexadecimal digits"):
        Subject(reference, {})


def test_keys_are_read_as_bytes_or_digits_and_several_may_have_one_name(tmp_path: Path) -> None:
    sites = []
    for name, content in (("a", SITE_KEY), ("b", SITE_KEY.hex().encode() + b"\n"), ("c", OLD)):
        path = tmp_path / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        sites.append(SiteSettings("south" if name == "c" else "north", path))
    assert site_keys(sites) == {"north": (SITE_KEY, SITE_KEY), "south": (OLD,)}
