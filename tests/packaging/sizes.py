"""How much a card holds more once the gate's package is installed, without what it only recommends."""

import re
from pathlib import Path
from typing import Final

from tests.packaging.conftest import GATE
from tests.systemd.rootfs import Overlay

# What a card's image of Raspberry Pi OS Lite has of the package's needs, in Debian's packages.
ON_A_CARD: Final = ("cloud-init", "python3-gpiozero", "python3-smbus2")


def installed_mb(overlay: Overlay, deb: Path) -> tuple[float, float, float]:
    """Return what comes to a card's system, to one with Python only, to one without; in MB (10^6)."""
    overlay.run("apt-get update")
    every = _sizes_kib(overlay, *ON_A_CARD, f"/mnt/{deb.name}", deb=deb)
    there = _sizes_kib(overlay, *ON_A_CARD, deb=deb)
    python = _sizes_kib(overlay, "python3", deb=deb)
    alone = _sizes_kib(overlay, f"/mnt/{deb.name}", deb=deb)
    return _more_mb(every, there), _more_mb(alone, python), _more_mb(alone, {})


def _more_mb(found: dict[str, int], without: dict[str, int]) -> float:
    return sum(kib for name, kib in found.items() if name not in without) * 1024 / 1e6


def _sizes_kib(overlay: Overlay, *names: str, deb: Path) -> dict[str, int]:
    """Return the packages that apt would install, with what each takes (Installed-Size, KiB)."""
    simulated = overlay.run(
        f"apt-get install --simulate --no-install-recommends {' '.join(names)}", binds={deb.parent: "/mnt"}
    ).stdout
    listed = set(re.findall(r"^Inst (\S+)", simulated, re.MULTILINE))
    sources = " ".join(listed - {GATE}) + (f" /mnt/{deb.name}" if GATE in listed else "")
    said = overlay.run(f"apt-cache show --no-all-versions {sources}", binds={deb.parent: "/mnt"}).stdout
    found = re.findall(r"^Package: (\S+)$(?:\n.+)*?\nInstalled-Size: (\d+)$", said, re.MULTILINE)
    sizes = {name: int(kib) for name, kib in found}
    assert sizes.keys() == listed
    return sizes
