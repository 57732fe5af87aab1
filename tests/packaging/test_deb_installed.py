"""The packages in a clean Debian 13: installed, used, upgraded, gone back, removed and purged."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.packaging.conftest import CENTRAL, GATE, NEWER, ROOT, Packages
from tests.packaging.sizes import installed_mb
from tests.systemd.rootfs import Overlay, trixie_root

pytestmark = [pytest.mark.nspawn, pytest.mark.timeout(900)]

INSTALLED_MB_MAX = 60
PICTURES = ROOT / "tests/data/qr"

CONFIG = """
[gate]
site = "county-hall"
id = "north-door"
clock = "always_trusted"
[mqtt]
host = "127.0.0.1"
[simulation]
world_log = "/var/lib/gate/pulses.jsonl"
visitors_per_minute = 600
[thermometer]
bus = "simulated"
[pins]
factory = "mock"
"""


class Device:
    """A Debian 13 on an overlay in which packages come and go; nothing is fetched."""

    def __init__(self, folder: Path, trees: list[Path]) -> None:
        self.overlay = Overlay(folder, trees)
        self.folder = folder

    def run(self, command: str, *, check: bool = True, outside: Path | None = None) -> str:
        binds = {outside: "/mnt"} if outside else {}
        done = self.overlay.run(command, check=check, binds=binds)
        return done.stdout + done.stderr

    def status(self, command: str) -> int:
        return self.overlay.run(command, check=False).returncode

    def install(self, *debs: Path) -> str:
        words = " ".join(f"/mnt/{deb.name}" for deb in debs)
        apt = "apt-get -y --no-install-recommends --allow-downgrades"
        return self.run(f"{apt} install {words}", outside=debs[0].parent)

    def modes(self, *paths: str) -> list[str]:
        return self.run(f"stat --format '%a %U:%G %n' {' '.join(paths)}").splitlines()

    def record_visits(self) -> bytes:
        """Let the gate serve simulated visitors for a moment; return the bytes of its records."""
        self.run(f"cat >/etc/gate/gate.toml <<'END'\n{CONFIG}END\nchown root:gate /etc/gate/gate.toml")
        self.run("chmod 640 /etc/gate/gate.toml")
        # Until something is written down, at most a minute; ended as systemd does it.
        self.run(
            "umask 077; setpriv --reuid gate --regid gate --init-groups gate run >/tmp/log 2>&1 & gate=$!\n"
            "for i in $(seq 300); do sleep 0.2\n"
            "  [ $(wc -l 2>/dev/null </var/lib/gate/pulses.jsonl || echo 0) -lt 3 ] || break\n"
            "done\n"
            "kill -TERM $gate; wait $gate || { cat /tmp/log; exit 1; }"
        )
        assert "ok" in self.run("gate ledger verify /var/lib/gate/ledger.db")
        return self.exported()

    def exported(self) -> bytes:
        return self.run("gate ledger export /var/lib/gate/ledger.db").encode()


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory, gate_trees: list[Path], packages: Packages) -> Device:
    """A device with the gate installed, for tests that leave it so."""
    device = Device(tmp_path_factory.mktemp("device"), gate_trees)
    device.install(packages[GATE])
    return device


@pytest.fixture
def fresh(tmp_path: Path, gate_trees: list[Path]) -> Device:
    return Device(tmp_path / "fresh", gate_trees)


# Size


def test_the_package_is_small_on_a_card(
    tmp_path: Path, packages: Packages, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_card, on_python, on_nothing = installed_mb(Overlay(tmp_path, [trixie_root()]), packages[GATE])
    with capsys.disabled():
        sys.stdout.write(
            f"\ninstalled size without Recommends: {on_a_card:.1f} MB on a card's system, "
            f"{on_python:.1f} MB where python3 is, {on_nothing:.1f} MB with python3\n"
        )
    assert on_a_card <= INSTALLED_MB_MAX


# Installed


def test_the_command_works(device: Device) -> None:
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert device.run("gate --version") == f"gate, version {version[1]}\n"
    assert "township-routine" in device.run("gate policy list")
    assert "violations: none" in device.run("runuser -u gate -- gate simulate --seed 1 --hours 0.1")


def test_nobodys_own_folder_has_a_say_in_what_is_loaded(device: Device) -> None:
    device.run("mkdir -p /root/evil && echo 'raise SystemExit(9)' >/root/evil/click.py")
    assert "version" in device.run("cd /root/evil && PYTHONPATH=/root/evil gate --version")


def test_python_code_stays_out_of_everybodys_way(device: Device) -> None:
    assert device.status("python3 -c 'import drivers'") == 1
    assert "__init__.cpython" in device.run("ls /usr/share/health-gate/drivers/__pycache__")


def test_the_doctor_says_what_is_missing(device: Device) -> None:
    said = device.overlay.run("gate doctor --json", check=False)
    checks = {check["name"]: check for check in json.loads(said.stdout)["checks"]}
    assert said.returncode == 2
    assert "no such file" in json.dumps(checks["configuration"])
    # The child process is found from /usr/bin/gate, and zxing-cpp reads in it.
    assert checks["decoder"]["status"] == "ok"
    assert checks["packages"]["status"] == checks["user"]["status"] == "ok"
    assert device.run("ls -A /var/lib/gate") == ""


def test_pictures_go_to_a_child_process(device: Device) -> None:
    """Without OpenCV no file can be decoded; that it says so comes from the child."""
    said = device.run("gate read /mnt/zxing_2_model_1.png", check=False, outside=PICTURES)
    assert "OpenCV is not installed (python3-opencv)" in said


def test_a_picture_is_read_where_opencv_is(device: Device) -> None:
    """With the tests' own OpenCV, which is built for every Python: Debian's brings 300 packages along."""
    found = find_spec("cv2")
    assert found
    assert found.origin
    here = Path(found.origin).parents[1]
    binds = {here / name: f"/opt/opencv/{name}" for name in ("cv2", "opencv_python_headless.libs")}
    device.run("echo /opt/opencv >/usr/local/lib/python3.13/dist-packages/opencv.pth")
    said = device.overlay.run(
        "gate read /mnt/zxing_2_model_1.png; rm /usr/local/lib/python3.13/dist-packages/opencv.pth",
        binds={PICTURES: "/mnt", **binds},
    )
    assert "N023X-3431800-V034PG03X-3436010-A1125032918310706" in said.stdout


def test_who_may_what(device: Device) -> None:
    assert device.modes("/etc/gate", "/var/lib/gate", "/var/cache/health-gate") == [
        "750 root:gate /etc/gate",
        "750 gate:gate /var/lib/gate",
        "755 root:root /var/cache/health-gate",
    ]
    groups = set(device.run("id --name --groups gate").split())
    assert groups == {"gate", "gpio", "i2c", "video"}
    assert device.run("getent passwd gate").strip().endswith(":/var/lib/gate:/usr/sbin/nologin")


def test_no_file_is_writable_by_others_or_by_the_service(device: Device) -> None:
    files = f"dpkg -L {GATE} | grep health-gate"
    listed = device.run(f"{files} | xargs -d '\\n' stat --format '%A %U %n'").splitlines()
    wrong = [line for line in listed if line[5] == "w" or line[8] == "w" or " root " not in line]
    assert len(listed) > 100
    assert wrong == []


def test_pins_and_bus_belong_to_their_groups(device: Device) -> None:
    rules = device.run("cat /usr/lib/udev/rules.d/60-health-gate.rules")
    assert 'SUBSYSTEM=="gpio"' in rules
    # What udev does not understand it ends with an error here.
    device.run("udevadm verify /usr/lib/udev/rules.d/60-health-gate.rules")


def units(device: Device, package: str) -> Iterator[tuple[str, str]]:
    for name in device.run(f"dpkg -L {package} | grep '/systemd/system/.*[.]'").split():
        yield name.rpartition("/")[2], device.run(f"cat {name}")


def started_programs(device: Device, package: str) -> set[str]:
    lines = (line for _, text in units(device, package) for line in text.splitlines())
    return {
        line.partition("=")[2].lstrip("-+!@:").split()[0] for line in lines if re.match(r"Exec\w+=", line)
    }


def linked_units(device: Device) -> set[str]:
    return set(device.run("find /etc/systemd/system -type l -printf '%f\\n'").split())


def test_what_is_enabled_is_what_asks_for_it(device: Device) -> None:
    enabled = {name for name, text in units(device, GATE) if "[Install]" in text}
    assert "gate.service" in enabled
    assert {name for name in linked_units(device) if name.startswith("gate")} == enabled


def test_what_units_start_is_installed(device: Device) -> None:
    programs = started_programs(device, GATE)
    assert {"/usr/bin/gate", "/usr/libexec/health-gate/escalate"} <= programs
    assert [program for program in programs if device.status(f"test -x {program}")] == []


def test_updating_does_not_end_the_update(packages: Packages) -> None:
    """The script that apt runs must not touch the service that runs apt."""
    command = ["dpkg-deb", "--ctrl-tarfile", str(packages[GATE])]
    tar = subprocess.run(command, check=True, capture_output=True).stdout
    scripts = subprocess.run(
        ["tar", "-xO", "./postinst", "./prerm"], check=True, input=tar, capture_output=True
    )
    invoked = [line for line in scripts.stdout.decode().splitlines() if "deb-systemd-invoke" in line]
    assert any("gate.service" in line for line in invoked)
    assert not any("gate-update.service" in line for line in invoked)


def test_what_the_documentation_names_is_there(device: Device) -> None:
    for path in ("examples/gate.example.toml", "docs/plans.md", "README.Debian", "copyright"):
        assert device.status(f"test -s /usr/share/doc/{GATE}/{path}") == 0, path
    for page in ("man1/gate.1.gz", "man5/gate.toml.5.gz"):
        assert device.status(f"test -s /usr/share/man/{page}") == 0, page


def test_everything_that_belongs_to_the_code_is_in_a_package(packages: Packages) -> None:
    packed = set()
    for deb in packages.values():
        command = ["dpkg-deb", "--contents", str(deb)]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        packed |= set(re.findall(r" \./usr/share/health-gate/(.*[^/])$", listed, re.MULTILINE))
    code = {path for folder in ("gate", "drivers", "central") for path in (ROOT / folder).rglob("*.*")}
    files = {str(path.relative_to(ROOT)) for path in code if path.is_file() and path.suffix != ".pyc"}
    assert "gate/policies/county-hall.toml" in files
    assert files - packed == set()


# Upgraded, removed, purged


def test_an_upgrade_and_the_way_back_keep_configuration_and_records(
    fresh: Device, packages: Packages, newer: Packages
) -> None:
    fresh.install(packages[GATE])
    records = fresh.record_visits()
    assert records.count(b"\n") > 3
    for deb, version in ((newer[GATE], NEWER), (packages[GATE], "")):
        fresh.install(deb)
        assert version in fresh.run("gate --version")
        assert fresh.exported() == records
        assert fresh.run("cat /etc/gate/gate.toml") == CONFIG
        assert fresh.modes("/etc/gate/gate.toml", "/var/lib/gate/ledger.db") == [
            "640 root:gate /etc/gate/gate.toml",
            "600 gate:gate /var/lib/gate/ledger.db",
        ]
    dist_infos = fresh.run("ls -d /usr/share/health-gate/*.dist-info").split()
    assert len(dist_infos) == 1


def test_records_survive_removal_and_purge(fresh: Device, packages: Packages) -> None:
    fresh.install(packages[GATE])
    records = fresh.record_visits()
    fresh.run("touch /var/cache/health-gate/health-gate_0.0.9_all.deb")
    fresh.run(f"apt-get -y remove {GATE}")
    assert fresh.status("test -e /usr/bin/gate || test -e /usr/share/health-gate") == 1
    said = fresh.run(f"apt-get -y purge {GATE}")
    assert "/var/lib/gate is kept; to delete it for good: rm -r /var/lib/gate" in said
    assert fresh.run("cat /etc/gate/gate.toml") == CONFIG
    assert fresh.status("test -e /var/cache/health-gate") == 1
    # Nobody else gets the number of the user whose files these are.
    assert fresh.modes("/var/lib/gate/ledger.db") == ["600 gate:gate /var/lib/gate/ledger.db"]
    assert fresh.run("find /etc/systemd /var/lib/systemd -name 'gate*'") == ""

    fresh.install(packages[GATE])
    assert fresh.exported() == records


def test_purge_leaves_no_empty_folder(fresh: Device, packages: Packages) -> None:
    fresh.install(packages[GATE])
    fresh.run(f"apt-get -y purge {GATE}")
    assert fresh.status("test -e /etc/gate || test -e /var/lib/gate") == 1


# The centre


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory, central_trees: list[Path], packages: Packages) -> Device:
    centre = Device(tmp_path_factory.mktemp("centre"), central_trees)
    centre.install(packages[GATE], packages[CENTRAL])
    return centre


def test_a_centre_begins(centre: Device) -> None:
    assert "Run the centre of the gates" in centre.run("central --help")
    assert centre.modes("/etc/central", "/var/lib/central") == [
        "750 root:central /etc/central",
        "750 central:central /var/lib/central",
    ]
    as_central = "runuser -u central --"
    centre.run(f"{as_central} central init /var/lib/central")
    centre.run("install -m 640 -g central /var/lib/central/central.toml /etc/central/central.toml")
    centre.run(f"{as_central} central check-config")
    # The store is made by the migrations, which are data of the package.
    assert "problems" in centre.run(f"{as_central} central verify --json")


def test_the_centres_units_find_what_they_start_and_wait_for_a_broker(centre: Device) -> None:
    programs = started_programs(centre, CENTRAL)
    assert {"/usr/bin/central", "/usr/libexec/health-gate-central/refresh"} <= programs
    assert [program for program in programs if centre.status(f"test -x {program}")] == []
    assert "central.service" in linked_units(centre)
    assert not any("broker" in name for name in linked_units(centre))


def test_the_gates_command_does_without_the_centres_package(device: Device) -> None:
    assert device.status("test -e /usr/share/health-gate/central") == 1


def test_a_centre_keeps_the_logs_and_watchdog_of_a_server(centre: Device) -> None:
    def last(name: str, key: str) -> str:
        lines = centre.run(f"systemd-analyze cat-config systemd/{name}").splitlines()
        return [line for line in lines if line.startswith(f"{key}=")][-1]

    assert last("journald.conf", "Storage") == "Storage=auto"
    assert last("system.conf", "RuntimeWatchdogSec") == "RuntimeWatchdogSec=off"


def test_purging_the_centre_keeps_its_keys(centre: Device, packages: Packages) -> None:
    centre.run("test -e /var/lib/central/centre.key || runuser -u central -- central init /var/lib/central")
    said = centre.run(f"apt-get -y purge {CENTRAL}")
    assert "/var/lib/central is kept" in said
    assert centre.status("test -s /var/lib/central/centre.key") == 0
    assert "version" in centre.run("gate --version")
    centre.install(packages[GATE], packages[CENTRAL])
