"""The packages of this tree, the system they are installed in, and other versions of them."""

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.systemd.rootfs import give_up, layer, trixie_root

ROOT = Path(__file__).parents[2]
# Where `make deb` leaves them; another folder for packages that were built elsewhere.
BUILT = Path(os.environ.get("HEALTH_GATE_DEBS") or ROOT / "build" / "deb")
GATE, CENTRE = "health-gate", "health-gate-central"
# What Raspberry Pi OS has beyond the packages' own dependencies, and what the scenarios need: a
# clock that can be wrong, and a camera that draws what it sees.
BESIDES = ("cloud-init", "netbase", "procps", "tzdata", "libfaketime", "python3-segno")
ASLEEP = "/etc/asleep"
SLEEP = f"[ ! -e {ASLEEP} ] || {{ : >{ASLEEP}.now; exec sleep infinity; }}\n"
CODE = "usr/share/health-gate"


def newest_packages() -> dict[str, Path]:
    """Return the .deb files that `make deb` has built, by package name."""
    found = {path.name.split("_")[0]: path for path in sorted(BUILT.glob("*.deb"))}
    if GATE not in found or CENTRE not in found:
        give_up(f"no packages in {BUILT}: run `make deb` first (`make test-systemd` does)")
    return found


def stock_system(packages: dict[str, Path]) -> list[Path]:
    """Return Debian 13 with everything that the gate's package depends on, but without it."""
    base = trixie_root()
    return [layer("stock", [base], [*BESIDES, *dependencies(packages[GATE])]), base]


def installed_system(packages: dict[str, Path]) -> list[Path]:
    """Return Debian 13 with the gate's package installed."""
    below = stock_system(packages)
    return [layer("gate", below, [packages[GATE]]), *below]


def centre_system(packages: dict[str, Path]) -> list[Path]:
    """Return Debian 13 with both packages installed."""
    base = trixie_root()
    needed = {*dependencies(packages[GATE]), *dependencies(packages[CENTRE])}
    below = [layer("centre-stock", [base], sorted(needed)), base]
    return [layer("centre", below, [packages[GATE], packages[CENTRE]]), *below]


def dependencies(deb: Path) -> list[str]:
    """Return the names of the Debian packages that a .deb depends on, of alternatives the first, sorted."""
    field = subprocess.run(
        ["dpkg-deb", "--field", str(deb), "Depends"], check=True, capture_output=True, text=True
    ).stdout
    names = [re.split(r"[ :(|]", part.strip())[0] for part in field.split(",")]
    return sorted({name for name in names if name and not name.startswith(GATE)})


def version_of(deb: Path) -> str:
    """Return a .deb's version."""
    line = ["dpkg-deb", "--field", str(deb), "Version"]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()


def another_version(
    deb: Path,
    version: str,
    folder: Path,
    *,
    breaking: str = "",
    module: str = "gate/app/application.py",
    sleeping_in: str = "",
) -> Path:
    """Repack the gate's .deb as another version, and return the new file, in `folder`.

    `breaking` is Python put at the top of `module`, without one of what `gate run` executes; the maintainer
    script `sleeping_in` waits for ever where the file ASLEEP is. Nothing else differs but the numbers.
    """
    tree = folder / f"tree-{version}"
    subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(tree)], check=True)
    old = version_of(deb)
    control = tree / "DEBIAN/control"
    control.write_text(
        re.sub(r"(?m)^Version: .*", f"Version: {version}", control.read_text("utf-8")), "utf-8"
    )
    (tree / "DEBIAN/md5sums").unlink()
    for info in (tree / CODE).glob("health_gate-*.dist-info"):
        metadata = info / "METADATA"
        metadata.write_text(
            metadata.read_text("utf-8").replace(f"Version: {old}", f"Version: {version}", 1), "utf-8"
        )
        info.rename(info.with_name(f"health_gate-{version}.dist-info"))
    if breaking:
        main = tree / CODE / module
        main.write_text(_broken(main.read_text("utf-8"), breaking), "utf-8")
    if sleeping_in:
        script = tree / "DEBIAN" / sleeping_in
        rest = script.read_text("utf-8").partition("\n")[2] if script.exists() else ""
        script.write_text(f"#!/bin/sh\n{SLEEP}{rest}", "utf-8")
        script.chmod(0o755)
    made = folder / f"{GATE}_{version}_all.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", str(tree), str(made)], check=True, capture_output=True
    )
    shutil.rmtree(tree)
    return made


def _broken(text: str, breaking: str) -> str:
    """Put it where the module begins to do something: what cannot be compiled is not even installed."""
    quiet = (ast.Expr, ast.ImportFrom)
    line = next(node.lineno for node in ast.parse(text).body if not isinstance(node, quiet)) - 1
    lines = text.splitlines()
    return "\n".join([*lines[:line], breaking, *lines[line:]])
