"""`gate document` as an office meets it: real keys and files, taken in by the real gate."""

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.app import counter
from gate.app.day_documents import CONTENT_BYTES_MAX, instant, sign
from gate.app.documents import DocumentFolder
from gate.cli import main
from gate.config import load_policy
from gate.core.actor import GateActor
from gate.core.codes import Circumstances, Trust
from gate.core.day import Day
from gate.core.documents import (
    Appointment,
    Appointments,
    Document,
    Kind,
    Occupancy,
    Residents,
    Revocations,
    RiskAreas,
    Suspension,
    open_document,
    sign_document,
)
from gate.core.effects import KeepDocument, Record
from gate.core.inputs import DocumentReceived
from gate.core.mode import Mode
from gate.core.moment import Moment
from gate.shell.clock import SystemClock
from gate.trust_files import load_trust

SITE = "hall-east"
NOW_S = 1_649_642_400  # 2022-04-11T10:00:00+08:00
ALICE, BOB = "0123456789abcdef", "fedcba9876543210"
HEADER = "subject,from,until,booked_at,pass_id"
ROW = f"{ALICE},2022-04-12T09:00+08:00,2022-04-12T09:30+08:00,2022-04-11T08:00+08:00,cafe0001"


@pytest.fixture(autouse=True)
def local_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    it_is(monkeypatch, NOW_S)
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The key of an office, with its trust entry beside it."""
    return new_key(tmp_path / "key.pem")


def new_key(file: Path, *words: str, issuer: str = "county") -> Path:
    made = CliRunner().invoke(
        main, ["pass", "key", "--new", str(file), "--issuer", issuer, "--issuer-name", "County", *words]
    )
    assert made.exit_code == 0, made.output
    trust_file(file).write_text(made.stdout, encoding="utf-8")
    return file


def trust_file(key: Path) -> Path:
    return key.with_suffix(".toml")


def it_is(monkeypatch: pytest.MonkeyPatch, wall_s: float) -> None:
    monkeypatch.setattr(SystemClock, "now", lambda _clock: Moment(0, round(wall_s * 1000), True))


def run(*words: object, given: bytes | None = None) -> Result:
    """Run the command in this process; anything that it does not handle itself fails the test."""
    return CliRunner().invoke(main, ["document", *map(str, words)], input=given, catch_exceptions=False)


def signed(key: Path, kind: str, *words: object, given: bytes | None = None, site: str = SITE) -> Result:
    out = key.with_name(f"{kind}.hgd")
    return run("sign", "--kind", kind, "--key", key, "--site", site, "--out", out, *words, given=given)


def made(key: Path, kind: str, *words: object, given: str = "") -> Path:
    """Sign what is given on standard input, or without any; return the file."""
    content = ["-"] if given else []
    result = signed(key, kind, *words, *content, given=given.encode())
    assert result.exit_code == 0, result.output
    return key.with_name(f"{kind}.hgd")


def refused(key: Path, kind: str, given: str | bytes, *words: object) -> list[str]:
    """Return the sentences with which content is refused; nothing may be left behind."""
    raw = given.encode() if isinstance(given, str) else given
    result = signed(key, kind, "-", *words, given=raw)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sorted(file.name for file in key.parent.iterdir()) == ["key.pem", "key.toml"]
    return result.stderr.splitlines()


def opened(key: Path, file: Path) -> Document:
    return open_document(file.read_bytes(), trust=load_trust([trust_file(key)]), site=SITE)


def day(key: Path) -> Day:
    return Day(load_policy("county-hall"), load_trust([trust_file(key)]), SITE)


def at(wall_s: float) -> Moment:
    return Moment(round(wall_s * 1_000_000_000), round(wall_s * 1000), True)


# What is made


def test_residents(key: Path) -> None:
    file = made(
        key, "residents", given=f"# households\r\n{ALICE}\r\n\r\n  {BOB.upper()} # moved in\r\n{ALICE}\n"
    )
    assert opened(key, file) == Document(
        SITE, "county", 1, NOW_S, NOW_S + 86_400, Residents(frozenset({ALICE, BOB}))
    )


def test_risk_areas(key: Path) -> None:
    file = made(key, "risk_areas", given="\ufeffCN-31\n310115\nCN\n吉林市\n")
    assert opened(key, file).content == RiskAreas(frozenset({"CN-31", "310115", "CN", "吉林市"}))


REORDERED = (
    "pass_id, subject, from, until, booked_at\n"
    f'"cafe0001", {ALICE}, 20220412T010000Z, 2022-04-12T01:30:00.9+00:00, 2022-04-11 08:00+08:00\n'
)
JSON_ROW = dict(zip(HEADER.split(","), ROW.split(","), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\n{ROW}\n",
        f"# tomorrow\n\n{HEADER}\n{ROW}\n{ROW.upper()}",
        REORDERED,
        '"subject","from","until","booked_at","pass_id"\n' + ",".join(f'"{cell}"' for cell in ROW.split(",")),
        json.dumps(JSON_ROW),
        f"# tomorrow\n{json.dumps(JSON_ROW)} # once\n\n",
    ],
    ids=range(6),
)
def test_appointments(key: Path, text: str) -> None:
    row = Appointment(ALICE, 1_649_725_200, 1_649_727_000, 1_649_635_200, "cafe0001")
    assert opened(key, made(key, "appointments", given=text)).content == Appointments(frozenset({row}))


@pytest.mark.parametrize("count", [0, 42, 1_000_000])
def test_occupancy_is_counted_now(key: Path, count: int) -> None:
    assert opened(key, made(key, "occupancy", "--count", count)).content == Occupancy(count, NOW_S)


@pytest.mark.parametrize("suspended", [True, False])
def test_suspension(key: Path, suspended: bool) -> None:
    file = made(key, "suspension", "--suspended" if suspended else "--resumed")
    assert opened(key, file).content == Suspension(suspended)


def test_content_from_a_file(key: Path, tmp_path: Path) -> None:
    content = tmp_path / "areas.txt"
    content.write_text("CN-31\nCN-3102\n# end\n")
    result = signed(key, "risk_areas", content)
    assert (result.exit_code, result.stderr) == (0, "")
    assert opened(key, tmp_path / "risk_areas.hgd").content == RiskAreas(frozenset({"CN-31", "CN-3102"}))


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("residents", "#", "residents, 0 rows"),
        ("risk_areas", "# none today", "risk_areas, 0 rows"),
        ("appointments", "# none", "appointments, 0 rows"),
        ("appointments", HEADER, "appointments, 0 rows"),
        ("residents", ALICE, "residents, 1 row"),
        ("risk_areas", "CN-31\nCN-32\nCN-31", "risk_areas, 2 rows"),
        ("appointments", f"{HEADER}\n{ROW}", "appointments, 1 row"),
    ],
)
def test_one_line_says_what_was_made(key: Path, kind: str, given: str, words: str) -> None:
    result = signed(key, kind, "--hours", 1, "-", given=given.encode())
    file = key.with_name(f"{kind}.hgd")
    assert result.stdout == f"{file}: {words}, version 1, good until 2022-04-11T11:00:00+08:00\n"


@pytest.mark.parametrize(
    ("kind", "option", "words"),
    [
        ("occupancy", "--count=1", "1 person inside"),
        ("occupancy", "--count=0", "0 people inside"),
        ("suspension", "--suspended", "service suspended"),
        ("suspension", "--resumed", "service resumed"),
    ],
)
def test_one_line_says_what_is_no_list(key: Path, kind: str, option: str, words: str) -> None:
    assert f": {kind}, {words}, version 1, good until " in signed(key, kind, option).stdout


# Its time


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ([], 86_400),
        (["--hours", "0.5"], 1800),
        (["--hours", "0.0001"], 0),
        (["--until", "2022-04-11T02:00:00Z"], 0),
        (["--until", "2022-04-11T10:00:00.999+08:00"], 0),
        (["--until", "2022-04-11T23:59:59+08:00"], 50_399),
        (["--until", "2106-02-07T06:28:15Z"], 2**32 - 1 - NOW_S),
    ],
)
def test_until_when(key: Path, words: list[str], seconds: int) -> None:
    assert opened(key, made(key, "suspension", "--resumed", *words)).not_after == NOW_S + seconds


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--until", "2022-04-11T09:59:59+08:00"], "59:59+08:00 is over: it is 2022-04-11T10:00:00"),
        (["--until", "2106-02-07T06:28:16Z"], "lies outside the years 1970 to 2106"),
        (["--until", "0001-01-01T00:00:00+08:00"], "lies outside the years 1970 to 2106"),
        (["--until", "1970-01-01T00:00:00Z"], "lies outside the years 1970 to 2106"),
        (["--until", "2022-04-12T10:00:00"], "is no instant with its offset"),
        (["--until", "tomorrow"], "is no instant with its offset"),
        (["--hours", "1", "--until", "2022-04-12T10:00:00Z"], "give one of them"),
        (["--hours", "0"], "--hours"),
        (["--hours", "nan"], "nan is no number"),
        (["--hours", "inf"], "--hours"),
        (["--version", "0"], "--version"),
        (["--version", 2**32], "--version"),
    ],
)  # fmt: skip
def test_times_and_versions_that_cannot_be(key: Path, words: list[str], sentence: str) -> None:
    result = signed(key, "suspension", "--resumed", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in " ".join(result.stderr.split())
    assert not key.with_name("suspension.hgd").exists()


def test_the_edges_of_an_instant() -> None:
    assert instant("1970-01-01T00:00:01Z") == 1
    assert instant("2106-02-07T06:28:15.999Z") == 2**32 - 1


# Bad content


def test_every_line_that_is_no_subject(key: Path) -> None:
    lines = refused(
        key, "residents", f"{ALICE}\n{ALICE[1:]}\n#\n{ALICE}0\n{ALICE} {BOB}\nxyz\x1b[2J\nＡ{BOB[1:]}\n"
    )
    assert [line.partition(":")[0] for line in lines] == [
        f"standard input, line {n}" for n in (2, 4, 5, 6, 7)
    ]
    assert all("is no subject: 16 hexadecimal digits" in line for line in lines)
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("cn-31", "'cn-31' must be written CN-31"),
        ("ＣＮ－31", "must be written CN-31"),
        ("CN-３１", "must be written CN-31"),
        ("CN-31,CN-32", "one word per line"),
        ("CN-31 CN-32", "one word per line"),
        ("-31", "one word per line"),
        ("x" * 65, "one word per line"),
        ("CN-31;", "one word per line"),
    ],
)
def test_words_that_are_nearly_regions(key: Path, word: str, sentence: str) -> None:
    (first, second) = refused(key, "risk_areas", f"{word}\nCN-31\n{word}")
    assert first.startswith("standard input, line 1: ")
    assert second.startswith("standard input, line 3: ")
    assert sentence in first


def test_a_region_of_64_letters_is_the_longest(key: Path) -> None:
    assert opened(key, made(key, "risk_areas", given="x" * 64)).content == RiskAreas(frozenset({"x" * 64}))


def bent(**changes: object) -> str:
    return json.dumps({**JSON_ROW, **changes})


@pytest.mark.parametrize(
    ("line", "problems"),
    [
        ("alice,2022-04-12T09:00,soon,,cafe", [f"{column}: '" for column in HEADER.split(",")]),
        (ROW + ",x", ["has 6 fields and must have 5"]),
        (ROW.rpartition(",")[0], ["has 4 fields and must have 5"]),
        (ROW.replace("cafe0001", '"cafe0001'), ["is not valid CSV"]),
        (ROW.replace("12T09:00", "12T09:31"), ["the appointment ends before it starts"]),
        (ROW.replace("cafe0001", "cafe000"), ["pass_id: 'cafe000'"]),
        (HEADER, [f"{column}: '{column}' " for column in HEADER.split(",")]),
    ],
)  # fmt: skip
def test_every_problem_of_csv(key: Path, line: str, problems: list[str]) -> None:
    """The good rows around it change nothing, and two bad lines are told both."""
    lines = refused(key, "appointments", f"{HEADER}\n{ROW}\n{line}\n\n{line}\n{ROW}\n")
    assert len(lines) == 2 * len(problems)
    for number, told in ((3, lines[: len(problems)]), (5, lines[len(problems) :])):
        assert all(
            line.startswith(f"standard input, line {number}: {problem}")
            for problem, line in zip(problems, told, strict=True)
        )


@pytest.mark.parametrize(
    ("line", "problems"),
    [
        ("{", ["is not valid JSON"]),
        ("[" * 100_000, ["is not valid JSON"]),
        (ROW, ["is not valid JSON"]),
        ("[]", ["must be an object"]),
        (bent(name="Alice"), ["must be an object with the fields subject, from, until, booked_at, pass_id"]),
        ("{}", ["must be an object"]),
        (bent(subject=None, booked_at=1), ["subject: 'null'", "booked_at: '1' is no instant"]),
        (bent(pass_id=["cafe0001"], until=True), ["until: 'true'", "pass_id: "]),
    ],
    ids=range(8),
)
def test_every_problem_of_json(key: Path, line: str, problems: list[str]) -> None:
    lines = refused(key, "appointments", f"{bent()}\n{line}\n")
    assert len(lines) == len(problems)
    assert all(
        told.startswith(f"standard input, line 2: {problem}")
        for problem, told in zip(problems, lines, strict=True)
    )


@pytest.mark.parametrize(
    "header",
    [ROW, HEADER.replace(",", ";"), HEADER + ",name", "subject,from,until", f"{HEADER},subject", "[{}]"],
)
def test_a_header_that_is_none(key: Path, header: str) -> None:
    (line,) = refused(key, "appointments", f"\n{header}\n{ROW}\n")
    assert line.startswith(f"standard input, line 2: appointments begin with the header {HEADER}")


@pytest.mark.parametrize("kind", ["residents", "risk_areas", "appointments"])
@pytest.mark.parametrize("text", [b"", b" \r\n\n\t", b"\xef\xbb\xbf"])
def test_a_list_that_got_lost_is_not_signed(key: Path, kind: str, text: bytes) -> None:
    (line,) = refused(key, kind, text)
    assert line == "standard input is empty; if that is meant, write a comment into it: # none today"


def test_content_that_is_no_text(key: Path) -> None:
    assert refused(key, "residents", f"{ALICE}\n#\n".encode() + b"\xff\n") == [
        "standard input, line 3: is not UTF-8; save the file as UTF-8"
    ]


def test_content_that_is_too_large(key: Path, tmp_path: Path) -> None:
    raw = b"#" * (CONTENT_BYTES_MAX + 1)
    assert refused(key, "residents", raw) == ["standard input is too large to be what it should be"]
    assert signed(key, "residents", "-", given=raw[1:]).exit_code == 0
    content = tmp_path / "content"
    content.write_bytes(raw)
    assert "is too large" in signed(key, "residents", content).stderr
    assert opened(key, tmp_path / "residents.hgd").version == 1


def test_more_rows_than_a_gate_would_read(key: Path) -> None:
    (line,) = refused(key, "residents", "\n".join(f"{number:016x}" for number in range(14_000)))
    assert line.startswith("the document cannot be signed: the document has more than")


def test_a_content_file_that_is_not_there(key: Path, tmp_path: Path) -> None:
    result = signed(key, "residents", tmp_path / "no")
    assert (result.exit_code, result.stderr) == (2, f"there is no file {tmp_path / 'no'}\n")
    assert "cannot be read (Is a directory)" in signed(key, "residents", tmp_path).stderr


@pytest.mark.parametrize(
    ("kind", "words", "source"),
    [
        ("residents", [], "CONTENT"),
        ("risk_areas", ["--count", "1"], "CONTENT"),
        ("appointments", ["--resumed", "-"], "CONTENT"),
        ("occupancy", [], "--count"),
        ("occupancy", ["-"], "--count"),
        ("occupancy", ["--count", "0", "--resumed"], "--count"),
        ("suspension", [], "--suspended or --resumed"),
        ("suspension", ["--suspended", "-"], "--suspended or --resumed"),
    ],
)
def test_each_kind_is_made_from_one_thing(key: Path, kind: str, words: list[str], source: str) -> None:
    result = signed(key, kind, *words, given=ALICE.encode())
    assert result.exit_code == 2
    assert f"a document of {kind} is made from {source}, and from nothing else" in result.stderr


@pytest.mark.parametrize("words", [["--count", "-1"], ["--count", "1000001"]])
def test_counts_that_cannot_be(key: Path, words: list[str]) -> None:
    assert signed(key, "occupancy", *words).exit_code == 2


def test_other_wrong_use(key: Path, tmp_path: Path) -> None:
    assert signed(key, "revocations", "-", given=b"#").exit_code == 2
    assert signed(key, "suspension", "--resumed", site="hall east").exit_code == 2
    ends = signed(key, "suspension", "--resumed", "--out", tmp_path / "suspension.txt")
    assert (ends.exit_code, "must end with .hgd" in ends.stderr) == (2, True)
    lost = signed(tmp_path / "no.pem", "suspension", "--resumed")
    assert (lost.exit_code, "there is no key file" in lost.stderr) == (2, True)


# Versions, and the file that is replaced


def test_versions_rise(key: Path, tmp_path: Path) -> None:
    file = made(key, "residents", given=ALICE)
    assert ", version 2, " in signed(key, "residents", "-", given=b"#").stdout
    assert opened(key, file).content == Residents(frozenset())
    assert ", version 9, " in signed(key, "residents", "--version", 9, "-", given=b"#").stdout
    assert ", version 10, " in signed(key, "residents", "-", given=b"#").stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.pem", "key.toml", "residents.hgd"]


@pytest.mark.parametrize(("version", "fits"), [(6, False), (7, False), (8, True)])
def test_a_version_that_gates_would_not_take(key: Path, version: int, fits: bool) -> None:
    file = made(key, "suspension", "--suspended", "--version", 7)
    before = file.read_bytes()
    result = signed(key, "suspension", "--resumed", "--version", version)
    assert (result.exit_code == 0) == (file.read_bytes() != before) == fits
    assert fits or result.stderr == f"{file} has version 7 already, and gates never go back; give more\n"


def test_after_the_last_version(key: Path) -> None:
    file = made(key, "suspension", "--suspended", "--version", 2**32 - 1)
    before = file.read_bytes()
    result = signed(key, "suspension", "--resumed")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "cannot be signed: version" in result.stderr
    assert file.read_bytes() == before


def test_a_file_that_is_not_this_document_stays_as_it_is(key: Path) -> None:
    private, file = counter.load_key(key).private_key, key.with_name("residents.hgd")

    def text(content: Residents | Revocations, signer: Ed25519PrivateKey = private, site: str = SITE) -> str:
        return sign_document(signer, Document(site, "county", 4, NOW_S, NOW_S, content))

    residents = Residents(frozenset({ALICE}))
    own = text(residents)
    cases = [
        ("my notes", "is no signed document"),
        ("", "is no signed document"),
        ("x" * 400_000, "is too large"),
        (own[:-8] + "AAAAAAA=", "was changed after it was signed"),
        (text(residents, Ed25519PrivateKey.generate()), "is signed with another key"),
        (text(residents, site="hall-west"), "of another site"),
        (text(Revocations(frozenset())), "is a document of revocations, not of residents"),
    ]
    for content, words in cases:
        file.write_text(content)
        for more in ([], ["--version", 9]):
            result = signed(key, "residents", *more, "-", given=b"#")
            assert (result.exit_code, result.stderr.count("\n")) == (2, 1), words
            assert words in result.stderr
            assert file.read_text() == content
    file.write_text(own + "\n")
    assert "version 5" in signed(key, "residents", "-", given=b"#").stdout


def test_a_document_that_cannot_be_written(key: Path, tmp_path: Path) -> None:
    out = tmp_path / "no" / "x.hgd"
    result = signed(key, "suspension", "--resumed", "--out", out)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"{out} cannot be written (No such file" in result.stderr


def test_two_offices_take_turns(key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two documents with one version, a gate would keep the first and never learn of the other."""
    file, signer = tmp_path / "suspension.hgd", counter.load_key(key)
    asked = threading.Event()
    lock = fcntl.flock

    def ask(descriptor: int, operation: int) -> None:
        asked.set()
        lock(descriptor, operation)

    def suspend(suspended: bool) -> None:
        sign(signer, site=SITE, file=file, content=Suspension(suspended), now_s=NOW_S, not_after=NOW_S)

    first = os.open(tmp_path, os.O_RDONLY)
    lock(first, fcntl.LOCK_EX)
    monkeypatch.setattr(fcntl, "flock", ask)
    second = threading.Thread(target=suspend, args=(True,))
    second.start()
    assert asked.wait(30)
    assert not file.exists()
    os.close(first)
    second.join(30)
    suspend(False)
    assert (opened(key, file).version, opened(key, file).content) == (2, Suspension(False))


# At the gate


CONTENTS: dict[str, tuple[list[object], str]] = {
    "residents": ([], ALICE),
    "risk_areas": ([], "CN-31"),
    "appointments": ([], f"{HEADER}\n{ROW}"),
    "occupancy": (["--count", 42], ""),
    "suspension": (["--suspended"], ""),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_gate_takes_it(key: Path, kind: str) -> None:
    """The bytes of the file are taken as they are, as from a broker, and as the folder hands them over."""
    words, given = CONTENTS[kind]
    file = made(key, kind, *words, given=given)
    (from_folder,) = DocumentFolder(key.parent).texts()
    assert from_folder == file.read_bytes()
    gate = day(key)
    effects = list(gate.receive(file.read_bytes(), at(NOW_S)))
    assert KeepDocument(f"{kind}-county", from_folder) in effects
    (record,) = (effect.event.data for effect in effects if isinstance(effect, Record))
    assert (record["document"], record["version"], record["outcome"]) == (kind, 1, "accepted")
    assert gate.documents.kinds == {Kind(kind)}
    assert not gate.stale
    assert gate.suspended == (kind == "suspension")


def test_what_the_gate_then_knows(key: Path) -> None:
    gate = day(key)
    for kind, (words, given) in CONTENTS.items():
        list(gate.receive(made(key, kind, *words, given=given).read_bytes(), at(NOW_S)))
    known, now = gate.documents, Circumstances(SITE, NOW_S * 1000, clock_trusted=True)
    assert known.is_resident(ALICE, now)
    assert not known.is_resident(BOB, now)
    assert known.risk_areas(now) == {"CN-31"}
    assert [row.pass_id for row in known.appointments(ALICE, now)] == ["cafe0001"]
    assert known.occupancy(now) == Occupancy(42, NOW_S)
    assert known.suspended(now)


def test_an_actor_is_suspended_and_goes_on(key: Path) -> None:
    actor = GateActor(load_policy("county-hall"), load_trust([trust_file(key)]), SITE, "0a1b2c3d")

    def receive(option: str, wall_s: int) -> Mode:
        actor.handle(DocumentReceived(made(key, "suspension", option).read_bytes()), at(wall_s))
        return actor.mode

    assert receive("--suspended", NOW_S) is Mode.SUSPENDED
    assert receive("--resumed", NOW_S + 1) is Mode.SERVING


def test_a_gate_notices_when_it_is_over(key: Path) -> None:
    gate = day(key)
    list(gate.receive(made(key, "suspension", "--suspended", "--hours", 1).read_bytes(), at(NOW_S)))
    list(gate.look(at(NOW_S + 3600)))
    assert (gate.stale, gate.suspended) == (frozenset(), True)
    list(gate.look(at(NOW_S + 3661)))
    assert (gate.stale, gate.suspended) == (frozenset({Kind.SUSPENSION}), False)


# Shown


def shown(key: Path, *files: Path, site: str = SITE) -> Result:
    return run("show", *files, "--trust", trust_file(key), "--site", site)


def test_what_documents_state(key: Path) -> None:
    residents = made(key, "residents", "--hours", 2, given=f"{ALICE}\n{BOB}")
    occupancy = made(key, "occupancy", "--count", 42, "--version", 7)
    result = run("show", residents, occupancy)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{residents}: residents of county for hall-east",
        "  version 1, 2 rows",
        "  issued 2022-04-11T10:00:00+08:00, good until 2022-04-11T12:00:00+08:00",
        f"{occupancy}: occupancy of county for hall-east",
        "  version 7, 42 people inside",
        "  issued 2022-04-11T10:00:00+08:00, good until 2022-04-12T10:00:00+08:00",
        "nobody's signature was checked: give --trust FILE and --site SITE",
    ]


def test_a_list_of_revocations_is_shown_too(key: Path) -> None:
    file = key.with_name("revoked.hgd")
    words = ["revoke", "--key", key, "--site", SITE, "--list", file, "cafe0001"]
    assert CliRunner().invoke(main, ["pass", *map(str, words)]).exit_code == 0
    result = shown(key, file)
    assert result.exit_code == 0
    assert f"{file}: revocations of county for hall-east\n  version 1, 1 row\n" in result.stdout


@pytest.mark.parametrize(
    ("after_s", "words"),
    [
        (-300.001, "but stale: its time has not come"),
        (-300, "and current"),
        (0, "and current"),
        (3600, "and current"),
        (3600.001, "but stale: its time is over"),
    ],
)
def test_whether_it_is_current(
    key: Path, monkeypatch: pytest.MonkeyPatch, after_s: float, words: str
) -> None:
    file = made(key, "suspension", "--suspended", "--hours", 1)
    it_is(monkeypatch, NOW_S + after_s)
    judged_at = datetime.fromtimestamp((NOW_S + after_s) // 1).astimezone().isoformat()
    result = shown(key, file)
    last = result.stdout.splitlines()[-1]
    assert last == f"  taken by a gate of hall-east, {words} (judged at {judged_at})"
    assert result.exit_code == (0 if "current" in words else 1)
    gate = day(key)
    list(gate.receive(file.read_bytes(), at(NOW_S + after_s)))
    assert gate.suspended == ("current" in words), "the gate sees it the same way"


def test_what_no_gate_takes(key: Path, tmp_path: Path) -> None:
    file = made(key, "suspension", "--suspended")
    text = file.read_bytes()
    other = new_key(tmp_path / "other.pem")
    staff = new_key(tmp_path / "staff.pem", "--purpose", "staff", issuer="staff")
    forged = tmp_path / "forged.hgd"
    place = len(b"HGD1:") + 8
    forged.write_bytes(text[:place] + (b"A" if text[place : place + 1] != b"A" else b"B") + text[place + 1 :])
    by_staff = tmp_path / "by_staff.hgd"
    result = run(
        "sign", "--kind", "suspension", "--resumed", "--key", staff, "--site", SITE, "--out", by_staff
    )
    assert result.exit_code == 0
    cases = [
        (shown(key, file, site="hall-west"), "hall-west: it is for another site"),
        (shown(other, file), "its issuer's key is in none of these files"),
        (shown(key, forged), "it was changed after it was signed"),
        (shown(staff, by_staff), "its issuer's key may not sign documents"),
    ]
    for result, words in cases:
        assert (result.exit_code, result.stderr) == (1, "")
        assert result.stdout.splitlines()[-1].startswith("  not taken by a gate of hall-")
        assert result.stdout.endswith(f"{words}\n")


def test_damaged_files_get_one_sentence_and_the_others_are_shown(key: Path, tmp_path: Path) -> None:
    good = made(key, "suspension", "--suspended")
    text = good.read_bytes()
    bad = tmp_path / "bad.hgd"
    for damage, words in [
        (b"", "is no signed document: it does not begin with HGD1:"),
        (b"my notes", "is no signed document"),
        (b"HGD1:", "is a signed document, but it is damaged"),
        (text[:-9], "is a signed document, but it is damaged"),
        (text[:100] + b"!" + text[101:], "is a signed document, but it is damaged"),
        (text[:-8] + b"AAAAAAA=", "is a signed document, but it is damaged"),
    ]:
        bad.write_bytes(damage)
        for result in (run("show", bad, good), shown(key, bad, good)):
            assert result.exit_code == 1
            assert result.stderr.startswith(f"{bad} {words}")
            assert result.stderr.count("\n") == 1
            assert f"{good}: suspension of county" in result.stdout


def test_files_that_cannot_be_shown(key: Path, tmp_path: Path) -> None:
    missing = run("show", tmp_path / "no.hgd")
    assert (missing.exit_code, missing.stderr) == (2, f"there is no file {tmp_path / 'no.hgd'}\n")
    file = made(key, "suspension", "--suspended")
    assert run("show").exit_code == 2
    for words in (["--site", SITE], ["--trust", trust_file(key)]):
        result = run("show", file, *words)
        assert (result.exit_code, "both --trust FILE and --site SITE" in result.stderr) == (2, True)
    assert run("show", file, "--site", SITE, "--trust", tmp_path / "no.toml").exit_code == 78


def test_a_gate_does_not_trust_by_the_file_alone(key: Path) -> None:
    gate = Day(load_policy("county-hall"), Trust(), SITE)
    list(gate.receive(made(key, "suspension", "--suspended").read_bytes(), at(NOW_S)))
    assert not gate.suspended


# Help


def test_the_help_says_how_it_reaches_the_gates() -> None:
    words = " ".join(run("sign", "--help").stdout.split())
    assert "hg/1/SITE/doc/KIND" in words
    assert "documents/ of a gate's state_dir" in words
    assert "gate pass revoke" in run("--help").stdout


def test_it_starts_without_what_it_need_not_have() -> None:
    script = "import sys, gate.cli.document; print({'segno', 'zxingcpp', 'numpy', 'cv2'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
