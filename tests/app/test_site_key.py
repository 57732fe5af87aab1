"""The secret of a site: made once, whole, for nobody else to read; or given, and then never made."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from gate.app import site_key as module
from gate.app.site_key import KEY_BYTES, KEY_BYTES_MIN, own_key, read_key, site_key, site_key_problems
from gate.config import Config, GateSection, MqttSection
from tests.app.bounded import in_time


def configured(state_dir: Path, site_key_file: Path | None = None) -> Config:
    section = GateSection("hall", "g1", state_dir=state_dir, site_key_file=site_key_file)
    return Config(section, MqttSection("broker"))


def test_a_gate_that_is_given_none_makes_its_own(tmp_path: Path) -> None:
    config = configured(tmp_path)
    assert site_key_problems(config) == []
    assert not (tmp_path / "site.key").exists()  # who only looks makes nothing
    assert len(site_key(config)) == KEY_BYTES
    assert (tmp_path / "site.key").read_bytes() == site_key(config)
    assert site_key_problems(config) == []


def test_the_key_of_the_site_is_used_and_never_made(tmp_path: Path) -> None:
    """A wrong path must not give each gate another key, and one person as many pseudonyms."""
    shared = tmp_path / "shared.key"
    config = configured(tmp_path, shared)
    with pytest.raises(FileNotFoundError):
        site_key(config)
    (problem,) = site_key_problems(config)
    assert problem.startswith(
        f"gate.site_key_file: {shared} cannot be used (No such file or directory); copy"
    )
    shared.write_bytes(bytes(16))
    assert site_key_problems(config) == []
    assert site_key(config) == bytes(16)
    assert not (tmp_path / "site.key").exists()


@pytest.mark.parametrize("given", [False, True])
def test_a_short_key_is_a_problem_before_anything_starts(tmp_path: Path, given: bool) -> None:
    key = tmp_path / "site.key"
    key.write_bytes(bytes(15))
    config = configured(tmp_path, key if given else None)
    (problem,) = site_key_problems(config)
    assert problem.startswith(
        f"gate.site_key_file: {key} cannot be used (15 bytes, and a secret has 16 or more); copy"
    )
    with pytest.raises(OSError, match="a secret has 16 or more"):
        site_key(config)


def test_a_key_in_digits_is_the_key_in_bytes(tmp_path: Path) -> None:
    """The centre reads both as well: one key, whichever way it was copied."""
    path = tmp_path / "site.key"
    for spelled in (b"00ff" * 16, b"00FF" * 16 + b"\n"):
        path.write_bytes(spelled)
        assert read_key(path) == bytes.fromhex("00ff" * 16)


def test_it_is_made_on_first_use_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    key = own_key(path)
    assert (len(key), path.read_bytes(), own_key(path)) == (KEY_BYTES, key, key)
    assert [file.name for file in tmp_path.iterdir()] == ["site.key"]
    assert own_key(tmp_path / "other.key") != key


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_nobody_else_may_read_it(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "site.key"
    before = os.umask(umask)
    try:
        own_key(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_that_was_given_is_used_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    given = bytes(range(KEY_BYTES_MIN))
    path.write_bytes(given)
    path.chmod(0o640)
    assert own_key(path) == given
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("short", [b"", bytes(KEY_BYTES_MIN - 1)])
def test_a_key_that_is_too_short_is_refused_and_left(tmp_path: Path, short: bytes) -> None:
    path = tmp_path / "site.key"
    path.write_bytes(short)
    with pytest.raises(OSError, match="a secret has 16 or more") as refused:
        own_key(path)
    assert (refused.value.errno, refused.value.filename) == (errno.EINVAL, str(path))
    assert path.read_bytes() == short


def test_a_key_that_cannot_be_read_or_made_is_an_operating_fault(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "site.key", tmp_path / "file" / "site.key"):
        (tmp_path / "file").touch()
        with pytest.raises(OSError):  # which one is the system's to say
            own_key(path)


def test_neither_a_pipe_nor_what_has_no_end_is_read(tmp_path: Path) -> None:
    """As root `gate check-config` and the doctor look at it."""
    path = tmp_path / "site.key"
    os.mkfifo(path)
    assert in_time(lambda: site_key_problems(configured(tmp_path)))
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "no plain file" in site_key_problems(configured(tmp_path))[0]
    path.unlink()
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert site_key_problems(configured(tmp_path, loop))
    path.write_bytes(bytes(4097))
    assert "more than 4096 bytes" in site_key_problems(configured(tmp_path))[0]


def test_a_link_to_the_key_of_the_site_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(bytes(32))
    (tmp_path / "link").symlink_to("there")
    assert read_key(tmp_path / "link") == bytes(32)


def test_several_at_once_have_one_key(tmp_path: Path) -> None:
    """Whoever comes while it is being made waits for nothing, and nobody sees a half of it."""
    for round_ in range(20):
        path, keys = tmp_path / f"{round_}.key", list[bytes | Exception]()
        start = threading.Barrier(8)

        def make(
            path: Path = path, keys: list[bytes | Exception] = keys, start: threading.Barrier = start
        ) -> None:
            start.wait()
            try:
                keys.append(own_key(path))
            except Exception as error:  # noqa: BLE001 - told to the test
                keys.append(error)

        threads = [threading.Thread(target=make) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert keys == [path.read_bytes()] * 8
    assert len(list(tmp_path.iterdir())) == 20


def test_root_makes_it_for_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _file, user, group: owners.append((user, group)))
    own_key(tmp_path / "site.key")
    found = tmp_path.stat()
    assert owners == [(found.st_uid, found.st_gid)]


def test_who_comes_second_takes_the_first_ones_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking and making, another one has made it."""
    path = tmp_path / "site.key"
    make = module.write_new

    def late(path: Path, content: bytes, *, owned_as_folder: bool) -> bool:
        path.write_bytes(b"first" * 8)
        return make(path, content, owned_as_folder=owned_as_folder)

    monkeypatch.setattr(module, "write_new", late)
    assert own_key(path) == b"first" * 8
    assert [file.name for file in tmp_path.iterdir()] == ["site.key"]


def test_a_power_cut_while_it_is_made_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "site.key"

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", cut)
        with pytest.raises(KeyboardInterrupt):
            own_key(path)
    assert not path.exists()
    assert len(own_key(path)) == KEY_BYTES
