"""Debian 13 as a folder: a base tree that is made once and kept, layers of packages, overlays to work in.

Nothing here changes the machine: trees and layers lie in ${XDG_CACHE_HOME:-~/.cache}/health-gate/, what a
test writes lies in its own folder, and mounts live in a namespace that ends with the command they are for.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.brokers import require
from tests.kept import used

RELEASE = "trixie"
# What a booted system needs beyond the essential packages. The key of the cache is made of this list.
BASE_PACKAGES = ("ca-certificates", "dbus", "systemd", "systemd-sysv", "udev")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEPT = f"*-{'[0-9a-f]' * 16}*"  # trees and layers of any name, and what interrupted makers have left
APT_GET = "apt-get -qq -y -o Dpkg::Use-Pty=0 -o Acquire::Retries=3"

# Mounts an overlay in a namespace of its own and runs the rest of the command line there. It has the pid
# namespace of its own as well: with the first process everything ends that was started in it.
MOUNT = """
set -eu
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
shift 2
exec "$@"
"""
# What a chroot needs to run a maintainer script or apt.
CHROOT = """
set -eu
root=$1 binds=$2
shift 2
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
for pair in $binds; do
    mkdir -p "$root/${pair#*:}"
    mount --bind "${pair%:*}" "$root/${pair#*:}"
done
# Name service as here, without changing the tree.
for file in /etc/resolv.conf /etc/hosts; do
    [ ! -e "$root$file" ] || mount --bind -o ro "$(readlink -f "$file")" "$root$file"
done
exec chroot "$root" "$@"
"""


def give_up(reason: str) -> None:
    """Skip the test with the reason; fail where nothing may be skipped."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def require_root() -> None:
    """Skip, or fail in CI, where overlays cannot be mounted."""
    if os.geteuid() != 0:
        give_up("root is needed to mount an overlay and to boot a container: run this with sudo")
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False).returncode:
        give_up("this root may not mount: run this outside an unprivileged container")


def cache() -> Path:
    """Return the folder of what is kept; it may be deleted at any time when no test runs."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "health-gate"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def trixie_root() -> Path:
    """Return a Debian 13 tree with systemd and apt, made on the first call. Nobody may write into it.

    Its apt asks the mirror that this machine's own apt asks.
    """
    require_root()
    return _kept(RELEASE, _digest(RELEASE, *BASE_PACKAGES, *_mirror()), _bootstrap)


def layer(name: str, below: Sequence[Path], install: Sequence[str | Path]) -> Path:
    """Return a layer that holds what installing packages, without what they recommend, has changed.

    `below` are the trees under it, topmost first; `install` are names and .deb files. Its key is made of
    names, of the files' bytes and of what is below it.
    """
    parts = [part if isinstance(part, str) else _digest(part.read_bytes()) for part in install]
    key = _digest(*(path.name for path in below), *parts)
    return _kept(name, key, lambda upper: _install(below, install, upper))


@dataclass
class Overlay:
    """A writable tree: writing goes into `folder`, the trees below it, topmost first, stay as they are."""

    folder: Path
    below: Sequence[Path]

    def __post_init__(self) -> None:
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def root(self) -> Path:
        """The mount point; it is empty outside the commands that `mounted` starts."""
        return self.folder / "root"

    def mounted(self, *command: str) -> list[str]:
        """Return the command line that runs a command beside the mounted tree (not in it)."""
        lower = ":".join(map(str, self.below))
        inner = ["sh", "-c", MOUNT, "mount", lower, str(self.folder), *command]
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", *inner]

    def run(
        self,
        command: str,
        *,
        check: bool = True,
        binds: dict[Path, str] | None = None,
        timeout: float = 300,
        env: dict[str, str] | None = None,
        stdin: bytes = b"",
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the tree as root, with the network of this machine and no systemd.

        `binds` are folders of this machine and where they appear (not as below /tmp or /run, which are new in
        each call); a failure raises AssertionError with what was printed, unless `check` is false.
        """
        pairs = " ".join(f"{outside}:{inside}" for outside, inside in (binds or {}).items())
        environment = [f"PATH={PATH}", "LANG=C.UTF-8", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"]
        environment += [f"{name}={value}" for name, value in (env or {}).items()]
        inside = ["env", "-i", *environment, "sh", "-c", command]
        line = self.mounted("sh", "-c", CHROOT, "chroot", str(self.root), pairs, *inside)
        ended = subprocess.run(line, check=False, capture_output=True, input=stdin, timeout=timeout)
        said = [stream.decode(errors="replace") for stream in (ended.stdout, ended.stderr)]
        done = subprocess.CompletedProcess(command, ended.returncode, *said)
        if check and done.returncode:
            raise AssertionError(f"{command!r} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done


def _mirror() -> tuple[str, ...]:
    """Return where this machine's apt takes Debian from, or nothing: the tools know Debian's own address."""
    asked = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]
    codename = subprocess.run(
        ["sh", "-c", ". /etc/os-release; echo $ID $VERSION_CODENAME"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    if len(codename) != 2 or codename[0] not in {"debian", "raspbian"}:
        return ()
    lines = subprocess.run(asked, check=False, capture_output=True, text=True).stdout.splitlines()
    found = [
        uri
        for uri, release, component in map(str.split, lines)
        if (release, component) == (codename[1], "main")
    ]
    return tuple(uri.rstrip("/") for uri in found if "raspbian" not in uri)[:1]


def _bootstrap(tree: Path) -> None:
    packages = ",".join(BASE_PACKAGES)
    mirror = list(_mirror())
    if shutil.which("mmdebstrap"):
        maker = [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={packages}",
            RELEASE,
            str(tree),
            *mirror,
        ]
    else:
        maker = [require("debootstrap", "mmdebstrap"), "--variant=minbase", f"--include={packages}"]
        maker += [RELEASE, str(tree), *mirror]
    done = subprocess.run(maker, check=False, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(
            f"{maker[0]} could not make {RELEASE}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
    # Each system that boots from it is another one.
    (tree / "etc/machine-id").write_text("", "utf-8")


def _install(below: Sequence[Path], install: Sequence[str | Path], upper: Path) -> None:
    """Install packages on an overlay and keep what that has written."""
    work = upper.with_suffix(".work")
    shutil.rmtree(work, ignore_errors=True)
    overlay = Overlay(work, below)
    incoming, archives = work / "incoming", cache() / "apt"
    incoming.mkdir()
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    names = [
        part if isinstance(part, str) else f"/mnt/{Path(shutil.copy(part, incoming)).name}"
        for part in install
    ]
    overlay.run(
        # Nothing starts while it is installed.
        "printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d\n"
        f"{APT_GET} update && {APT_GET} --no-install-recommends install {' '.join(names)} || exit\n"
        "rm -f /usr/sbin/policy-rc.d /etc/machine-id; : >/etc/machine-id",
        binds={incoming: "/mnt", archives: "/var/cache/apt/archives"},
        timeout=900,
    )
    (work / "upper").rename(upper)
    shutil.rmtree(work)


def _kept(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder `name`-`key` of the cache, made if it is not there.

    One maker at a time; what an interrupted maker leaves is never taken for whole.
    """
    with (cache() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = cache() / f"{name}-{key}"
        if not path.exists():
            part = path.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            make(part)
            part.rename(path)
        used(path, KEPT)
    return path


def _digest(*parts: str | bytes) -> str:
    lines = [part.encode() if isinstance(part, str) else part for part in parts]
    return hashlib.sha256(b"\n".join(lines)).hexdigest()[:16]
