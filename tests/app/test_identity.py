"""The device key: made once, kept, and nobody else's; and `gate identity`."""

import json
import os
import threading
from pathlib import Path

from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pytest import MonkeyPatch, mark, raises

from gate.app.identity import KEY_NAME, IdentityError, device_key
from gate.cli import main
from tests.app.test_doctor import write_config


def public(folder: Path) -> bytes:
    return device_key(folder).public_key().public_bytes_raw()


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "not yet" / "there"
    first = public(folder)
    assert public(folder) == first
    assert (folder / KEY_NAME).stat().st_mode & 0o777 == 0o600
    assert b"-----BEGIN PRIVATE KEY-----" in (folder / KEY_NAME).read_bytes()
    assert [file.name for file in folder.iterdir()] == [KEY_NAME], "nothing else is left"
    assert public(tmp_path / "another") != first


def test_two_starts_at_once_agree_on_one_key(tmp_path: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(public(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len(set(found)) == 1


def elliptic() -> bytes:
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@mark.parametrize(
    "content",
    [b"", b"noise", os.urandom(5000), elliptic(), None],
    ids=["empty", "noise", "long", "another kind", "cut short"],
)
def test_a_damaged_key_is_named_and_stays_as_it_is(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / KEY_NAME
    if content is None:
        device_key(tmp_path)
        content = path.read_bytes()[:80]
    path.write_bytes(content)
    with raises(IdentityError, match=rf"the device key {path} is damaged; bring back a copy"):
        device_key(tmp_path)
    assert path.read_bytes() == content


def test_a_key_that_cannot_be_read_or_made_is_said(tmp_path: Path) -> None:
    (tmp_path / KEY_NAME).mkdir()
    with raises(IdentityError, match="cannot be read"):
        device_key(tmp_path)
    (tmp_path / "file").write_text("no folder")
    with raises(IdentityError, match="cannot be made"):
        device_key(tmp_path / "file")


def test_a_folder_that_cannot_be_looked_into_is_said(tmp_path: Path) -> None:
    """Such as that of the service's user; root may look everywhere, but not at a name of this length."""
    with raises(IdentityError, match="cannot be"):
        device_key(tmp_path / ("x" * 300))
    if os.geteuid() != 0:
        closed = tmp_path / "closed"
        public(closed)
        closed.chmod(0)
        try:
            with raises(IdentityError, match="Permission denied"):
                device_key(closed)
        finally:
            closed.chmod(0o700)


def test_root_makes_it_for_the_service(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _file, user, group: owners.append((user, group)))
    device_key(tmp_path)
    found = tmp_path.stat()
    assert owners == [(found.st_uid, found.st_gid)]


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["identity", *words])
    return result.exit_code, result.output


def test_gate_identity_prints_what_the_centre_takes(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    status, line = run("--config", str(config))
    assert (status, line.count("\n")) == (0, 1)
    key = public(tmp_path / "state").hex()
    assert json.loads(line) == {"site": "north-hall", "gate": "gate-1", "public_key": key}
    assert run("--config", str(config)) == (0, line), "the same again"


def test_gate_identity_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    assert run("--config", str(tmp_path / "none.toml"))[0] == 78
    config = write_config(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / KEY_NAME).write_text("noise")
    status, words = run("--config", str(config))
    assert status == 1
    assert "is damaged" in words
