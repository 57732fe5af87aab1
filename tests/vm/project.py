"""The project as the machine gets it: the package if one has been built, else files of the work tree."""

import shutil
import tarfile
import tomllib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ROOT / "build" / "deb"
SHIPPED: Final = ("gate", "drivers", "systemd", "debian")
# What debian/ makes of them.
PLACES: Final = {
    "debian/bin/gate": "usr/bin/gate",
    "debian/health-gate.sysusers": "usr/lib/sysusers.d/health-gate.conf",
    "debian/health-gate.tmpfiles": "usr/lib/tmpfiles.d/health-gate.conf",
    "debian/udev/60-health-gate.rules": "usr/lib/udev/rules.d/60-health-gate.rules",
    "deploy/escalate": "usr/libexec/health-gate/escalate",
}


def bring(share: Path) -> str:
    """Put the project on the share; return what it is, in words."""
    packages = sorted(PACKAGES.glob("health-gate_*_all.deb"), key=lambda file: file.stat().st_mtime)
    if packages and packages[-1].stat().st_mtime >= _newest():
        shutil.copy(packages[-1], share)
        return packages[-1].name
    with tarfile.open(share / "project.tar", "w") as archive:
        for file, place in _files():
            if file.exists():
                archive.add(file, place, filter=_as_root)
        name, text = _metadata()
        info = tarfile.TarInfo(name)
        info.size = len(text)
        archive.addfile(info, BytesIO(text))
    return "the work tree, newer than any package (make deb)"


def _newest() -> float:
    return max(file.stat().st_mtime for file in _sources())


def _sources() -> Iterator[Path]:
    for folder in SHIPPED:
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file


def _files() -> Iterator[tuple[Path, str]]:
    for file in _sources():
        inside = file.relative_to(ROOT)
        if inside.parts[0] in {"gate", "drivers"}:
            yield file, f"usr/share/health-gate/{inside}"
        elif inside.parts[0] == "systemd":
            folder = "" if inside.parts[1].endswith(".d") else "system/"
            yield file, f"usr/lib/systemd/{folder}{inside.relative_to('systemd')}"
    for source, place in PLACES.items():
        yield ROOT / source, place


def _metadata() -> tuple[str, bytes]:
    """Return what importlib.metadata asks for the version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    place = f"usr/share/health-gate/health_gate-{version}.dist-info/METADATA"
    return place, f"Metadata-Version: 2.1\nName: health-gate\nVersion: {version}\n".encode()


def _as_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.mode = 0o755 if info.name.startswith(("usr/bin/", "usr/libexec/")) else 0o644
    return info
