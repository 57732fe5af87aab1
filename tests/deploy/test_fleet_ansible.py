"""The Ansible role on a Debian 13 tree with the real package: twice, refused, pinned, a forged repository."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import HOST, Mosquitto, require
from tests.systemd.packages import GATE, another_version, newest_packages, stock_system, version_of
from tests.systemd.rootfs import Overlay, layer

pytestmark = [pytest.mark.nspawn, pytest.mark.timeout(900)]

DEPLOY = Path(__file__).parents[2] / "deploy"
CONTROLLER = ("ansible-core", "python3-apt")
NEWER = "0.9.0"
CONFIG = "/etc/gate/gate.toml"


@dataclass
class Played:
    """What a run of the playbook printed, and its totals."""

    text: str
    totals: dict[str, int]


@dataclass
class Fleet:
    """One gate in a tree of its own, and the signed repository that it installs from."""

    overlay: Overlay
    deploy: Path
    repository: Path
    variables: dict[str, Any]

    def play(self, **more: Any) -> Played:
        host = {"ansible_connection": "local", "ansible_become": False, **self.variables, **more}
        inventory = {"gates": {"hosts": {"north-door": host}}}
        (self.deploy / "ansible" / "inventory.yml").write_text(json.dumps(inventory))
        done = self.overlay.run(
            "cd /srv/deploy/ansible && ansible-playbook -i inventory.yml site.yml",
            check=False,
            binds={self.deploy: "/srv/deploy", self.repository: "/srv/repository"},
        )
        text = done.stdout + done.stderr
        totals = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", text.rpartition("RECAP")[2])}
        assert (done.returncode == 0) is (totals.get("failed", 1) == 0), text
        return Played(text, totals)

    def says(self, command: str) -> str:
        return self.overlay.run(command).stdout.strip()

    def version(self) -> str:
        return self.says(f"dpkg-query --show --showformat='${{Version}}' {GATE}")


def signed_repository(folder: Path, packages: list[Path]) -> Path:
    for program, package in (("gpg", "gpg"), ("apt-ftparchive", "apt-utils")):
        require(program, package)
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    environment = {**os.environ, "GNUPGHOME": str(keys)}
    make_key = ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key"]
    words = ("health-gate packages", "ed25519", "sign", "never")
    subprocess.run([*make_key, *words], env=environment, check=True)
    repository = folder / "repository"
    tool = [str(DEPLOY / "apt" / "make-repository"), str(repository), *map(str, packages)]
    subprocess.run(tool, env=environment, check=True, capture_output=True)
    subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)
    return repository


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    packages = newest_packages()
    below = stock_system(packages)
    trees = [layer("ansible", below, CONTROLLER), *below]
    deploy = folder / "deploy"
    shutil.copytree(DEPLOY / "ansible", deploy / "ansible")
    newer = another_version(packages[GATE], NEWER, folder)
    repository = signed_repository(folder, [packages[GATE], newer])
    files = deploy / "ansible" / "files"
    files.mkdir()
    shutil.copy(repository / "health-gate.gpg", files)
    key = f'issuer = "counter"\nissuer_name = "Counter"\npublic_key = "{"ab" * 32}"\npurposes = ["visitor"]\n'
    (files / "keys.toml").write_text(f"[[keys]]\n{key}")
    with Mosquitto(folder / "broker") as broker:
        variables = {
            "health_gate_repository": "file:/srv/repository",
            "health_gate_key": "files/health-gate.gpg",
            "health_gate_version": version_of(packages[GATE]),
            "health_gate_files": [{"src": "files/keys.toml", "dest": "/etc/gate/trust/keys.toml"}],
            "health_gate_config": {
                "gate": {
                    "site": "county-hall",
                    "trust_files": ["/etc/gate/trust"],
                    "clock": "always_trusted",
                },
                "mqtt": {"host": HOST, "port": broker.port},
                "simulation": {"world_log": "/var/lib/gate/pulses.jsonl"},
            },
            "health_gate_own": {"gate": {"id": "north-door"}},
        }
        yield Fleet(Overlay(folder / "tree", trees), deploy, repository, variables)


def test_the_first_run_installs_configures_and_examines(fleet: Fleet) -> None:
    played = fleet.play()
    assert played.totals["failed"] == 0, played.text
    assert played.totals["changed"] >= 5
    assert fleet.version() == fleet.variables["health_gate_version"]
    assert fleet.says(f"stat -c '%U:%G %a' {CONFIG} /etc/gate/trust/keys.toml") == "\n".join(
        ["root:gate 640"] * 2
    )
    assert 'id = "north-door"' in fleet.says(f"cat {CONFIG}")
    assert "visitors come by themselves" in played.text, "the doctor's warning is shown"


def test_the_second_run_changes_nothing(fleet: Fleet) -> None:
    played = fleet.play()
    assert (played.totals["changed"], played.totals["failed"]) == (0, 0), played.text


def test_a_configuration_that_is_refused_leaves_the_old_one(fleet: Fleet) -> None:
    before = fleet.says(f"sha256sum {CONFIG}")
    played = fleet.play(health_gate_own={"gate": {"id": "north-door", "polcy": "county-hall"}})
    assert played.totals["failed"] == 1
    assert "did you mean" in played.text
    assert fleet.says(f"sha256sum {CONFIG}") == before


def test_a_failure_that_the_doctor_finds_ends_the_run(fleet: Fleet) -> None:
    config = {**fleet.variables["health_gate_config"], "mqtt": {"host": HOST, "port": 1}}
    played = fleet.play(health_gate_config=config)
    assert played.totals["failed"] == 1
    assert "start the broker or check the port" in played.text


def test_a_version_is_what_is_said_also_on_hold_and_without_one_nothing_is_touched(fleet: Fleet) -> None:
    fleet.says(f"apt-mark hold {GATE}")
    assert fleet.play(health_gate_version="").totals["failed"] == 0
    assert fleet.version() == fleet.variables["health_gate_version"]
    assert fleet.play(health_gate_version=NEWER).totals["failed"] == 0
    assert fleet.version() == NEWER
    assert fleet.play().totals["failed"] == 0
    assert fleet.version() == fleet.variables["health_gate_version"]


def test_a_repository_that_was_changed_is_refused(fleet: Fleet) -> None:
    index = fleet.repository / "InRelease"
    genuine = index.read_text("utf-8")
    index.write_text(genuine.replace("Origin: health-gate", "Origin: somebody"), "utf-8")
    try:
        played = fleet.play(health_gate_version=NEWER)
    finally:
        index.write_text(genuine, "utf-8")
    assert played.totals["failed"] == 1
    assert fleet.version() == fleet.variables["health_gate_version"]
