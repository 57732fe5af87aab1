"""The machine's disk, kernel and initial RAM disk, built once from Debian's archive and PyPI, then kept.

Kept below ${XDG_CACHE_HOME:-~/.cache}/health-gate/vm, under a name that changes with this file, which holds
the lists of packages, and with the scripts beside it. The kernel is the one that was current then; --rebuild
takes the present one. The project is not in it: that is installed when the machine starts.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RELEASE: Final = "trixie"
PYTHON: Final = "3.13"  # of that release
PACKAGES: Final = (
    # the system, and what is looked at with
    "systemd-sysv,udev,dbus,kmod,linux-image-amd64,procps,i2c-tools,mosquitto",
    # what the gate's package depends on
    "python3,python3-cbor2,python3-click,python3-cryptography,python3-gpiozero,python3-jsonschema,python3-numpy",
    "python3-paho-mqtt,python3-prometheus-client,python3-pydantic,python3-rich,python3-sdnotify,python3-smbus2",
    "python3-zxing-cpp,python3-nacl,adduser",
    # what draws the phones of the visitors
    "python3-segno",
)
BUILDER_PACKAGES: Final = (
    "linux-headers-amd64,gcc,make,xz-utils,kmod,swig,python3-dev,python3-pip,python3-setuptools,python3-wheel",
)
# Not in Debian 13 as a Pi has them: gpiozero 2 and lgpio come from the Pi's own archive. Debian's OpenCV
# brings 350 packages. Below 0.2.2 PyPI's lgpio for Python 3.13 is an empty file.
WHEELS: Final = ("gpiozero>=2", "opencv-python-headless>=4.10")
SOURCES: Final = ("lgpio>=0.2.2",)
DISK_SIZE: Final = "2500M"
# What ext4 needs before the root is there, in the order in which they must be loaded.
INITRD_MODULES: Final = ("virtio_blk", "crc32c_generic", "crc32c-intel", "crc16", "mbcache", "jbd2", "ext4")

HERE: Final = Path(__file__).parent
BUILT_BY: Final = (Path(__file__), HERE / "build-drivers", HERE / "initrd-init")

Say = Callable[[str], None]

FILES: Final = {
    "etc/hostname": "gate-bench\n",
    "etc/fstab": "share /mnt/share 9p trans=virtio,version=9p2000.L,msize=131072 0 0\n",
    # Three watchdogs would compete; i6300esb is the one that the machine is given for this.
    "etc/modprobe.d/bench.conf": "blacklist iTCO_wdt\nblacklist softdog\n",
    "etc/systemd/journald.conf.d/bench.conf": "[Journal]\nStorage=persistent\nRateLimitBurst=0\n",
    # Whatever the share says is what the machine does: the image knows nothing of it.
    "etc/systemd/system/bench.service": """\
[Unit]
Description=All that stands around the gate
RequiresMountsFor=/mnt/share
After=systemd-udevd.service mosquitto.service
Before=gate.service
[Service]
Type=notify
ExecStart=/usr/bin/python3 -B /mnt/share/bench/main.py
TimeoutStartSec=300
StandardOutput=append:/mnt/share/guest.log
StandardError=append:/mnt/share/guest.log
""",
    "etc/mosquitto/conf.d/bench.conf": "listener 1883 127.0.0.1\nallow_anonymous true\n",
}
MASKED: Final = (
    "serial-getty@ttyS0.service",
    "getty@tty1.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
)
WANTED: Final = ("etc/systemd/system/bench.service", "usr/lib/systemd/system/mosquitto.service")


@dataclass(frozen=True, slots=True)
class Image:
    """What QEMU starts; `disk` is copied for each run and never written to."""

    kernel: Path
    initrd: Path
    disk: Path


class BuildError(Exception):
    """The image could not be built; the text says why and where the log is."""


def cached(say: Say, *, rebuild: bool = False) -> Image:
    """Return the image, built if it is not there. Needs root, as mmdebstrap does; raises BuildError."""
    folder = cache_folder() / key()
    if rebuild:
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=folder.parent) as scratch:
            built = _Build(Path(scratch), say).run()
            for part in built.iterdir():  # the kernel is readable by root alone
                part.chmod(0o644)
            built.rename(folder)
    return Image(folder / "vmlinuz", folder / "initrd", folder / "disk")


def cache_folder() -> Path:
    """Return where images are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "health-gate" / "vm"


def key() -> str:
    """Return the name of the image that these files build."""
    digest = hashlib.sha256()
    for file in BUILT_BY:
        digest.update(file.read_bytes())
    return f"{RELEASE}-{digest.hexdigest()[:16]}"


class _Build:
    """One build in a folder of its own, step after step."""

    def __init__(self, scratch: Path, say: Say) -> None:
        self._scratch = scratch
        self._say = say
        self._log = scratch.parent / "build.log"
        self._log.write_bytes(b"")
        self._root = scratch / "root"
        self._out = scratch / "out"

    def run(self) -> Path:
        """Return the folder with the finished image."""
        self._out.mkdir()
        self._download()
        self._say("building the drivers of simulated hardware for Debian's kernel")
        self._build_drivers()
        self._say("installing Debian with what the gate depends on")
        self._debootstrap(PACKAGES, self._root, "--format=directory")
        self._complete_root()
        self._say("making the disk")
        self._make_initrd()
        self._command("mke2fs", "-q", "-t", "ext4", "-d", self._root, self._out / "disk", DISK_SIZE)
        return self._out

    def _download(self) -> None:
        pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps")
        target = ("--only-binary=:all:", f"--python-version={PYTHON}", "--platform=manylinux_2_28_x86_64")
        self._command(*pip, *target, "-d", self._scratch / "wheels", *WHEELS)
        # PYPI=1: its source distribution asks for a Debian package otherwise.
        self._command(*pip, "--no-binary=:all:", "-d", self._scratch / "lgpio", *SOURCES, PYPI="1")

    def _build_drivers(self) -> None:
        hooks = (
            f"copy-in {self._scratch / 'lgpio'} {HERE / 'build-drivers'} /srv",
            'chroot "$1" /srv/build-drivers',
            f"copy-out /srv/drivers /srv/wheels /srv/kernel {self._scratch}",
        )
        self._debootstrap(
            BUILDER_PACKAGES, "/dev/null", "--format=null", *(f"--customize-hook={h}" for h in hooks)
        )

    def _debootstrap(self, packages: Iterable[str], target: object, *options: str) -> None:
        slim = ("doc", "man", "locale", "info")
        leave = (f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in slim)
        include = f"--include={','.join(packages)}"
        self._command(
            "mmdebstrap", "--variant=minbase", include, *leave, *options, RELEASE, target, *_archives()
        )

    def _complete_root(self) -> None:
        kernel = (self._scratch / "kernel").read_text().strip()
        modules = self._root / "lib/modules" / kernel
        if not modules.is_dir():
            raise BuildError(
                f"the drivers are built for {kernel}, but another kernel is installed: try again"
            )
        shutil.copytree(self._scratch / "drivers", modules / "updates")
        self._command("depmod", "-b", self._root, kernel)
        for wheel in (self._scratch / "wheels").glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:  # before dist-packages on the path, as pip would put them
                archive.extractall(self._root / f"usr/local/lib/python{PYTHON}/dist-packages")
        for name, text in FILES.items():
            file = self._root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        units = self._root / "etc/systemd/system"
        for unit in MASKED:
            _link("/dev/null", units / unit)
        for unit in WANTED:
            _link(f"/{unit}", units / "multi-user.target.wants" / Path(unit).name)
        (self._root / "mnt/share").mkdir()

    def _make_initrd(self) -> None:
        tree = self._scratch / "initrd"
        for name in ("bin", "dev", "root", "modules"):
            (tree / name).mkdir(parents=True)
        shutil.copy2("/bin/busybox", tree / "bin/busybox")
        shutil.copy2(HERE / "initrd-init", tree / "init")
        (tree / "init").chmod(0o755)
        for place, name in enumerate(INITRD_MODULES):
            (found,) = (self._root / "lib/modules").glob(f"*/kernel/**/{name}.ko.xz")
            unpacked = subprocess.run(["xz", "-dc", found], check=True, capture_output=True).stdout
            (tree / f"modules/{place}-{name}.ko").write_bytes(unpacked)
        (vmlinuz,) = (self._root / "boot").glob("vmlinuz-*")
        shutil.copy(vmlinuz, self._out / "vmlinuz")
        names = "\n".join(str(path.relative_to(tree)) for path in tree.rglob("*"))
        cpio = ("cpio", "-o", "-H", "newc", "--quiet")
        packed = subprocess.run(cpio, input=names.encode(), cwd=tree, check=True, capture_output=True).stdout
        (self._out / "initrd").write_bytes(packed)

    def _command(self, *words: object, **environment: str) -> None:
        with self._log.open("ab") as log:
            log.write(f"+ {' '.join(map(str, words))}\n".encode())
            log.flush()
            command = ["nice", *map(str, words)]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **environment},
                check=False,
            )  # fmt: skip
        if done.returncode:
            last = self._log.read_text(errors="replace").splitlines()[-12:]
            raise BuildError("\n".join([f"{words[0]} failed; see {self._log}", *last]))


def _link(target: str, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def _archives() -> list[str]:
    """Return where this system gets Debian from, with our release in the place of its own.

    Nothing where it is no Debian: then mmdebstrap takes the archive that it knows.
    """
    os_release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    own = os_release.get("VERSION_CODENAME", "").strip('"')
    of_debian = ("Origin: Debian", "Created-By: Packages")
    ask = ("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", *of_debian)
    listed = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
    places = {tuple(line.split()) for line in listed.splitlines() if own and own in line}
    return sorted(f"deb {uri} {suite.replace(own, RELEASE)} main" for uri, suite in places)
