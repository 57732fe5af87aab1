"""Files that are there whole or not at all."""

import os
from pathlib import Path
from typing import Any

import pytest

from gate import durable


class PowerCutError(BaseException):
    """The power is gone: nothing is tidied up that the program would have to do."""


def cut(*_: object, **__: object) -> None:
    raise PowerCutError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_never_replaces_one(tmp_path: Path) -> None:
    assert durable.write_new(tmp_path / "key", b"first")
    assert not durable.write_new(tmp_path / "key", b"second")
    assert (tmp_path / "key").read_bytes() == b"first"
    assert (tmp_path / "key").stat().st_mode & 0o777 == durable.PRIVATE
    assert names(tmp_path) == ["key"]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    durable.replace(tmp_path / "list", b"old, and longer")
    durable.replace(tmp_path / "list", b"new")
    assert (tmp_path / "list").read_bytes() == b"new"
    assert names(tmp_path) == ["list"]


def test_a_replaced_file_is_one_that_others_may_read(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        durable.replace(tmp_path / "list", b"new")
    finally:
        os.umask(umask)
    assert (tmp_path / "list").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_power_cut_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "list"
    durable.replace(path, b"old")
    with monkeypatch.context() as broken:
        broken.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), cut)
        with pytest.raises(PowerCutError):
            durable.replace(path, b"new")
    assert path.read_bytes() == b"old"
    durable.replace(path, b"new")  # what was left lying about is in nobody's way
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("step", ["fsync", "rename", "the name"])
def test_a_power_cut_leaves_no_half_of_a_new_file_and_no_secret_lying_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "key"
    rename = Path.rename

    def cut_off(*words: Any) -> None:
        if step == "the name":
            rename(*words)
        broken.setattr(Path, "unlink", cut)
        cut()

    with monkeypatch.context() as broken:
        broken.setattr(*((os, "fsync") if step == "fsync" else (Path, "rename")), cut_off)
        with pytest.raises(PowerCutError):
            durable.write_new(path, b"first")
    assert names(tmp_path) == ["key" if step == "the name" else ".key.new"]
    assert durable.write_new(path, b"secret") is (step != "the name")
    assert path.read_bytes() == (b"first" if step == "the name" else b"secret")
    assert names(tmp_path) == ["key"]


def test_a_disk_that_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="No space left"):
            durable.write_new(tmp_path / "key", b"secret")
    assert names(tmp_path) == []


def test_a_name_that_leads_nowhere_is_one_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "none")
    assert not durable.write_new(tmp_path / "key", b"secret")
    assert (tmp_path / "key").is_symlink()


def test_the_bytes_are_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def noted_fsync(descriptor: int) -> None:
        folder = os.fstat(descriptor).st_ino == tmp_path.stat().st_ino
        steps.append("names" if folder else f"bytes {os.fstat(descriptor).st_size}")
        fsync(descriptor)

    def noted_replace(part: Path, file: Path) -> Path:
        steps.append(f"-> {file.name}")
        return replace(part, file)

    def noted_rename(part: Path, file: Path) -> Path:
        steps.append(f"-> {file.name}")
        return rename(part, file)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    monkeypatch.setattr(Path, "replace", noted_replace)
    durable.write_new(tmp_path / "key", b"123")
    durable.replace(tmp_path / "list", b"12345")
    assert steps == ["bytes 3", "-> key", "names", "bytes 5", "-> list", "names"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_what_root_makes_belongs_to_whose_folder_it_is_where_that_is_wanted(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1235)
    durable.write_new(tmp_path / "service", b"secret", owned_as_folder=True)
    durable.write_new(tmp_path / "key", b"secret")
    durable.replace(tmp_path / "list", b"list")
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in tmp_path.iterdir()}
    assert owners.pop("service") == (1234, 1235)
    assert set(owners.values()) == {(os.geteuid(), os.getegid())}
