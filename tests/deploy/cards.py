"""A stock card as Raspberry Pi OS comes: in a folder and in disk images, and prepare-card at work on it."""

import io
import struct
import subprocess
import uuid
import zlib
from collections.abc import Collection
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Final
from unittest.mock import patch

from click.testing import CliRunner

from gate.cli import main as gate
from tests.brokers import require

ROOT: Final = Path(__file__).parents[2]
PREPARE_CARD: Final = ROOT / "deploy" / "card" / "prepare-card"
START: Final = 16384  # sectors: 8 MiB, as on the real image
FAT_KIB: Final = 64 * 1024
SECRET: Final = "k7Hn2-Zq8_vT4yXw1sLd9pRb3mFc6jGa"
STOCK: Final = {
    "config.txt": b"# For more options see\r\ndtparam=audio=on\r\ncamera_auto_detect=1\r\n\r\n"
    b"[cm4]\r\notg_mode=1\r\n\r\n[all]\r\n",
    "cmdline.txt": b"console=serial0,115200 console=tty1 root=PARTUUID=4a7d-02 rootwait resize\n",
    "user-data": b"#cloud-config\n\n# This is the user-data configuration file.\n#hostname: raspberrypi\n",
    "meta-data": b"dsmode: local\ninstance_id: rpios-image\n",
    "network-config": b"#network:\n#  version: 2\n",
}
SOURCE: Final = """\
# Where updates are.
Types: deb
URIs: https://packages.invalid/health-gate
Suites: ./
Signed-By: /usr/share/keyrings/health-gate.gpg
"""
KEY: Final = b"\x98\x33\x04 stands in for a public key"
HARDWARE: Final = """\
[camera]
source = "picamera2"

[pins]
relay = 22
passage = 27
green = 24
buzzer = 18
"""


def stock_folder(folder: Path, without: Collection[str] = ()) -> Path:
    """Make a folder as the mounted boot partition of a new card, without some of its files."""
    folder.mkdir(parents=True)
    for name in STOCK.keys() - set(without):
        (folder / name).write_bytes(STOCK[name])
    return folder


def stock_image(path: Path, table: str = "mbr", fat: int = 32) -> Path:
    """Make a disk image with a boot and a root partition; `table` is mbr, gpt or none (the FAT alone)."""
    program = require("mkfs.vfat", "dosfstools")
    start = 0 if table == "none" else START
    with path.open("wb") as file:
        file.truncate(start * 512 + FAT_KIB * 1024 + 2**20)
        file.write(_tables(table))
    small_clusters = ["-s", "1"] if fat == 32 else []  # for a FAT32 of this size
    made = ["-F", str(fat), "-n", "BOOTFS", *small_clusters, "--offset", str(start), str(path), str(FAT_KIB)]
    subprocess.run([program, *made], check=True, capture_output=True)
    for name, content in STOCK.items():
        mtools("mcopy", path, "-", f"::{name}", table=table, given=content)
    return path


def mtools(program: str, image: Path, *arguments: str, table: str = "mbr", given: bytes = b"") -> bytes:
    """Run one of the mtools on the image's boot partition and return what it prints."""
    offset = 0 if table == "none" else START * 512
    line = [require(program, "mtools"), "-i", f"{image}@@{offset}", *arguments]
    return subprocess.run(line, check=True, capture_output=True, input=given).stdout


def read(image: Path, name: str, table: str = "mbr") -> bytes:
    return mtools("mtype", image, f"::{name}", table=table)


def _tables(table: str) -> bytes:
    end = START + 2 * FAT_KIB
    if table == "none":
        return b""
    if table == "mbr":
        return _mbr((0x0C, START, end - START), (0x83, end, 2048))
    # An empty entry before the used one, as after a partition was deleted.
    kind = uuid.UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7").bytes_le
    entries = bytes(128) + kind + uuid.uuid4().bytes_le + struct.pack("<QQ", START, end - 1) + bytes(80)
    header = struct.pack("<8sIII", b"EFI PART", 0x10000, 92, 0) + bytes(4) + struct.pack("<QQQQ", 1, 9, 34, 9)
    header += uuid.uuid4().bytes_le + struct.pack("<QIII", 2, 128, 128, zlib.crc32(entries))
    return _mbr((0xEE, 1, 0xFFFF)) + header.ljust(512, b"\0") + entries


def _mbr(*partitions: tuple[int, int, int]) -> bytes:
    entries = b"".join(struct.pack("<8xII", start, size) for _, start, size in partitions)
    made = bytearray(entries.ljust(64, b"\0"))
    for number, (kind, _, _) in enumerate(partitions):
        made[16 * number + 4] = kind
    return bytes(446) + bytes(made) + b"\x55\xaa"


def package(folder: Path, name: str, version: str = "0.1.0", size: int = 1000) -> Path:
    """Build a package whose one file has so many bytes, and return it."""
    builder = require("dpkg-deb", "dpkg")
    file = folder / f"{name}_{version}_all.deb"
    with TemporaryDirectory() as tree:
        (Path(tree) / "DEBIAN").mkdir(mode=0o755)
        (Path(tree) / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
            "Maintainer: Nobody <nobody@example.org>\nDescription: stands in\n"
        )
        (Path(tree) / "content").write_bytes(bytes(size))
        folder.mkdir(exist_ok=True)
        words = [builder, "--root-owner-group", "-Znone", "--build", tree, str(file)]
        subprocess.run(words, check=True, capture_output=True)
    return file


def public_key(folder: Path) -> Path:
    """Make the key of a counter, counter.pem, and return the file with its public half."""
    words = ["pass", "key", "--new", str(folder / "counter.pem"), "--issuer", "county-hall"]
    made = CliRunner().invoke(gate, [*words, "--issuer-name", "County hall"], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    (folder / "counter.toml").write_text(made.output)
    return folder / "counter.toml"


class Desk:
    """The files of whoever prepares a card, and the command with all that it must be given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        key = folder / "ca.key"
        made = (
            f"req -x509 -newkey ed25519 -nodes -keyout {key} -out {folder}/ca.pem -subj /CN=centre -days 30"
        )
        subprocess.run([require("openssl", "openssl"), *made.split()], check=True, capture_output=True)
        (folder / "token").write_text(f"{SECRET}\n")
        (folder / "hardware.toml").write_text(HARDWARE)
        (folder / "ops.pub").write_text("# who may log in\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA ops@desk\n")
        (folder / "wifi").write_text("correct horse\n")
        package(folder / "debs", "health-gate")
        package(folder / "debs", "health-gate-central")
        (folder / "health-gate.sources").write_text(SOURCE)
        (folder / "health-gate.gpg").write_bytes(KEY)
        self.options: dict[str, str | None] = {
            "--site": "county-hall",
            "--centre": "https://centre.example:8884",
            "--ca": f"{folder}/ca.pem",
            "--token-file": f"{folder}/token",
            "--broker": "broker.example",
            "--hardware": f"{folder}/hardware.toml",
            "--debs": f"{folder}/debs",
            "--ssh-key": f"{folder}/ops.pub",
        }

    def prepare(
        self, target: Path, *more: str, given: str = "", **changed: str | None
    ) -> subprocess.CompletedProcess[str]:
        """Run prepare-card; `changed` are options by name, None leaves one out; `given` is standard input."""
        words = self.words(target, *more, **changed)
        said, complained = io.StringIO(), io.StringIO()
        with redirect_stdout(said), redirect_stderr(complained), patch("sys.stdin", io.StringIO(given)):
            status = program().main(words)
        return subprocess.CompletedProcess(words, status, said.getvalue(), complained.getvalue())

    def words(self, target: Path, *more: str, **changed: str | None) -> list[str]:
        """Return the arguments of prepare-card."""
        options = self.options | {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
        named = [word for name, value in options.items() if value is not None for word in (name, value)]
        return [str(target), *named, *more]


@cache
def program() -> ModuleType:
    """Load prepare-card once: a process for each run would load the gate each time."""
    loader = SourceFileLoader("prepare_card", str(PREPARE_CARD))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module
