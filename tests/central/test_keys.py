"""The centre's keys on disk: made once, for their owner only, never replaced."""

import json
from pathlib import Path

import pytest
from nacl.public import PublicKey, SealedBox

from central.keys import (
    FOR_GATES,
    SEAL_KEY,
    SIGN_KEY,
    KeysError,
    load_keys,
    make_keys,
    public_keys,
    write_new,
)
from gate.core.delivery import Receipt


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_keys(tmp_path / "centre")
    return tmp_path / "centre"


def test_what_is_made_can_be_used(folder: Path) -> None:
    keys = load_keys(folder)
    public = json.loads((folder / FOR_GATES).read_text())
    receipt = Receipt("north", "g-1", "e1", 0, b"h" * 32, 1)
    known = tuple(bytes.fromhex(key) for key in public["sign"])
    assert Receipt.opened(receipt.signed(keys.sign), known) == receipt
    sealed = SealedBox(PublicKey(bytes.fromhex(public["seal"]))).encrypt(b"a name")
    assert SealedBox(keys.seal).decrypt(sealed) == b"a name"
    assert keys.public == public_keys(folder) == known


def test_only_the_owner_can_read_the_private_ones(folder: Path) -> None:
    for name in (SIGN_KEY, SEAL_KEY):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    (folder / SIGN_KEY).chmod(0o640)
    with pytest.raises(KeysError, match="chmod 600"):
        load_keys(folder)


def test_making_them_again_changes_nothing_and_mends_what_is_missing(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert make_keys(folder) == []
    (folder / FOR_GATES).unlink()
    assert make_keys(folder) == [folder / FOR_GATES]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_key_that_was_made_known_ahead_is_believed_too(folder: Path) -> None:
    public = json.loads((folder / FOR_GATES).read_text())
    public["sign"].insert(0, "ab" * 32)
    (folder / FOR_GATES).write_text(json.dumps(public))
    keys = load_keys(folder)
    assert keys.public == (keys.sign.public_key().public_bytes_raw(), bytes.fromhex("ab" * 32))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (SIGN_KEY, b"junk", "no private key"),
        (SEAL_KEY, b"x" * 100_000, "too large"),
        (FOR_GATES, b"{}", "not of the form"),
        (FOR_GATES, b'{"sign": ["AB"], "seal": ""}', "not of the form"),
        (FOR_GATES, b'{"sign": ["' + b"00" * 32 + b'"]}', "no gate would believe it"),
    ],
)
def test_files_that_cannot_be_used_are_named(folder: Path, name: str, content: bytes, words: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(KeysError, match=words) as raised:
        load_keys(folder)
    assert name in str(raised.value)


def test_keys_of_the_wrong_kind_are_told_apart(folder: Path) -> None:
    sign = (folder / SIGN_KEY).read_bytes()
    (folder / SIGN_KEY).write_bytes((folder / SEAL_KEY).read_bytes())
    with pytest.raises(KeysError, match="not Ed25519"):
        load_keys(folder)
    (folder / SIGN_KEY).write_bytes(sign)
    (folder / SEAL_KEY).write_bytes(sign)
    with pytest.raises(KeysError, match="not X25519"):
        load_keys(folder)


def test_without_keys_it_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="central init"):
        load_keys(tmp_path)


def test_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    assert write_new(tmp_path / "a", b"1", 0o600)
    assert not write_new(tmp_path / "a", b"2", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"1"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeysError, match="cannot be written"):
        write_new(tmp_path / "file" / "b", b"1", 0o600)
