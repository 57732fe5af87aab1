"""A card's boot partition: the FAT file system that a Raspberry Pi starts from and every PC can read.

It may be mounted (a folder), or lie in a disk image, a whole disk or a partition, which are read and written
through the mtools programs at an offset: without root where the file allows it, and without mounting.
"""

import errno
import os
import re
import shutil
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

SECTOR: Final = 512
_COMPRESSED: Final = {
    b"\xfd7zXZ\x00": "xz -d -k",
    b"PK\x03\x04": "unzip",
    b"\x1f\x8b": "gunzip -k",
    b"\x28\xb5\x2f\xfd": "zstd -d",
}
_GPT_PROTECTIVE: Final = 0xEE


class CardError(Exception):
    """What is wrong with the card or with what is to go on it, and what to do."""


class BootPartition(Protocol):
    """Reads and writes files of the boot partition; names are relative, with "/" between folder and file."""

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, None if there is no such file."""

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a file, and the one folder that it may lie in."""

    def free_bytes(self) -> int:
        """Return how many bytes more it can hold."""

    def close(self) -> None:
        """Make durable what was written. Raises CardError."""


def open_boot_partition(target: Path) -> BootPartition:
    """Open the boot partition of a mounted folder, an image file or a block device. Raises CardError."""
    try:
        mode = target.stat().st_mode
    except OSError as error:
        raise CardError(
            f"{target}: {error.strerror}; name an image file, a device or a mounted folder"
        ) from error
    if stat.S_ISDIR(mode):
        return MountedFolder(target)
    if stat.S_ISBLK(mode):
        _refuse_mounted(target)
    return FatInImage(target, find_fat(target))


class MountedFolder:
    """A boot partition that the system has mounted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, None if there is no such file."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CardError(f"{error.filename}: {error.strerror}") from error

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a file: whole or not at all, as far as FAT knows such a thing."""
        path = self._folder / name
        try:
            path.parent.mkdir(exist_ok=True)
            new = path.with_name(path.name + ".new")
            new.write_bytes(content)
            new.replace(path)
        except OSError as error:
            raise CardError(f"{path}: {error.strerror}; {_advice(error)}") from error

    def free_bytes(self) -> int:
        """Return how many bytes more it can hold."""
        return shutil.disk_usage(self._folder).free

    def close(self) -> None:
        """Wait until everything is on the card."""
        os.sync()


class FatInImage:
    """A FAT file system at an offset of an image file or device, through mtools."""

    def __init__(self, image: Path, offset: int) -> None:
        if shutil.which("mcopy") is None:
            raise CardError(
                "mcopy is missing: install the package mtools, or mount the card and name its folder"
            )
        if "@@" in str(image):
            raise CardError(
                f"{image}: mtools cannot open a path with @@ in it; rename the file or the folder"
            )
        _require_writable(image)
        self._image = image
        self._drive = ("-i", f"{image}@@{offset}")

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, None if there is no such file."""
        done = self._run("mtype", f"::{name}", check=False)
        if done.returncode == 0:
            return done.stdout
        if b"not found" in done.stderr:
            return None
        raise CardError(f"{self._image}: {name} cannot be read: {_last_line(done.stderr)}")

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a file, and the one folder that it may lie in."""
        folder, _, _ = name.rpartition("/")
        if folder and self._run("mdir", f"::{folder}", check=False).returncode:
            self._run("mmd", f"::{folder}")
        self._run("mcopy", "-o", "-", f"::{name}", given=content)

    def free_bytes(self) -> int:
        """Return how many bytes more it can hold."""
        listing = self._run("mdir", "::").stdout.decode(errors="replace")
        found = re.search(r"([\d ]+) bytes free", listing)
        if found is None:
            raise CardError(
                f"{self._image}: mdir does not tell how much is free; is mtools installed as a whole?"
            )
        return int(found[1].replace(" ", ""))

    def close(self) -> None:
        """Wait until everything is on the device."""
        with self._image.open("rb+") as file:
            os.fsync(file.fileno())

    def _run(
        self, program: str, *arguments: str, given: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        # The check that is skipped is of a geometry that nobody has given a card since 1990. It must not ask.
        environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C"}
        done = subprocess.run(  # noqa: S603 - mtools, on an image that was named to us
            (program, *self._drive, *arguments),
            input=given,
            capture_output=True,
            env=environment,
            check=False,
        )
        if check and done.returncode:
            raise CardError(f"{self._image}: {program} failed: {_last_line(done.stderr)}")
        return done


def _require_writable(image: Path) -> None:
    """Raise CardError where writing would fail: mtools would only say "Bad target", and after the checks."""
    try:
        image.open("rb+").close()
    except OSError as error:
        raise CardError(f"{image}: cannot be written: {error.strerror}; {_advice(error)}") from error


def _advice(error: OSError) -> str:
    if error.errno == errno.EROFS:
        return "is the card's lock on, or is it mounted for reading only?"
    return "run it as whoever owns the image or has mounted the card, or with sudo"


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it does not say why"


# ---- Where in an image it lies -----------------------------------------------------------------------------


def find_fat(image: Path) -> int:
    """Return the offset in bytes of the first FAT file system of an image or device. Raises CardError.

    MBR and GPT are read (UEFI specification, section 5), and a FAT that begins at the very beginning. All
    that they tell of must be there: what was cut short would fail at the board only.
    """
    try:
        with image.open("rb") as file:
            head = file.read(2 * SECTOR)
            _refuse_compressed(image, head)
            places = [(0, 0)] if _is_fat(head[:SECTOR]) else list(_partitions(file.fileno(), head))
            _refuse_cut(image, file.fileno(), max((end for _, end in places), default=0))
            for offset, _ in places:
                boot_sector = os.pread(file.fileno(), SECTOR, offset)
                if _is_fat(boot_sector):
                    _refuse_cut(image, file.fileno(), offset + _fat_bytes(boot_sector))
                    return offset
    except OSError as error:
        advice = "; a device needs the rights of its group, mostly disk, or sudo"
        raise CardError(f"{image}: {error.strerror}{advice}") from error
    raise CardError(f"{image}: there is no FAT partition in it; is it an image of Raspberry Pi OS?")


def _partitions(file: int, head: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each partition begins and ends, in bytes, in the order of the table."""
    if head[510:512] != b"\x55\xaa":
        return
    for entry in (head[446 + 16 * number :][:16] for number in range(4)):
        kind, (start, count) = entry[4], struct.unpack("<II", entry[8:16])
        if kind == _GPT_PROTECTIVE:
            yield from _gpt_partitions(file, head[SECTOR:])
        elif kind:
            yield start * SECTOR, (start + count) * SECTOR


def _gpt_partitions(file: int, header: bytes) -> Iterator[tuple[int, int]]:
    if header[:8] != b"EFI PART":
        return
    first, count, size = struct.unpack("<QII", header[72:88])
    for number in range(min(count, 128)):
        entry = os.pread(file, size, first * SECTOR + number * size)
        if len(entry) >= 48 and any(entry[:16]):  # without a type it is empty
            begin, last = struct.unpack("<QQ", entry[32:48])
            yield begin * SECTOR, (last + 1) * SECTOR


def _is_fat(boot_sector: bytes) -> bool:
    """Tell a FAT12, 16 or 32 boot sector by its jump, signature and type (ECMA-107; Microsoft, FAT32)."""
    return (
        len(boot_sector) == SECTOR
        and boot_sector[0] in {0xEB, 0xE9}
        and boot_sector[510:] == b"\x55\xaa"
        and (boot_sector[54:57] == b"FAT" or boot_sector[82:87] == b"FAT32")
    )


def _fat_bytes(boot_sector: bytes) -> int:
    """Return how large the file system is: by the small count of sectors, or the large one if that is 0."""
    size, small, large = struct.unpack("<H6xH11xI", boot_sector[11:36])
    return int(size * (small or large))


def _refuse_cut(image: Path, file: int, end: int) -> None:
    # Of a device, too, where `stat` tells no size.
    size = os.lseek(file, 0, os.SEEK_END)
    if size < end:
        advice = "unpack it anew" if image.is_file() else "write it anew, or take a larger card"
        raise CardError(f"{image}: is cut short: {size} of {end} bytes; {advice}")


def _refuse_compressed(image: Path, head: bytes) -> None:
    for magic, command in _COMPRESSED.items():
        if head.startswith(magic):
            raise CardError(f"{image}: is compressed; unpack it first: {command} {image}")


def _refuse_mounted(device: Path) -> None:
    """Two writers would destroy the file system; the system writes, too, while it is mounted."""
    real = str(device.resolve())
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        source, folder, *_ = line.split()
        if re.fullmatch(re.escape(real) + r"(p?\d+)?", source):
            place = folder.replace("\\040", " ")
            raise CardError(
                f"{device}: {source} is mounted; name the folder {place} instead, or unmount it first"
            )
