"""A card as prepare-card writes it, in a board that starts for the first time, until the gate serves."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.brokers import require
from tests.deploy.cards import PREPARE_CARD, mtools, public_key, stock_image
from tests.systemd.conftest import NEW_MACHINE
from tests.systemd.machine import OFFICE, Machine
from tests.systemd.office import Office, is_synchronised, network_time
from tests.systemd.packages import GATE, stock_system
from tests.systemd.rootfs import layer
from tests.systemd.settings import HARDWARE, SCENE, SITE

pytestmark = [pytest.mark.nspawn, pytest.mark.timeout(600)]
BOOT = "/boot/firmware"
DONE = "/var/lib/gate-firstboot"
STEPS = ("name", "files", "clock", "install", "enrol", "config", "serve", "tidy")
# The stock image finds its partition by the label, and a folder has none: so the place is named.
DATASOURCE = f"datasource_list: [NoCloud, None]\ndatasource:\n  NoCloud:\n    seedfrom: file://{BOOT}/\n"


@dataclass
class Card:
    """What lies on the boot partition after prepare-card, and the token that it holds."""

    folder: Path
    token: str

    @property
    def arguments(self) -> list[str]:
        words = (self.folder / "cmdline.txt").read_text("utf-8").split()
        return [word for word in words if word.startswith("ds=")]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with Office(tmp_path / "office") as office:
        yield office


@pytest.fixture
def card(tmp_path: Path, packages: dict[str, Path], office: Office) -> Card:
    """A card for two boards, prepared on an image file by the command that a person runs."""
    image, token = stock_image(tmp_path / "card.img"), office.token(SITE, "--uses", "2")
    (tmp_path / "hardware.toml").write_text(HARDWARE)
    (tmp_path / "token").write_text(token + "\n")
    key = tmp_path / "ops"
    subprocess.run(
        [require("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True
    )
    line = [sys.executable, str(PREPARE_CARD), str(image), "--site", SITE, "--centre", office.url]
    line += ["--ca", str(office.ca), "--token-file", str(tmp_path / "token"), "--debs", str(packages[GATE])]
    line += ["--broker", f"{OFFICE}:{office.broker_port}", "--hardware", str(tmp_path / "hardware.toml")]
    line += ["--ssh-key", f"{key}.pub", "--trust", str(public_key(tmp_path))]
    done = subprocess.run(line, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "card"
    folder.mkdir()
    mtools("mcopy", image, "-s", "-n", "-m", "::*", str(folder))
    return Card(folder, token)


@pytest.fixture
def new_board(new_machine: NEW_MACHINE, packages: dict[str, Path]) -> Callable[..., Machine]:
    """Make boards with a card in them, off."""
    stock = stock_system(packages)
    below = [layer("pi", stock, ["netplan.io", "openssh-server", "sudo", "systemd-timesyncd"]), *stock]

    def make(card: Card, serial: str, name: str = "hg") -> Machine:
        machine = new_machine(name, below=below, serial=serial)
        machine.put("/etc/hostname", "raspberrypi\n")
        machine.put("/etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg", DATASOURCE)
        machine.put_folder(BOOT, card.folder)
        machine.put("/srv/scene.json", SCENE)
        machine.arguments = card.arguments
        return machine

    return make


def is_done(machine: Machine, step: str) -> bool:
    return machine.exists(f"{DONE}/{step}.done")


def has_begun(machine: Machine, step: str) -> bool:
    """Return whether the step is done, or has begun in this boot."""
    said = machine.journal("gate-firstboot", more="--boot")
    return is_done(machine, step) or f"gate-firstboot: {step}" in said


def time_comes(machine: Machine) -> None:
    """Leave the mark that systemd-timesyncd leaves when a time server has answered."""
    machine.run("mkdir -p /run/systemd/timesync && : >/run/systemd/timesync/synchronized")


def must_be_ready(machine: Machine, card: Card, office: Office, name: str) -> None:
    machine.wait_active("gate.service")
    assert machine.run("cat /etc/hostname; hostname").stdout.split() == [name, name]
    assert f'id = "{name}"' in machine.read("/etc/gate/gate.toml")
    assert not machine.exists(f"{BOOT}/health-gate/token"), "the token is still on the card"
    assert not machine.exists("/var/lib/gate/enrol-token")
    found = machine.run(
        f"grep -rlsF {card.token} /boot /etc /var /run /root /home", check=False
    ).stdout.split()
    assert not found, f"the token is in {found}"
    gates = [one["gate"] for one in office.known() if one["what"] == "certificate"]
    assert name in gates
    assert name in machine.read(f"{BOOT}/health-gate/status.txt")
    # The issuers' keys are the gate's own, whatever becomes of those on the boot partition.
    machine.run(f"rm {BOOT}/health-gate/trust-*")
    found = machine.run("runuser -u gate -- gate doctor", check=False).stdout
    assert re.search(r"trusted keys.*county-hall", found), found


def test_first_boot_from_a_prepared_card(
    card: Card, new_board: Callable[..., Machine], office: Office, shown: Callable[[str], None]
) -> None:
    board = new_board(card, "10000000a1b2c3d4")
    board.boot()
    board.wait_for(lambda: is_done(board, "files"), 120, "the first steps")
    if not is_synchronised():
        board.wait_for(
            lambda: "no time from the network" in board.journal("gate-firstboot"),
            60,
            "it to ask for the time",
        )
        assert not is_done(board, "clock")
        assert "clock" in board.read(f"{BOOT}/health-gate/status.txt")
    with network_time():
        time_comes(board)
        board.wait_for(lambda: is_done(board, "all"), 240, "the set-up to be done")
    must_be_ready(board, card, office, "gate-a1b2c3d4")
    # The centre hears of it: the broker let it in by its certificate.
    board.wait_for(
        lambda: "gate-a1b2c3d4" in office.central("status", config=True), 60, "the centre to hear of the gate"
    )
    assert board.run("timedatectl show --value --property Timezone").stdout.strip() == "Asia/Shanghai"
    assert "ssh-ed25519" in board.read("/home/ops/.ssh/authorized_keys")
    assert board.run("passwd --status ops").stdout.split()[1] == "L"
    status = board.run("cloud-init status --wait --long", check=False).stdout
    assert "status: done" in status, status
    assert "errors: []" in status, status
    shown(f"set up {board.run('cut -d. -f1 /proc/uptime').stdout.strip()} s after power on")


def test_power_cut_in_every_step_of_the_first_boot(
    card: Card, new_board: Callable[..., Machine], office: Office, shown: Callable[[str], None]
) -> None:
    board = new_board(card, "10000000a1b2c3d4")
    cuts = 0
    with network_time():
        for step in STEPS:
            board.start()
            time_comes(board)
            board.wait_for(partial(has_begun, board, step), 120, f"step {step}")
            board.cut_power()
            cuts += 1
        board.boot()
        time_comes(board)
        board.wait_for(lambda: is_done(board, "all"), 240, "the set-up to be done")
    must_be_ready(board, card, office, "gate-a1b2c3d4")
    assert len([one for one in office.known() if one["what"] == "certificate"]) == 1
    shown(f"{cuts} power cuts")


def test_one_card_image_in_two_boards_makes_two_gates(
    card: Card, new_board: Callable[..., Machine], office: Office
) -> None:
    boards = [new_board(card, "10000000a1b2c3d4"), new_board(card, "10000000bbbb0002", "second")]
    with network_time():
        for board in boards:
            board.boot()
            time_comes(board)
        for board, name in zip(boards, ("gate-a1b2c3d4", "gate-bbbb0002"), strict=True):
            board.wait_for(partial(is_done, board, "all"), 240, "the set-up to be done")
            must_be_ready(board, card, office, name)
    own = ("/etc/machine-id", "/var/lib/gate/device.key", "/etc/ssh/ssh_host_ed25519_key")
    one, other = ({board.read(path) for path in own} for board in boards)
    assert not one & other, "the boards share a secret"
