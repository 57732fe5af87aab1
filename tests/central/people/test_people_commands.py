"""The commands: nothing is shown to anybody who is not in the access log."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from central.cli import main
from central.keys import SEAL_KEY, SIGN_KEY, make_keys
from central.people.access_log import entries
from central.store import Store
from gate.core.evidence import Person
from tests.central.people.hall import ALICE, BOB, DAY, SEAL, SITE_KEY, HallGate, at, sealed
from tests.central.reports.town import CENTRE_KEY

Command = Callable[..., Result]
WHO = ("--by", "Li", "--reason", "contact tracing")
SPAN = ("--from", DAY, "--to", DAY)
ASKED = ("--subject", ALICE, *SPAN)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a centre whose seal key is that of these tests, and whose site's key is known."""
    seal = X25519PrivateKey.from_private_bytes(bytes(SEAL))
    (tmp_path / "keys").mkdir()
    pems = {
        name: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for name, key in (("keys/" + SEAL_KEY, seal), ("keys/" + SIGN_KEY, CENTRE_KEY))
    }
    for name, content in (pems | {"site.key": SITE_KEY.hex().encode()}).items():
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_bytes(content)
    make_keys(tmp_path / "keys")
    return tmp_path


@pytest.fixture
def run(store: Store, store_url: str, folder: Path) -> Command:
    config = folder / "central.toml"
    config.write_text(
        f'[centre]\nkeys_dir = "{folder / "keys"}"\nstore = "{store_url}"\n[mqtt]\nhost = "localhost"\n'
        f"[retention]\nsealed_days = 30\nrecords_days = 90\n"
        f'[[site]]\nname = "north"\nkey_file = "{folder / "site.key"}"\n'
    )

    def call(command: str, *arguments: str) -> Result:
        return CliRunner().invoke(main, [command, "--config", str(config), *arguments])

    return call


@pytest.fixture
def hall(store: Store) -> HallGate:
    """Alice and Bob were inside together; she has registered; a member of staff is overdue."""
    gate = HallGate(store)
    gate.register()
    gate.comes(BOB, "09:00", person=Person.STAFF)
    gate.register_sealed(sealed({"name": "王小明", "phone": "13800000000"}), ALICE, "09:30")
    gate.goes(ALICE, "11:00")
    gate.deliver(at("12:00"))
    return gate


def good(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_sheet_of_a_person(store: Store, hall: HallGate, run: Command) -> None:
    told = good(run("person", *ASKED, *WHO, "--json"))
    assert [(visit["direction"], visit["result"], visit["at"]) for visit in told["visits"]] == [
        ("in", "passed", "2022-04-11T09:30:00.000+08:00"),
        ("out", "passed", "2022-04-11T11:00:00.000+08:00"),
    ]
    assert (told["unreadable"], told["retired"]) == (0, 0)
    lines = run("person", *ASKED, *WHO).output
    assert "2022-04-11 09:30:00+08:00  north/g-1  in  visitor" in lines
    assert "2 visits" in lines
    assert [(entry.what, entry.by, entry.about["subject"]) for entry in entries(store)] == 2 * [
        ("person", "Li", ALICE)
    ]


def test_a_trace(store: Store, hall: HallGate, run: Command) -> None:
    (stay,) = good(run("trace", *ASKED, *WHO, "--json"))["stays"]
    (contact,) = stay["contacts"]
    assert (contact["person"], contact["entered"]["gate"], contact["until_assumed"]) == ("staff", "g-1", True)
    assert (contact["shared_from"][11:16], contact["shared_until"][11:16]) == ("09:30", "11:00")
    lines = run("trace", *ASKED, *WHO).output
    assert "in g-1 2022-04-11 09:00:01+08:00, not seen leaving" in lines
    assert "2 visits, 1 stays, 1 inside at the same time" in lines
    assert entries(store)[-1].what == "trace"
    assert entries(store)[-1].about["from"] == "2022-04-11T00:00:00.000+08:00"
    assert entries(store)[-1].about["to"] == "2022-04-12T00:00:00.000+08:00"


def test_somebody_whom_no_record_names_is_told_from_somebody_who_never_came(
    store: Store, hall: HallGate, run: Command
) -> None:
    unknown = "0123456789abcdef"
    for command in ("person", "trace"):
        result = run(command, "--subject", unknown, *SPAN, *WHO)
        assert (result.exit_code, result.output) == (0, f"{unknown} is known by no record of this span\n")
    assert good(run("person", "--subject", unknown, *SPAN, *WHO, "--json"))["visits"] == []
    assert run("erase", "--subject", unknown, *WHO).output == (
        f"0 registrations erased: {unknown} is known by no record\n"
    )
    assert run("erase", "--subject", BOB.upper(), *WHO).output == "0 registrations erased\n"
    assert entries(store)[-1].about["subject"] == BOB


def test_the_access_log_is_for_people(store: Store, hall: HallGate, run: Command) -> None:
    run("person", *ASKED, *WHO)
    run("erase", "--gate", "g-1", "--epoch", "epoch1", "--seq", "3", *WHO)
    run("retention")
    first, second, *others = run("access-log").output.splitlines()
    assert not [line for line in (first, second, *others) if "None" in line or "{" in line]
    assert first.endswith(
        f"  person  Li: contact tracing  subject {ALICE}  "
        "from 2022-04-11T00:00:00.000+08:00  to 2022-04-12T00:00:00.000+08:00"
    )
    assert second.endswith(
        "  erase  Li: contact tracing  erased 1  records site north gate g-1 epoch epoch1 seq 3"
    )
    assert first[:5] + first[22:29] == "1  20" + "+08:00 "


def test_rounds_ask_for_no_reason_and_are_noted_all_the_same(
    store: Store, hall: HallGate, run: Command
) -> None:
    told = good(run("rounds", "--date", DAY, "--at", "12:00", "--json"))
    assert [member["due"][11:16] for member in told["overdue"]] == ["11:00"]
    lines = run("rounds", "--date", DAY, "--at", "12:00").output
    assert "1 members of staff, 1 overdue at 2022-04-11 12:00:00+08:00" in lines
    assert "since 2022-04-11 11:00:01+08:00 (59 min)" in lines
    assert {(entry.what, entry.reason) for entry in entries(store)} == {("rounds", "staff rounds (SB-3)")}
    assert run("rounds", "--date", DAY, "--at", f"{DAY}T12:00:00+08:00").output == lines
    assert run("rounds").exit_code == 0


def test_abnormal_visits_by_risk(store: Store, hall: HallGate, run: Command) -> None:
    assert run("risk", *SPAN, *WHO).output == "nothing abnormal\n"
    assert good(run("risk", *SPAN, *WHO, "--json"))["groups"] == []
    assert entries(store)[-1].what == "risk"


def test_a_registration_is_revealed_then_erased(store: Store, hall: HallGate, run: Command) -> None:
    place = ("--gate", "g-1", "--epoch", "epoch1", "--seq", "3")
    assert run("reveal", *place, *WHO).output == "name: 王小明\nphone: 13800000000\n"
    assert good(run("reveal", *place, *WHO, "--json"))["name"] == "王小明"
    assert run("erase", "--subject", ALICE, *WHO).output == "1 registration erased\n"
    refused = run("reveal", *place, *WHO)
    assert (refused.exit_code, "erased by Li" in refused.output) == (1, True)
    assert run("erase", *place, *WHO).output == "0 registrations erased\n"
    told = [entry.what for entry in entries(store)]
    assert told == ["reveal", "reveal", "erase", "reveal", "erase"]
    assert good(run("verify", "--json"))["problems"] == 0


def test_retention_says_what_it_would_do_and_does_it(store: Store, hall: HallGate, run: Command) -> None:
    would = "1 registrations would be erased, 6 records would be retired\n"
    assert run("retention", "--dry-run").output == would
    assert entries(store) == []
    assert good(run("retention", "--json")) == {"sealed": 1, "records": 6, "rejects": 0}
    assert good(run("verify", "--json"))["retired"] == 6
    log = [json.loads(line) for line in run("access-log", "--json").output.splitlines()]
    assert [entry["what"] for entry in log] == ["retention", "sealed_erased", "retired"]
    assert "3  " in run("access-log").output


def test_a_log_that_was_meddled_with_is_found(store: Store, hall: HallGate, run: Command) -> None:
    run("trace", *ASKED, *WHO)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM access_log")
    result = run("verify")
    assert (result.exit_code, "access log" in result.output) == (1, True)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("person", ASKED), ("trace", ASKED), ("risk", SPAN),
        ("reveal", ("--gate", "g-1", "--epoch", "epoch1", "--seq", "3")), ("erase", ("--subject", ALICE)),
    ],
)  # fmt: skip
def test_nothing_is_shown_without_a_name_and_a_reason(
    store: Store, hall: HallGate, run: Command, command: str, arguments: tuple[str, ...]
) -> None:
    for who in (
        (),
        WHO[:2],
        WHO[2:],
        ("--by", "", *WHO[2:]),
        (*WHO[:2], "--reason", " "),
        (*WHO[:2], "--reason", "\x1b[2Jx"),
    ):
        result = run(command, *arguments, *who)
        assert result.exit_code == 2
        assert "g-1" not in result.output
    assert entries(store) == []


def test_nothing_is_shown_when_it_cannot_be_noted(store: Store, hall: HallGate, run: Command) -> None:
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE access_log")
    for command in ("person", "trace"):
        result = run(command, *ASKED, *WHO)
        assert result.exit_code == 1
        assert "north" not in result.output
    result = run("reveal", "--gate", "g-1", "--epoch", "epoch1", "--seq", "3", *WHO)
    assert (result.exit_code, "王" in result.output) == (1, False)


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("person", SPAN, "--subject"),
        ("person", ("--subject", "x' OR 1=1", *SPAN), "16 hexadecimal digits"),
        ("person", ("--subject", "\x1b[2J", *SPAN), "16 hexadecimal digits"),
        ("person", ("--subject", "ZZ", *SPAN), "16 hexadecimal digits"),
        ("trace", ("--subject", ALICE[1:], *SPAN), "16 hexadecimal digits"),
        ("erase", ("--subject", f"{ALICE}0"), "16 hexadecimal digits"),
        ("person", ("--subject", ALICE, "--from", "yesterday", "--to", DAY), "must be a time"),
        ("person", ("--subject", ALICE, "--from", DAY, "--to", "9999-12-31"), "must be a time"),
        ("person", ("--subject", ALICE, "--from", DAY, "--to", "2022-04-10"), "later than"),
        ("rounds", ("--date", "9999-12-31"), "has no end"),
        ("reveal", ("--gate", "g-1"), "--epoch"),
        ("reveal", ("--gate", "g-1", "--epoch", "epoch1", "--seq", f"{2**63}"), "not in the range"),
        ("erase", (), "--subject"),
        ("erase", ("--subject", ALICE, "--gate", "g-1"), "--subject"),
    ],
)
def test_wrong_use_is_said(
    hall: HallGate, run: Command, command: str, arguments: tuple[str, ...], said: str
) -> None:
    result = run(command, *arguments, *WHO)
    assert (result.exit_code, said in result.output) == (2, True)


def test_a_record_that_nobody_knows_is_said(hall: HallGate, run: Command) -> None:
    for command in ("reveal", "erase"):
        result = run(command, "--gate", "g-9", "--epoch", "epoch1", "--seq", "3", *WHO)
        assert (result.exit_code, "no gate g-9" in result.output) == (1, True)
    result = run("rounds", "--date", "today")
    assert result.exit_code == 2


@pytest.mark.parametrize("content", [b"short", None])
def test_a_key_of_a_site_that_is_none_is_said(
    hall: HallGate, run: Command, folder: Path, content: bytes | None
) -> None:
    key = folder / "site.key"
    key.unlink()
    if content is not None:
        key.touch(mode=0o600)
        key.write_bytes(content)
    result = run("person", *ASKED, *WHO)
    assert (result.exit_code, str(key) in result.output) == (78, True)


def test_a_key_of_a_site_that_others_can_read_is_refused(hall: HallGate, run: Command, folder: Path) -> None:
    (folder / "site.key").chmod(0o644)
    result = run("person", *ASKED, *WHO)
    assert (result.exit_code, "chmod 600" in result.output) == (78, True)
