"""A prepared card before Debian 13's own cloud-init, netplan, apt and dpkg."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.brokers import require
from tests.deploy.cards import Desk, stock_folder
from tests.systemd.rootfs import Overlay, layer, trixie_root

pytestmark = pytest.mark.nspawn

BOOT: Final = "/boot/firmware"
INSTALL: Final = f"sh {BOOT}/health-gate/gate-firstboot step install"
VERSION: Final = "dpkg-query --show --showformat='${db:Status-Abbrev}${Version} ' "


@pytest.fixture(scope="module")
def below() -> list[Path]:
    base = trixie_root()
    return [layer("cloud-init", [base], ["cloud-init", "netplan.io", "python3-netplan"]), base]


@pytest.fixture
def debian(tmp_path: Path, below: list[Path]) -> Overlay:
    return Overlay(tmp_path / "debian", below)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


@pytest.fixture
def bootfs(tmp_path: Path) -> Path:
    return stock_folder(tmp_path / "bootfs")


def schema_says(debian: Overlay, bootfs: Path, name: str, kind: str) -> tuple[int, str]:
    command = f"cloud-init schema --config-file {BOOT}/{name} --schema-type {kind}"
    done = debian.run(command, check=False, binds={bootfs: BOOT})
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "options", [{}, {"ssh_key": None}, {"wifi": 'Ha"ll: #1'}], ids=["cable", "no-key", "wifi"]
)
def test_cloud_init_and_netplan_take_what_is_on_the_card(
    debian: Overlay, desk: Desk, bootfs: Path, options: dict[str, str | None]
) -> None:
    if "wifi" in options:
        options |= {"wifi_password_file": f"{desk.folder}/wifi"}
    assert desk.prepare(bootfs, **options).returncode == 0
    for name, kind in (("user-data", "cloud-config"), ("network-config", "network-config")):
        status, said = schema_says(debian, bootfs, name, kind)
        assert (status, "Valid schema" in said) == (0, True), said


@pytest.mark.parametrize(
    ("name", "kind", "word"),
    [("user-data", "cloud-config", "preserve_hostname"), ("network-config", "network-config", "dhcp4")],
)
def test_the_check_finds_a_wrong_word(
    debian: Overlay, desk: Desk, bootfs: Path, name: str, kind: str, word: str
) -> None:
    desk.prepare(bootfs)
    file = bootfs / name
    file.write_text(file.read_text().replace(word, f"{word}x"))
    assert schema_says(debian, bootfs, name, kind)[0] != 0


@pytest.fixture
def package(tmp_path: Path, desk: Desk) -> Callable[..., Path]:
    """Make a small package among those of the desk."""
    shutil.rmtree(desk.folder / "debs")
    (desk.folder / "debs").mkdir()

    def make(name: str, version: str, depends: str = "", architecture: str = "all") -> Path:
        tree = tmp_path / f"{name}-{version}"
        (tree / "DEBIAN").mkdir(parents=True)
        fields = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
        fields += "Maintainer: Nobody <nobody@example.org>\nDescription: stands in\n"
        (tree / "DEBIAN" / "control").write_text(fields + (f"Depends: {depends}\n" if depends else ""))
        file = desk.folder / "debs" / f"{name}_{version}_{architecture}.deb"
        builder = require("dpkg-deb", "dpkg")
        subprocess.run(
            [builder, "--root-owner-group", "--build", tree, file], check=True, capture_output=True
        )
        return file

    return make


def test_apt_installs_from_the_card_without_a_network(
    debian: Overlay, desk: Desk, bootfs: Path, package: Callable[..., Path]
) -> None:
    first = package("health-gate", "0.1.0", "hg-library (>= 2), python3")
    package("hg-library", "2.1")
    package("python3-picamera2", "0.3")
    package("python3-lgpio", "0.2")
    package("hg-foreign", "1", architecture="s390x")
    binds = {bootfs: BOOT}
    debian.run(
        "rm -rf /var/lib/apt/lists/*; rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*", binds=binds
    )
    assert desk.prepare(bootfs).returncode == 0
    installed = debian.run(f"{INSTALL} && {VERSION} health-gate hg-library python3-picamera2", binds=binds)
    assert installed.stdout.endswith("ii 0.1.0 ii 2.1 ii 0.3 ")
    assert "comes from the network" not in installed.stdout
    kept = debian.run("cat /var/cache/health-gate/debs/health-gate_0.1.0_all.deb | sha256sum", binds=binds)
    assert (
        kept.stdout
        == subprocess.run(
            ["sha256sum"], input=first.read_bytes(), capture_output=True, check=True
        ).stdout.decode()
    )

    again = debian.run(INSTALL, binds=binds)
    assert "0 newly installed" in again.stdout
    first.unlink()
    package("health-gate", "0.2.0", "hg-library (>= 2), python3")
    assert desk.prepare(bootfs).returncode == 0
    assert debian.run(f"{INSTALL} && {VERSION} health-gate", binds=binds).stdout.endswith("ii 0.2.0 ")

    # An older card never takes a gate back.
    shutil.rmtree(desk.folder / "debs")
    (desk.folder / "debs").mkdir()
    shutil.rmtree(desk.folder.parent / "health-gate-0.1.0")
    package("health-gate", "0.1.0")
    assert desk.prepare(bootfs).returncode == 0
    assert debian.run(f"{INSTALL} && {VERSION} health-gate", binds=binds).stdout.endswith("ii 0.2.0 ")


def test_a_package_that_cannot_be_had_is_told(
    debian: Overlay, desk: Desk, bootfs: Path, package: Callable[..., Path]
) -> None:
    package("health-gate", "0.1.0", "hg-nowhere")
    assert desk.prepare(bootfs).returncode == 0
    debian.run("rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*")
    done = debian.run(INSTALL, check=False, binds={bootfs: BOOT})
    assert done.returncode == 75
    assert "hg-nowhere" in done.stdout + done.stderr
    assert "health-gate could not be installed" in (bootfs / "health-gate" / "status.txt").read_text()
