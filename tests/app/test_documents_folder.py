"""Documents on disk: replaced whole or not at all, read in one order, and never in anybody's way."""

import logging
import os
import socket
from pathlib import Path

import pytest

from gate.app.documents import BYTES_MAX, FILES_MAX, DocumentFolder
from gate.core.codes.model import CodeError, Reason
from gate.core.codes.trust import Trust
from gate.core.documents import TEXT_BYTES_MAX, open_document

NAME = "occupancy-centre"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "documents"


@pytest.fixture
def folder(path: Path) -> DocumentFolder:
    return DocumentFolder(path)


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


def test_what_was_kept_is_there_at_the_next_start(path: Path, folder: DocumentFolder) -> None:
    assert list(folder.texts()) == []  # before anything has come there is no folder
    assert not path.exists()
    folder.keep(NAME, b"one")
    folder.keep("residents-centre", b"two")
    folder.keep(NAME, b"three")
    assert names(path) == ["occupancy-centre.hgd", "residents-centre.hgd"]
    assert list(DocumentFolder(path).texts()) == [b"three", b"two"]


def test_they_come_by_name_whatever_the_order_in_which_they_were_kept(folder: DocumentFolder) -> None:
    for name in ("risk_areas-b", "appointments-z", "risk_areas-a", "occupancy-m"):
        folder.keep(name, name.encode())
    assert list(folder.texts()) == [b"appointments-z", b"occupancy-m", b"risk_areas-a", b"risk_areas-b"]


def test_a_person_may_put_one_there_with_a_line_end(path: Path, folder: DocumentFolder) -> None:
    path.mkdir()
    (path / "by-hand.hgd").write_bytes(b"HGD1:text\r\n")
    (path / "README").write_bytes(b"no document")
    (path / "half-written.part").write_bytes(b"no document")
    assert list(folder.texts()) == [b"HGD1:text"]


# --- what cannot be read or written


def test_what_cannot_be_read_is_said_and_left(
    path: Path, folder: DocumentFolder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.keep("c", b"last")
    folder.keep("a", b"first")
    for name in ("b.hgd", "bb.hgd"):
        (path / name).symlink_to("/proc/self/mem")  # a plain file that nobody can read from its start
    assert list(folder.texts()) == [b"first", b"last"]
    said = [record.getMessage() for record in caplog.records]
    for name, line in zip(("b.hgd", "bb.hgd"), said, strict=True):
        assert f"document {path / name} cannot be read: " in line
    assert all(record.levelno == logging.ERROR for record in caplog.records)


def test_of_all_that_cannot_be_read_or_kept_somebody_is_told(path: Path, tmp_path: Path) -> None:
    told: list[str] = []
    folder = DocumentFolder(path, told.append)
    folder.keep("a", b"text")
    (path / "b.hgd").symlink_to("/proc/self/mem")
    assert list(folder.texts()) == [b"text"]
    assert [line.split(": ")[0] for line in told] == [f"document {path / 'b.hgd'} cannot be read"]
    told.clear()
    (path / "c.hgd").mkdir()
    folder.keep("c", b"text")
    assert [line.split(": ")[0] for line in told] == [
        f"document {path / 'c.hgd'} is used but not kept for the next start"
    ]
    told.clear()
    (tmp_path / "file").touch()
    assert list(DocumentFolder(tmp_path / "file", told.append).texts()) == []
    assert [line.split(": ")[0] for line in told] == [f"documents in {tmp_path / 'file'} cannot be read"]
    told.clear()
    assert list(DocumentFolder(tmp_path / "never-made", told.append).texts()) == []
    assert told == [], "a gate to which none has come misses none"


def test_what_is_no_plain_file_is_not_waited_for(path: Path, folder: DocumentFolder) -> None:
    folder.keep("a", b"text")
    os.mkfifo(path / "pipe.hgd")  # to open it would wait for somebody who writes
    (path / "folder.hgd").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path / "s.hgd"))
    assert list(folder.texts()) == [b"text"]


def test_no_more_than_so_many_are_read_at_a_start(path: Path, folder: DocumentFolder) -> None:
    path.mkdir()
    for number in range(FILES_MAX):
        (path / f"{number:04}.hgd").write_text(str(number))
        os.mkfifo(path / f"-{number:04}.hgd")  # these take nobody's place
    assert list(folder.texts()) == [str(number).encode() for number in range(FILES_MAX)]
    (path / f"{FILES_MAX:04}.hgd").write_text("one too many")
    assert list(folder.texts()) == [str(number).encode() for number in range(FILES_MAX)]


def test_a_folder_that_is_none_is_said(
    path: Path, folder: DocumentFolder, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"a file")
    assert list(folder.texts()) == []
    assert f"documents in {path} cannot be read" in caplog.text
    folder.keep(NAME, b"text")
    assert "is used but not kept for the next start" in caplog.text
    assert path.read_bytes() == b"a file"


def test_without_a_state_folder_nothing_is_kept_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    DocumentFolder(tmp_path / "missing" / "documents").keep(NAME, b"text")
    assert "not kept" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_of_a_huge_file_just_enough_is_read_to_refuse_it(path: Path, folder: DocumentFolder) -> None:
    path.mkdir()
    with (path / "huge.hgd").open("wb") as huge:
        huge.truncate(10 * 1024**3)  # a hole: no disk has to hold it
    (text,) = folder.texts()
    assert len(text) == BYTES_MAX + 1 > TEXT_BYTES_MAX
    with pytest.raises(CodeError) as refused:
        open_document(text, trust=Trust(), site="hall")
    assert refused.value.reason is Reason.TOO_LARGE


def test_the_largest_document_is_read_whole(folder: DocumentFolder) -> None:
    folder.keep(NAME, b"x" * TEXT_BYTES_MAX)
    assert [len(text) for text in folder.texts()] == [TEXT_BYTES_MAX]


# --- whole or not at all


class PowerCutError(Exception):
    """The process is gone."""


def test_a_full_disk_leaves_the_old_document(
    folder: DocumentFolder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.keep(NAME, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    folder.keep(NAME, b"new")
    assert list(folder.texts()) == [b"old"]
    assert "No space left on device" in caplog.text
