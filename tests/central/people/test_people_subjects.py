"""What somebody is called, day by day."""

from pathlib import Path

import pytest

from central.people.settings import DAY_MS, SiteSettings
from central.people.subjects import Subject, SubjectError, site_keys
from gate.core.pseudonyms import day_key, pseudonym
from tests.central.people.hall import ALICE, SITE_KEY, at

OLD = b"o" * 32


def test_a_person_has_a_name_for_each_day_and_key_beside_the_reference() -> None:
    someone = Subject(ALICE, {"north": (OLD, SITE_KEY)})
    names = {pseudonym(day_key(key, "2022-04-11"), "subject", ALICE) for key in (OLD, SITE_KEY)}
    assert someone.names("north", at("12:00")) == {ALICE, *names}
    assert someone.names("north", at("12:00")) != someone.names("north", at("12:00") + DAY_MS)
    assert someone.names("south", at("12:00")) == {ALICE}
    for strange in (None, 2**60, -(2**60)):
        assert someone.names("north", strange) == {ALICE}


def test_the_name_changes_at_midnight_utc() -> None:
    someone = Subject(ALICE, {"north": (SITE_KEY,)})
    midnight = at("08:00")
    assert someone.names("north", midnight - 1) != someone.names("north", midnight)
    end = midnight + DAY_MS + 7
    assert someone.spell("north", midnight - 5, end)[0] == midnight
    assert someone.spell("north", midnight, end) == (midnight + DAY_MS, someone.names("north", midnight))
    assert someone.spell("north", midnight + DAY_MS, end)[0] == end
    assert someone.spell("south", midnight, end) == (end, frozenset({ALICE}))


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
