"""`gate check-code`: the published cases, the clock, whom it believes, and lines that cannot be examined."""

import base64
import json
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gate.cli.check_code import check_code
from gate.core.codes import Credential, Status
from gate.core.codes.home import PassClaims, issue

CASES = Path(__file__).parents[1] / "data/codes/dcc"
NAMES = [case["file"] for case in json.loads((CASES / "manifest.json").read_text("utf-8"))["cases"]]
STAGES = ["prefix", "base45", "zlib", "cbor", "schema", "signature", "key_usage", "time"]


def line_of(name: str) -> dict[str, Any]:
    case = json.loads((CASES / name).read_text("utf-8"))
    context = case["TESTCTX"]
    return {
        "id": name,
        "text": case["PREFIX"],
        "certificate": context["CERTIFICATE"],
        "clock": context["VALIDATIONCLOCK"],
    }


AT = line_of("AT_1.json")


def called(cases: bytes, *options: str) -> Result:
    return CliRunner().invoke(check_code, ["--cases", "-", *options], input=cases)


def answers(*lines: object, options: tuple[str, ...] = (), status: int = 0) -> list[dict[str, Any]]:
    raw = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    result = called(raw, *options)
    assert result.exit_code == status, result.output
    return [json.loads(line) for line in result.output.splitlines()]


def test_all_published_cases(tmp_path: Path) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text("".join(json.dumps(line_of(name)) + "\n" for name in NAMES))
    result = CliRunner().invoke(check_code, ["--cases", str(file)])
    assert result.exit_code == 0
    rows = {row["id"]: row for row in map(json.loads, result.output.splitlines())}
    assert list(rows) == NAMES
    for row in rows.values():
        assert list(row) == ["id", "format", "authenticity", "freshness", "reason", "stages"]
        assert list(row["stages"]) == STAGES
    assert rows["AT_1.json"] == {
        "id": "AT_1.json",
        "format": "dcc",
        "authenticity": "verified",
        "freshness": "current",
        "reason": "ok",
        "stages": dict.fromkeys(STAGES, True),
    }
    reasons = {name: row["reason"] for name, row in rows.items()}
    assert reasons["common_CO5.json"] == "bad_signature"
    assert reasons["common_CO6.json"] == "wrong_purpose"
    assert reasons["common_CO17.json"] == "expired"
    assert reasons["common_CO22.json"] == "bad_signature"
    assert rows["common_H1.json"]["stages"] == {**dict.fromkeys(STAGES), "prefix": False}


def test_without_a_certificate_nobody_is_known() -> None:
    for absent in ({}, {"certificate": None}):
        line = {key: value for key, value in AT.items() if key != "certificate"} | absent
        (row,) = answers(line)
        assert (row["authenticity"], row["reason"]) == ("not_checkable", "unknown_issuer")
        assert row["stages"] == {**dict.fromkeys(STAGES, True), "signature": None, "key_usage": None}


def test_without_a_clock_the_time_is_not_judged() -> None:
    for absent in ({}, {"clock": None}):
        (row,) = answers({key: value for key, value in AT.items() if key != "clock"} | absent)
        assert (row["freshness"], row["reason"]) == ("unknown", "clock_untrusted")
        assert row["stages"] == {**dict.fromkeys(STAGES, True), "time": None}


END = datetime.fromisoformat("2021-11-02T18:00:00+00:00")  # exp of AT_1: 1635876000
START = datetime.fromisoformat("2021-05-06T18:00:00+00:00")  # iat: 1620324000


@pytest.mark.parametrize(
    ("clock", "current"),
    [
        ("2021-11-02T18:00:00Z", True),
        ("2021-11-02T18:00:00", True),
        ("2021-11-02 18:00:00.000999", True),  # finer than milliseconds
        ("2021-11-02T18:00:00.001Z", False),
        ("2021-11-02T18:00:00.0010000Z", False),
        ("2021-11-02T19:00:00+01:00", True),
        ("2021-11-02T17:00:01-01:00", False),
        ("2021-05-06T18:00:00Z", True),
        ("2021-05-06T17:59:59.999Z", False),
        ("1969-12-31T23:59:59.5Z", False),
        ("0001-01-01T00:00:00+14:00", False),
        ("9999-12-31T23:59:59-14:00", False),
    ],
)
def test_the_clock_is_exact(clock: str, current: bool) -> None:
    (row,) = answers({**AT, "clock": clock})
    assert row["stages"]["time"] is current


def test_a_clock_without_a_zone_is_utc_wherever_the_command_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        rows = answers({**AT, "clock": "2021-11-02T18:00:00"}, {**AT, "clock": "2021-11-02T18:00:01"})
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [row["stages"]["time"] for row in rows] == [True, False]


def test_the_tolerance_counts_on_both_sides() -> None:
    for edge, outward in ((END, 1), (START, -1)):
        for ms, current in ((30_000, True), (30_001, False)):
            clock = (edge + outward * timedelta(milliseconds=ms)).isoformat()
            (row,) = answers({**AT, "clock": clock}, options=("--tolerance-s", "30"))
            assert row["stages"]["time"] is current


def test_a_folder_of_trusted_signers(tmp_path: Path) -> None:
    (tmp_path / "at.der").write_bytes(base64.b64decode(AT["certificate"]))
    line = {key: value for key, value in AT.items() if key != "certificate"}
    (row,) = answers(line, options=("--trust", str(tmp_path)))
    assert row["stages"] == dict.fromkeys(STAGES, True)
    (row,) = answers({**AT, **line_of("BG_1.json")}, options=("--trust", str(tmp_path)))
    assert row["stages"]["signature"] is True


def test_trust_that_cannot_be_used(tmp_path: Path) -> None:
    result = called(b"", "--trust", str(tmp_path / "none"))
    assert result.exit_code == 78
    assert result.stderr == f"trust: {tmp_path / 'none'}: no such file or folder\n"


@pytest.mark.parametrize(
    "options", [("--tolerance-s", "-1"), ("--tolerance-s", "x"), ("--cases", "/nowhere/x")]
)
def test_wrong_use(options: tuple[str, ...]) -> None:
    assert CliRunner().invoke(check_code, ["--cases", "-", *options], input=b"").exit_code == 2


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"not json\n", "not JSON: "),
        (b"\xff\xfe\xff\n", "not JSON: "),
        (b"[" * 100_000 + b"\n", "not JSON: "),
        (b"9" * 5000 + b"\n", "not JSON: "),
        (b"[]\n", "not a JSON object"),
        ({"id": 1}, "text: must be"),
        ({"id": 1, "text": None}, "text: must be"),
        ({"id": 1, "text": 7}, "text: must be"),
        ({**AT, "id": 1, "clock": "yesterday"}, "clock: must be a time"),
        ({**AT, "id": 1, "clock": ""}, "clock: must be a time"),
        ({**AT, "id": 1, "clock": 1635876000}, "clock: must be a time"),
        ({**AT, "id": 1, "clock": "2021-02-30T00:00:00Z"}, "clock: must be a time"),
    ],
)
def test_a_line_that_cannot_be_examined_stops_nothing(line: object, error: str) -> None:
    bad, good = answers(line, AT, status=1)
    assert list(bad) == ["id", "error"]
    assert bad["id"] == (1 if isinstance(line, dict) else None)
    assert bad["error"].startswith(error)
    assert good["reason"] == "ok"


@pytest.mark.parametrize(
    "text", ["", "HC1:", "HC1:\ud800", "HC1:粤康码", "粤康码", "\0", "HC1:" + "A" * 5000, "a" * 10**5]
)
def test_any_text_is_examined(text: str) -> None:
    (row,) = answers({**AT, "text": text})
    assert row["reason"] in {"unreadable", "malformed", "too_large", "not_checkable"}
    assert row["stages"]["signature"] is None


def test_ids_come_back_as_they_were() -> None:
    given = [None, 0, "x", "\ud800\n", [1], {"a": 1.5}]
    assert [row["id"] for row in answers(*({**AT, "id": name} for name in given))] == given
    assert answers({"text": ""})[0]["id"] is None


def test_blank_lines_and_line_ends() -> None:
    rows = answers(b"\n", json.dumps(AT).encode() + b"\r\n", b"  \n", json.dumps(AT).encode())
    assert [row["reason"] for row in rows] == ["ok", "ok"]
    certificate = "\n".join(AT["certificate"][n : n + 64] for n in range(0, 999, 64))
    assert answers({**AT, "certificate": certificate})[0]["reason"] == "ok"


def test_each_answer_comes_before_the_next_line_is_asked_for() -> None:
    code = "from gate.cli.check_code import check_code; check_code()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "--cases", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        for name in ("one", "two"):
            process.stdin.write(json.dumps({"id": name, "text": "x"}).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == name
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize("certificate", ["?", "AAA", "Ä===", 7, "AAAA", ""])
def test_a_certificate_that_cannot_be_used_is_said_beside_the_rest(certificate: object) -> None:
    bad, good = answers({**AT, "id": 1, "certificate": certificate}, AT, status=1)
    assert bad["problem"].startswith("certificate: ")
    assert bad["stages"] == {**good["stages"], "signature": None, "key_usage": None}
    assert (bad["reason"], good["reason"]) == ("unknown_issuer", "ok")


def test_a_home_pass_is_for_its_site(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public = key.public_key().public_bytes_raw().hex()
    (tmp_path / "keys.toml").write_text(
        f'[[keys]]\nissuer = "hall"\nissuer_name = "Hall"\npublic_key = "{public}"\npurposes = ["visitor"]\n'
    )
    claims = PassClaims(
        "hall", bytes(8), "east", 100, 2_000_000_000, 100, bytes(4), Credential.VISITOR, Status.GREEN
    )
    row = {"id": 1, "text": issue(key, claims), "clock": "2022-04-11T10:00:00+08:00"}
    for site, reason in ((None, "ok"), ("east", "ok"), ("west", "wrong_site")):
        options = ("--trust", str(tmp_path), *(() if site is None else ("--site", site)))
        assert answers(row, options=options)[0]["reason"] == reason
