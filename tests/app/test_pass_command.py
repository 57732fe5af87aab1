"""`gate pass` as a counter meets it: real files, real pictures, read again by a real decoder."""

import fcntl
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import zxingcpp
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gate.app import counter
from gate.cli.passes import pass_
from gate.core.codes import (
    Circumstances,
    Credential,
    Reason,
    Status,
    Travel,
    home,
    judge_code,
    rotating,
)
from gate.core.codes.trust import PASSES
from gate.core.documents import Document, Residents, Revocations, open_document, sign_document
from gate.trust_files import load_trust

SITE = "hall-east"
PHONE = Ed25519PrivateKey.from_private_bytes(b"\x06" * 32)
PHONE_HEX = PHONE.public_key().public_bytes_raw().hex()


@pytest.fixture(autouse=True)
def local_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The key of a counter, with its trust entry beside it."""
    file = tmp_path / "key.pem"
    made = run("key", "--new", file, "--issuer", "county-hall", "--issuer-name", "County hall 县政务大厅")
    assert made.exit_code == 0, made.output
    (tmp_path / "trust.toml").write_text(made.stdout, encoding="utf-8")
    return file


def run(*words: object, given: str | None = None) -> Result:
    """Run the command in this process; anything that it does not handle itself fails the test."""
    return CliRunner().invoke(pass_, [str(word) for word in words], input=given, catch_exceptions=False)


def issued(key: Path, *words: object) -> Result:
    return run("issue", "--key", key, "--site", SITE, *words)


def claims_of(text: str) -> home.PassClaims:
    return home.read_pass(text.strip("\n").encode())[1]


# The key


def test_a_new_key_and_what_the_gates_must_know(key: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    trust = load_trust([key.with_name("trust.toml")])
    (trusted,) = trust.keys
    assert (trusted.issuer, trusted.issuer_name) == ("county-hall", "County hall 县政务大厅")
    assert trusted.purposes == {*PASSES, "documents"}
    assert trusted.public_key == counter.load_key(key).public_key


def test_a_key_is_never_replaced(key: Path) -> None:
    before = key.read_bytes()
    again = run("key", "--new", key, "--issuer", "x", "--issuer-name", "X")
    assert (again.exit_code, again.stdout) == (2, "")
    assert again.stderr == f"{key} exists and is not overwritten; name another file\n"
    assert key.read_bytes() == before


@pytest.mark.parametrize("name", ["a\x07b", "", 'say "x"\\n'])
def test_a_name_that_gates_would_refuse_makes_no_key(tmp_path: Path, name: str) -> None:
    file = tmp_path / "new.pem"
    made = run("key", "--new", file, "--issuer", "x", "--issuer-name", name, "--purpose", "staff")
    assert (made.exit_code == 0) == file.exists() == (name == 'say "x"\\n')
    assert made.exit_code == 0 or "issuer_name: must be 1 to 64 printable characters" in made.stderr


def test_a_key_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    made = run("key", "--new", tmp_path / "no" / "k", "--issuer", "x", "--issuer-name", "X")
    assert (made.exit_code, made.stderr.count("\n")) == (2, 1)
    assert "cannot be written (No such file" in made.stderr


def test_other_tools_read_the_key_too(key: Path) -> None:
    begin = b"-----BEGIN PRIVATE KEY-----"
    words, _, _ = key.read_bytes().partition(begin)
    assert words == b"Issuer: county-hall\n"


def pem(private_key: Any) -> str:
    return private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no key file"),
        ("", "holds no private key"),
        ("Issuer: x\n-----BEGIN PRIVATE KEY-----\nx\n", "holds no private key"),
        ("x" * 20_000, "is too large"),
        (pem(PHONE), "does not say whose key it is"),
        ("Issuer: a b\n" + pem(PHONE), "does not say whose key it is"),
        ("Issuer: x\n" + pem(rsa.generate_private_key(65537, 2048)), "is not Ed25519"),
    ],
    ids=range(7),
)
def test_key_files_that_cannot_be_used(tmp_path: Path, text: str | None, words: str) -> None:
    file = tmp_path / "bad.pem"
    if text is not None:
        file.write_text(text)
    for result in (
        issued(file, "--hours", 1),
        run("revoke", "--key", file, "--site", SITE, "--list", tmp_path / "list"),
    ):
        assert result.exit_code == 2
        assert words in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_key_file_with_the_line_ends_of_another_system(key: Path) -> None:
    key.write_bytes(key.read_bytes().replace(b"\n", b"\r\n"))
    assert counter.load_key(key).issuer == "county-hall"


# Issued


def test_the_text_of_a_pass(key: Path) -> None:
    before = claims_of(issued(key, "--hours", 1).stdout).issued_at
    result = issued(key, "--hours", 2, "--registered", "name,phone")
    assert result.exit_code == 0
    assert re.fullmatch(r"HG1:[0-9A-Z $%*+\-./:]+\n", result.stdout)
    claims = claims_of(result.stdout)
    assert (claims.issuer, claims.site, claims.credential) == ("county-hall", SITE, Credential.VISITOR)
    assert (claims.status, claims.travel, claims.uses_max) == (Status.GREEN, Travel.UNKNOWN, None)
    assert claims.registered == {"name", "phone"}
    assert claims.valid_from == claims.issued_at
    assert claims.valid_until - claims.valid_from == 7200
    assert 0 <= claims.issued_at - before < 60
    trust = load_trust([key.with_name("trust.toml")])
    at = Circumstances(SITE, claims.issued_at * 1000)
    assert judge_code(result.stdout[:-1].encode(), fragment=False, trust=trust, at=at).verified


def test_every_option(key: Path) -> None:
    result = issued(
        key, "--kind", "household", "--from", "2022-04-11T08:00:00+08:00", "--until", "2032-04-11T02:00:00Z",
        "--status", "yellow", "--travel", "declared", "--uses", 3, "--holder-key", PHONE_HEX.upper(),
        "--subject", "0123456789abcdef", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    claims = claims_of(row["text"])
    assert (claims.credential, claims.status, claims.travel) == ("household", "yellow", "declared")
    assert (claims.uses_max, claims.holder_key) == (3, bytes.fromhex(PHONE_HEX))
    assert claims.registered == frozenset()
    assert row == {
        "text": row["text"],
        "pass_id": claims.pass_id.hex(),
        "subject": "0123456789abcdef",
        "valid_from": "2022-04-11T08:00:00+08:00",
        "valid_until": "2032-04-11T10:00:00+08:00",
    }
    assert datetime.fromisoformat(row["valid_from"]).timestamp() == claims.valid_from


def test_nobody_is_named_twice(key: Path) -> None:
    rows = [json.loads(issued(key, "--hours", 1, "--json").stdout) for _ in range(3)]
    assert len({row["pass_id"] for row in rows}) == len({row["subject"] for row in rows}) == 3


@pytest.mark.parametrize("kind", ["visitor", "appointment", "resident", "staff", "household", "supply"])
def test_every_kind(key: Path, kind: str) -> None:
    assert claims_of(issued(key, "--hours", 1, "--kind", kind).stdout).credential == kind


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "--until INSTANT or --hours N"),
        (["--hours", "1", "--until", "2030-01-01T00:00:00Z"], "--until INSTANT or --hours N"),
        (["--until", "2030-01-01T00:00:00"], "is no instant with its offset"),
        (["--until", "tomorrow"], "is no instant with its offset"),
        (["--until", "2020-01-01T00:00:00Z"], "the pass ends before it starts"),
        (["--until", "2222-01-01T00:00:00Z"], "lies outside the years"),
        (["--from", "0001-01-01T00:00:00Z", "--hours", "1"], "lies outside the years"),
        (["--hours", "0"], "0<x"),
        (["--hours", "nan"], "nan"),
        (["--hours", "1", "--registered", "name,shoe_size"], "unknown: shoe_size; there are name, id_number"),
        (["--hours", "1", "--uses", "0"], "1<=x<=65535"),
        (["--hours", "1", "--holder-key", "00" * 31], "must be 64 hexadecimal digits"),
        (["--hours", "1", "--holder-key", "00" * 32], "a usable Ed25519 public key"),
        (["--hours", "1", "--subject", "name"], "must be 16 hexadecimal digits"),
        (["--hours", "1", "--site", "hall east"], "must be 1 to 32 letters"),
        (["--hours", "1", "--kind", "vaccination"], "vaccination"),
        (["--hours", "1", "--out", "pass.gif"], "must end with .png or .svg"),
        (["--hours", "1", "--terminal", "--json"], "give one of them"),
    ],
)
def test_wrong_use_is_explained(key: Path, words: list[str], sentence: str) -> None:
    result = issued(key, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in " ".join(result.stderr.split())


# Drawn, and read again


Image = npt.NDArray[np.uint8]


def scanned(picture: Image) -> str:
    # QR only, as the gate does: noise can look like a bar code.
    (code,) = zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormat.QRCode)
    return str(code.text)


def svg_image(text: str) -> Image:
    """Draw what segno writes: one white square, one path of horizontal strokes of height 1."""
    background, strokes = re.findall(r'<path [^>]*?d="([^"]+)"', text)
    assert 'fill="#fff"' in text
    assert 'stroke="#000"' in text
    side = int(re.findall(r"\d+", background)[2])
    modules = np.full((side, side), 255, np.uint8)
    x = y = 0.0
    for command, numbers in re.findall(r"([Mmh])([-0-9. ]+)", strokes):
        values = [float(number) for number in re.findall(r"-?[0-9.]+", numbers)]
        if command == "h":
            modules[int(y), int(x) : int(x + values[0])] = 0
            x += values[0]
        else:
            x, y = (values[0], values[1]) if command == "M" else (x + values[0], y + values[1])
    return np.kron(modules, np.ones((6, 6), np.uint8))


def terminal_image(text: str) -> Image:
    """Draw what a terminal shows that obeys the colours: 16 is black, 231 is white."""
    dark = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
    rows: list[list[int]] = []
    for line in text.splitlines():
        found = re.fullmatch("\x1b\\[38;5;16;48;5;231m([ ▀▄█]+)\x1b\\[0m", line)
        assert found, line
        halves = [dark[char] for char in found[1]]
        rows += [[top for top, _ in halves], [bottom for _, bottom in halves]]
    modules = np.array(rows, np.uint8)
    return np.kron(255 * (1 - modules), np.ones((6, 6), np.uint8))


@pytest.mark.parametrize("bound", [False, True])
def test_pictures_are_read_again(key: Path, tmp_path: Path, bound: bool) -> None:
    words = ["--hours", 2, "--registered", "name,phone", *(["--holder-key", PHONE_HEX] if bound else [])]
    for suffix in (".png", ".svg"):
        file = tmp_path / f"pass{suffix}"
        row = json.loads(issued(key, *words, "--out", file, "--json").stdout)
        image = (
            cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) if suffix == ".png" else svg_image(file.read_text())
        )
        assert scanned(image) == row["text"]
        side = len(image)
        quiet = side * 4 // (side // (8 if suffix == ".png" else 6))
        assert image[:quiet].min() == image[-quiet:].min() == image[:, :quiet].min() == 255


def test_the_terminal_shows_a_code_with_its_quiet_zone(key: Path) -> None:
    result = issued(key, "--hours", 2, "--terminal")
    drawn, _, words = result.stdout.partition("visitor pass ")
    image = terminal_image(drawn)
    assert image[: 4 * 6].min() == image[-4 * 6 :].min() == image[:, : 4 * 6].min() == 255
    assert claims_of(scanned(image)).pass_id.hex() == words.split()[0]


def test_a_rotating_pass_as_a_phone_shows_it(key: Path) -> None:
    text = issued(key, "--hours", 2, "--holder-key", PHONE_HEX).stdout.strip("\n")
    shown = rotating.present(PHONE, text, claims_of(text).issued_at)
    assert scanned(terminal_image(counter.terminal_picture(shown))) == shown


def test_a_picture_that_cannot_be_written(key: Path, tmp_path: Path) -> None:
    result = issued(key, "--hours", 2, "--out", tmp_path / "no" / "pass.png")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "cannot be written (No such file" in result.stderr


def test_without_the_library_that_draws(key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    for words in (["--out", tmp_path / "pass.png"], ["--terminal"]):
        result = issued(key, "--hours", 2, *words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "python3-segno" in result.stderr
    assert issued(key, "--hours", 2).exit_code == 0


def test_the_module_starts_without_what_it_need_not_have() -> None:
    script = "import sys, gate.cli.passes; print({'segno', 'zxingcpp', 'numpy', 'cv2'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


# Shown


def shown(key: Path, text: str, *words: object, site: str = SITE, given: str | None = None) -> Result:
    return run(
        "show", "--trust", key.with_name("trust.toml"), "--site", site, *words, "--", text, given=given
    )


def test_what_a_pass_states(key: Path) -> None:
    text = issued(
        key, "--from", "2022-04-11T08:00:00+08:00", "--until", "2032-04-11T10:00:00+08:00", "--uses", 3,
        "--registered", "phone,name", "--subject", "0123456789abcdef", "--holder-key", PHONE_HEX,
    ).stdout  # fmt: skip
    claims = claims_of(text)
    lines = [
        f"visitor pass {claims.pass_id.hex()} of county-hall for hall-east",
        "subject 0123456789abcdef",
        "valid from 2022-04-11T08:00:00+08:00 until 2032-04-11T10:00:00+08:00",
        "status green, travel unknown",
        "registered: name, phone",
        "may be used 3 times in all",
        f"bound to the holder key {PHONE_HEX}",
        "nobody's signature was checked: give --trust FILE and --site SITE",
    ]
    for result in (run("show", text.strip("\n")), run("show", "-", given=text)):
        assert result.exit_code == 0
        assert [line for line in result.stdout.splitlines() if not line.startswith("issued ")] == lines


def test_what_a_pass_is_worth(key: Path, tmp_path: Path) -> None:
    good = issued(key, "--hours", 2).stdout.strip("\n")
    assert shown(key, good).exit_code == 0
    assert "accepted: signed by its issuer" in shown(key, "-", given=good + "\n").stdout
    listed = tmp_path / "list"
    run("revoke", "--key", key, "--site", SITE, "--list", listed, claims_of(good).pass_id.hex())
    stranger = tmp_path / "stranger.pem"
    run("key", "--new", stranger, "--issuer", "county-hall", "--issuer-name", "X")
    limited = tmp_path / "limited" / "key.pem"
    limited.parent.mkdir()
    words = ("--issuer", "desk", "--issuer-name", "Desk", "--purpose", "visitor")
    (limited.parent / "trust.toml").write_text(run("key", "--new", limited, *words).stdout)
    past = replace(
        claims_of(good), issued_at=1_700_000_000, valid_from=1_700_000_000, valid_until=1_700_000_001
    )
    old = home.issue(counter.load_key(key).private_key, past)
    cases: list[tuple[Result, str]] = [
        (shown(key, good, site="hall-west"), "for another site"),
        (shown(key, good, "--list", listed), "was revoked"),
        (shown(key, good[:-6] + "000000"), "a signature is false"),
        (shown(key, issued(stranger, "--hours", 1).stdout.strip("\n")), "key is in none of these files"),
        (shown(limited, issued(limited, "--hours", 1, "--kind", "staff").stdout.strip("\n")), "of this kind"),
        (shown(key, issued(key, "--hours", 1, "--status", "red").stdout.strip("\n")), "its status is red"),
        (shown(key, issued(key, "--hours", 1, "--holder-key", PHONE_HEX).stdout.strip("\n")), "only a copy"),
        (shown(key, "-", given=old), "its time is over"),
    ]
    for result, words in cases:
        assert result.exit_code == 1
        last = result.stdout.splitlines()[-1]
        assert last.startswith("not accepted: ")
        assert words in last
        assert re.search(r"\(judged for hall-\w+ at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00\)$", last)


def test_what_a_rotating_pass_states(key: Path) -> None:
    text = issued(key, "--hours", 2, "--holder-key", PHONE_HEX).stdout.strip("\n")
    result = run("show", rotating.present(PHONE, text, 1_700_000_025))
    assert "shown by its holder at 2023-11-15T06:13:30+08:00" in result.stdout


def test_what_a_rotating_pass_is_worth(key: Path) -> None:
    text = issued(key, "--hours", 2, "--holder-key", PHONE_HEX).stdout.strip("\n")
    now_s = claims_of(text).issued_at
    assert shown(key, rotating.present(PHONE, text, now_s)).exit_code == 0
    assert "its time is over" in shown(key, rotating.present(PHONE, text, now_s - 120)).stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "this is no home pass"),
        ("https://example.org/", "this is no home pass"),
        ("\x1b[2J健康码\udcff", "this is no home pass"),
        ("HC1:6BF", "this is no home pass"),
        ("HG1:", "damaged"),
        ("HG1:\x1b", "damaged"),
        ("HG2:ABC", "damaged"),
        ("HG1:" + "0" * 3000, "too long"),
    ],
)
def test_foreign_and_damaged_texts_get_one_sentence(key: Path, text: str, words: str) -> None:
    for result in (run("show", "--", text), shown(key, text)):
        assert (result.exit_code, result.stdout) == (1, "")
        assert words in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["--site", SITE], ["--trust", "x"], ["--list", "x"]])
def test_worth_needs_keys_and_a_site(words: list[str]) -> None:
    result = run("show", "HG1:", *words)
    assert result.exit_code == 2
    assert "both --trust FILE and --site SITE" in result.stderr


def test_keys_and_lists_that_cannot_be_used(key: Path, tmp_path: Path) -> None:
    text = issued(key, "--hours", 2).stdout.strip("\n")
    assert run("show", text, "--trust", tmp_path / "no", "--site", SITE).exit_code == 78
    missing = shown(key, text, "--list", tmp_path / "no")
    assert (missing.exit_code, "there is no file" in missing.stderr) == (2, True)


# Revoked


def revoked(key: Path, file: Path, *words: object, site: str = SITE) -> Result:
    return run("revoke", "--key", key, "--site", site, "--list", file, *words)


def opened(key: Path, file: Path) -> Document:
    trust = load_trust([key.with_name("trust.toml")])
    return open_document(file.read_bytes().strip(), trust=trust, site=SITE)


def test_a_list_grows_and_rises(key: Path, tmp_path: Path) -> None:
    file = tmp_path / "revoked.hgd"
    first = revoked(key, file, "CAFE0001", "cafe0002")
    assert first.exit_code == 0
    document = opened(key, file)
    assert (document.version, document.content) == (1, Revocations(frozenset({"cafe0001", "cafe0002"})))
    assert document.not_after - document.issued_at == 7 * 86_400
    until = datetime.fromtimestamp(document.not_after).astimezone().isoformat()
    assert first.stdout == f"{file}: version 1, 2 passes revoked, good until {until}\n"

    assert "version 2, 3 passes revoked" in revoked(key, file, "--days", 1, "cafe0002", "00" * 16).stdout
    document = opened(key, file)
    assert document.content == Revocations(frozenset({"cafe0001", "cafe0002", "00" * 16}))
    assert document.not_after - document.issued_at == 86_400
    assert "version 3, 3 passes revoked" in revoked(key, file).stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.pem", "revoked.hgd", "trust.toml"]


def test_an_empty_list_says_that_nothing_is_revoked(key: Path, tmp_path: Path) -> None:
    file = tmp_path / "revoked.hgd"
    assert "version 1, 0 passes revoked" in revoked(key, file).stdout
    assert opened(key, file).content == Revocations(frozenset())
    assert "version 2, 1 pass revoked" in revoked(key, file, "cafe0001").stdout


def test_every_id_that_is_none_is_named_and_nothing_changes(key: Path, tmp_path: Path) -> None:
    file = tmp_path / "revoked.hgd"
    revoked(key, file, "cafe0001")
    before = file.read_bytes()
    result = revoked(key, file, "cafe0002", "cafe", "HG1:", "00" * 17, "cafe000z")
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 4
    assert all("is no pass id" in line for line in result.stderr.splitlines())
    assert file.read_bytes() == before


def test_a_file_that_is_not_this_list_stays_as_it_is(key: Path, tmp_path: Path) -> None:
    signer, file = counter.load_key(key), tmp_path / "revoked.hgd"
    other = Ed25519PrivateKey.generate()
    own = Document(SITE, "county-hall", 4, 1_700_000_000, 1_800_000_000, Revocations(frozenset()))
    residents = Document(SITE, "county-hall", 4, 1_700_000_000, 1_800_000_000, Residents(frozenset()))
    text = sign_document(signer.private_key, own)
    cases = [
        ("my notes", "is no signed document"),
        ("", "is no signed document"),
        ("x" * 400_000, "is too large"),
        (sign_document(other, own), "is signed with another key"),
        (text[:-8] + "AAAAAAA=", "was changed after it was signed"),
        (sign_document(signer.private_key, residents), "a list of residents"),
    ]
    for content, words in cases:
        file.write_text(content)
        result = revoked(key, file, "cafe0001")
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), words
        assert words in result.stderr
        assert file.read_text() == content
    file.write_text(text)
    assert "list of another site" in revoked(key, file, "cafe0001", site="hall-west").stderr
    assert "version 5" in revoked(key, file, "cafe0001").stdout


def test_a_list_that_cannot_be_written(key: Path, tmp_path: Path) -> None:
    for file, words in [(tmp_path / "no" / "list", "cannot be written"), (tmp_path, "cannot be read")]:
        result = revoked(key, file, "cafe0001")
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert words in result.stderr


def test_a_list_that_no_gate_would_read_is_not_written(key: Path, tmp_path: Path) -> None:
    file = tmp_path / "revoked.hgd"
    with pytest.raises(counter.CounterError, match="cannot be signed: the document has more"):
        counter.revoke(
            counter.load_key(key), site=SITE, file=file, now_s=1_700_000_000, days=7,
            pass_ids=(f"{number:032x}" for number in range(8_000)),
        )  # fmt: skip
    assert not file.exists()


def test_two_counters_take_turns(key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two lists with one version, a gate would keep the first and never learn of the other's passes."""
    file, signer = tmp_path / "revoked.hgd", counter.load_key(key)
    asked = threading.Event()
    lock = fcntl.flock

    def ask(descriptor: int, operation: int) -> None:
        asked.set()
        lock(descriptor, operation)

    def revoke(pass_id: str) -> None:
        counter.revoke(signer, site=SITE, file=file, pass_ids=[pass_id], now_s=1_700_000_000, days=7)

    first = os.open(tmp_path, os.O_RDONLY)
    lock(first, fcntl.LOCK_EX)
    monkeypatch.setattr(fcntl, "flock", ask)
    second = threading.Thread(target=revoke, args=("cafe0002",))
    second.start()
    assert asked.wait(30)
    assert not file.exists()
    os.close(first)
    second.join(30)
    revoke("cafe0001")
    assert opened(key, file).version == 2
    assert opened(key, file).content == Revocations(frozenset({"cafe0001", "cafe0002"}))


def test_a_revoked_pass_is_refused(key: Path, tmp_path: Path) -> None:
    text = issued(key, "--hours", 2).stdout.strip("\n")
    file = tmp_path / "revoked.hgd"
    revoked(key, file, claims_of(text).pass_id.hex())
    trust = load_trust([key.with_name("trust.toml")])
    documents = counter.read_documents([file], trust=trust, site=SITE)
    trust = type(trust)(trust.keys, documents.revoked())
    at = Circumstances(SITE, claims_of(text).issued_at * 1000)
    result = judge_code(text.encode(), fragment=False, trust=trust, at=at)
    assert result.reason is Reason.REVOKED
