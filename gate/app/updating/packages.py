"""apt and dpkg, for the packages of this project alone, from its own signed source alone.

apt takes an altered index for a passing trouble: it warns, keeps the old one and ends with status 0. So the
index is fetched anew into an empty folder each time, and what apt says of it is read line by line: what is
not plainly the network's doing counts as tampering.
"""

import hashlib
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from gate.app.updating.programs import run
from gate.durable import flush_names

log = logging.getLogger(__name__)

NAMES: Final = ("health-gate", "health-gate-central")
MAIN: Final = NAMES[0]
_COMMAND_S: Final = 900
_LOCK_S: Final = 120
"""How long apt waits for another one that is at work, such as the security updates of the system."""

_ROOM_MB: Final = 100
"""Free before anything is fetched: some 10 MB for two versions, packed and unpacked, and the code that is
kept, besides what a version newly needs; and more is left than the 50 MB below which the doctor says failed.
"""

_INTO: Final = Path("/usr")
"""Where packages are unpacked."""

_FULL: Final = "No space left on device"
_PASSING: Final = re.compile(
    r"resolv|could not connect|unable to connect|connection (failed|refused|timed out|reset|closed)"
    r"|cannot initiate the connection|network is unreachable|no route to host|timed? ?out"
    rf"|error reading from server|  5\d\d  |is not valid yet|{_FULL}",
    re.IGNORECASE,
)
_LOCKED: Final = re.compile(r"could not get lock.*|unable to (?:acquire|lock).*", re.IGNORECASE)
_SUMMARY: Final = re.compile(
    r"some index files failed to download|unable to fetch some archives|failed to fetch some archives",
    re.IGNORECASE,
)
_PROBLEM: Final = re.compile(r"^(W|E): ?(.*)", re.MULTILINE)


class PackageError(Exception):
    """This version cannot be installed from this source, in a sentence. Trying again would not help."""


class UnreachableError(PackageError):
    """The source cannot be reached now; later it may be possible."""


class OccupiedError(Exception):
    """Somebody else is installing, and has not come to an end for `_LOCK_S`."""


@dataclass(frozen=True, slots=True)
class Installed:
    """One of our packages as dpkg knows it; `sound`: unpacked and configured, nothing half done."""

    version: str
    sound: bool


class Packages:
    """Our packages on this machine.

    `cache`: a folder that only root writes. `source`: the list with our source, and nothing else.
    `card`: where the packages of the first installation may lie.
    """

    def __init__(self, cache: Path, source: Path, card: Path) -> None:
        self._cache = cache
        self._debs = cache / "debs"
        self._part = cache / "part"
        self._lists = cache / "lists"
        self._source = source
        self._card = card

    def installed(self) -> dict[str, Installed]:
        """Return those of our packages that are there, were it in part."""
        form = "${Package} ${Version} ${db:Status-Abbrev}|\n"
        done = _run(["dpkg-query", "--show", f"--showformat={form}", *NAMES])
        found = {}
        for line in done.stdout.splitlines():
            name, _, rest = line.partition(" ")
            version, _, state = rest.partition(" ")
            # Neither not installed nor removed but for its configuration.
            if version and state[1:2] not in {"n", "c"}:
                found[name] = Installed(version, sound=state[1:] in {"i|", "i |"})
        return found

    def await_free(self) -> None:
        """Wait until nobody else installs. Raises OccupiedError."""
        # What else it finds, such as packages half installed, is to be mended by whoever waits.
        _unless_occupied(_run([*self._apt("apt-get"), "check"]))

    def settle(self) -> str:
        """Configure what a power cut has left unpacked; return what dpkg says where it cannot, else ""."""
        done = _run(["dpkg", "--force-confdef", "--force-confold", "--configure", "--pending"])
        return "" if done.returncode == 0 else _why(done)

    def need_room(self) -> None:
        """Raise OSError where there is too little room for another version."""
        for place in (self._cache, _INTO):
            if shutil.disk_usage(place).free < _ROOM_MB * 1_000_000:
                # Not how much is free: each other sentence becomes a record of its own.
                raise OSError(f"less than {_ROOM_MB} MB are free at {place}")

    def tidy(self) -> None:
        """Delete what an attempt needs and nobody after it, such as what apt has fetched in part."""
        for folder in (self._lists, self._part):
            shutil.rmtree(folder, ignore_errors=True)
        for part in self._debs.glob("*.part"):
            part.unlink()

    def refresh(self) -> None:
        """Fetch the signed index.

        Raises UnreachableError, OSError where there is no room for it, and PackageError for an index that is
        not to be believed.
        """
        if not self._source.is_file():
            raise PackageError(f"there is no {self._source}, which names the signed repository")
        shutil.rmtree(self._lists, ignore_errors=True)
        self._lists.mkdir(parents=True, exist_ok=True)
        _check(_run([*self._apt("apt-get"), "update", "--error-on=any"]))

    def fetch(self, name: str, version: str) -> Path:
        """Download one package, checked against the signed index, and return where it is kept.

        Raises as `refresh`.
        """
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir(parents=True, exist_ok=True)
        # apt goes to the network as this user, where it is root's to choose.
        with suppress(LookupError, PermissionError):
            shutil.chown(self._part, "_apt")
        _check(_run([*self._apt("apt-get"), "download", f"{name}={version}"], cwd=self._part))
        found = [path for path in self._part.iterdir() if is_package(path, name, version)]
        if not found:
            raise PackageError(f"what came for {name} {version} is no such package")
        place = self._keep(found[0], name, version)
        shutil.rmtree(self._part, ignore_errors=True)
        # What apt has checked lay where its unprivileged helper can write: here lie the bytes that count.
        if hashlib.sha256(place.read_bytes()).hexdigest() not in self._signed_hashes(name, version):
            place.unlink()
            raise PackageError(f"what came for {name} {version} is not what the index says")
        return place

    def _signed_hashes(self, name: str, version: str) -> list[str]:
        shown = _run([*self._apt("apt-cache"), "show", f"{name}={version}"]).stdout
        return re.findall(r"^SHA256: ([0-9a-f]{64})$", shown, re.MULTILINE)

    def keep_running(self, name: str, version: str) -> Path:
        """Return the package of the version that runs, from wherever it can be had. Raises as `refresh`."""
        kept = self._place(name, version)
        if is_package(kept, name, version):
            return kept
        for path in sorted(self._card.glob(f"{name}_*.deb")) if self._card.is_dir() else ():
            if is_package(path, name, version):
                return self._keep(path, name, version)
        try:
            return self.fetch(name, version)
        except UnreachableError:
            raise
        except PackageError as error:
            raise PackageError(
                f"there is no way back: {name} {version}, which runs, cannot be had ({error})"
            ) from error

    def kept(self, versions: Mapping[str, str]) -> list[Path]:
        """Return the files that are kept of these packages. Raises PackageError when one is gone."""
        paths = [self._place(name, version) for name, version in versions.items()]
        for (name, version), path in zip(versions.items(), paths, strict=True):
            if not is_package(path, name, version):
                raise PackageError(f"{path} is gone or damaged")
        return paths

    def forget_but(self, versions: Iterable[str]) -> None:
        """Delete what is kept of other versions."""
        wanted = tuple(f"_{version}_all.deb" for version in versions)
        for path in self._debs.glob("*.deb"):
            if not path.name.endswith(wanted):
                path.unlink()

    def rehearse(self, paths: Sequence[Path]) -> None:
        """Let apt say whether it could install these, without touching anything. Raises PackageError."""
        _check(_run([*self._apt("apt-get"), *_INSTALL, "--simulate", *map(str, paths)]))

    def install(self, paths: Sequence[Path]) -> str:
        """Install these packages and what they need of our source; return why that failed, else "".

        Raises OccupiedError, which says nothing of the packages.
        """
        done = _run([*self._apt("apt-get"), *_INSTALL, *map(str, paths)])
        _unless_occupied(done)
        return "" if done.returncode == 0 else _why(done)

    def put_back(self, paths: Sequence[Path]) -> str:
        """Install packages as they were, whatever state is there now; return why that failed, else ""."""
        force = ("--force-downgrade", "--force-confdef", "--force-confold")
        done = _run(["dpkg", *force, "--install", *map(str, paths)])
        return "" if done.returncode == 0 else _why(done)

    def hold(self, names: Iterable[str], *, held: bool) -> bool:
        """Keep apt from upgrading these packages by itself, or let it again; return whether it does."""
        verb = "hold" if held else "unhold"
        done = _run(["apt-mark", verb, *names])
        if done.returncode != 0:
            log.error("apt-mark %s: %s", verb, _why(done))
        return done.returncode == 0

    def _apt(self, program: str) -> list[str]:
        options = {
            "Dir::Etc::SourceList": self._source,
            "Dir::Etc::SourceParts": "-",
            "Dir::State::Lists": self._lists,
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::AllowWeakRepositories": "false",
            "Acquire::AllowDowngradeToInsecureRepositories": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": "30",
            "Acquire::https::Timeout": "30",
            "APT::Get::AllowUnauthenticated": "false",
            "DPkg::Lock::Timeout": _LOCK_S,
        }
        quiet = ["--quiet=2", "--assume-yes"] if program == "apt-get" else []
        return [program, *quiet, *(f"--option={key}={value}" for key, value in options.items())]

    def _place(self, name: str, version: str) -> Path:
        return self._debs / f"{name}_{version}_all.deb"

    def _keep(self, path: Path, name: str, version: str) -> Path:
        """Take a file in, whole and durable or not at all."""
        place = self._place(name, version)
        self._debs.mkdir(parents=True, exist_ok=True)
        part = place.with_suffix(".part")
        shutil.copyfile(path, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(place)
        flush_names(self._debs)
        return place


_INSTALL: Final = (
    "install", "--no-install-recommends", "--no-remove", "--allow-downgrades", "--allow-change-held-packages",
    "--option=Dpkg::Options::=--force-confdef", "--option=Dpkg::Options::=--force-confold",
)  # fmt: skip


def is_package(path: Path, name: str, version: str) -> bool:
    """Tell whether a file is this package, and can be read to its end."""
    if not path.is_file():
        return False
    fields = _run(["dpkg-deb", "--show", "--showformat=${Package} ${Version}", str(path)])
    return (
        fields.returncode == 0
        and fields.stdout == f"{name} {version}"
        and _run(["dpkg-deb", "--contents", str(path)]).returncode == 0
    )


def _check(done: subprocess.CompletedProcess[str]) -> None:
    """Raise what apt's own words come to; its exit status alone says too little."""
    said = [text.strip() for _, text in _PROBLEM.findall(done.stderr)]
    told = [line for line in said if not _SUMMARY.search(line)]
    if done.returncode == 0 and not said:
        return
    unexplained = [line for line in told if not _PASSING.search(line)]
    if unexplained or not told:
        raise PackageError((unexplained or said or [_why(done)])[0])
    for line in told:
        if _FULL in line:
            raise OSError(line)
    raise UnreachableError(told[0])


def _unless_occupied(done: subprocess.CompletedProcess[str]) -> None:
    said = _LOCKED.search(done.stderr)
    if said:
        raise OccupiedError(f"somebody else is installing: {said[0]}")


def _why(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line that says most of why a program failed."""
    lines = [line.strip() for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
    for first, second in pairwise([*lines, ""]):
        if first.startswith("dpkg: error"):
            return f"{first} {second}".strip()
    return lines[-1] if lines else f"{done.args[0]} ended with status {done.returncode}"


def _run(arguments: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return run(arguments, _COMMAND_S, cwd)
