"""The packages that these tests try, built once for all of them."""

import subprocess
from pathlib import Path

import pytest

from tests.systemd.rootfs import layer, require_root, trixie_root

ROOT = Path(__file__).parents[2]
GATE, CENTRAL = "health-gate", "health-gate-central"
NEWER = "0.9.0"

Packages = dict[str, Path]
"""The .deb files by the names of their packages."""


def build(outdir: Path, *words: str) -> Packages:
    """Build the packages of this tree."""
    command = [str(ROOT / "deploy/deb/build"), *words, str(outdir)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return {Path(line).name.partition("_")[0]: Path(line) for line in done.stdout.splitlines()}


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    require_root()
    return build(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    require_root()
    return build(tmp_path_factory.mktemp("newer-deb"), "--version", NEWER)


def dependencies(package: Path) -> list[str]:
    """Return the names of the packages that a .deb depends on, the first of alternatives."""
    command = ["dpkg-deb", "--field", str(package), "Depends"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = (relation.split("|")[0].split("(")[0].strip() for relation in said.split(","))
    return sorted(name.removesuffix(":any") for name in names if not name.startswith(GATE))


@pytest.fixture(scope="session")
def gate_trees(packages: Packages) -> list[Path]:
    """Debian 13 with what the gate depends on, without the gate: a new one installs without network."""
    base = trixie_root()
    return [layer("gate-needs", [base], dependencies(packages[GATE])), base]


@pytest.fixture(scope="session")
def central_trees(packages: Packages, gate_trees: list[Path]) -> list[Path]:
    return [layer("central-needs", gate_trees, dependencies(packages[CENTRAL])), *gate_trees]
