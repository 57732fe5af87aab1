"""prepare-card on real disk images with real FAT file systems, and on mounted folders."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

from gate.config import PinsSection, parse_config
from gate.trust_files import load_trust
from tests.brokers import require
from tests.certificates import Authority
from tests.deploy.cards import (
    HARDWARE,
    KEY,
    PREPARE_CARD,
    ROOT,
    SECRET,
    SOURCE,
    STOCK,
    Desk,
    mtools,
    package,
    program,
    public_key,
    read,
    stock_folder,
    stock_image,
)

NOBODY = 65534


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stock_folder(tmp_path / "bootfs")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(desk: Desk, folder: Path, *more: str, **changed: str | None) -> str:
    """Run prepare-card, see that it changes nothing and ends with 1, and return what it says."""
    before = contents(folder)
    done = desk.prepare(folder, *more, **changed)
    assert (done.returncode, contents(folder)) == (1, before), done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def instance_id(folder: Path) -> str:
    found = re.search(r"^instance-id: (\S+)$", (folder / "meta-data").read_text(), re.MULTILINE)
    assert found
    return found[1]


# ---- Where the boot partition is ---------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "fat"), [("mbr", 32), ("gpt", 16), ("none", 32)])
def test_an_image_and_a_mounted_folder_get_the_same_files(
    desk: Desk, folder: Path, tmp_path: Path, table: str, fat: int
) -> None:
    image = stock_image(tmp_path / "card.img", table, fat)
    root_partition = image.read_bytes()[-(2**20) :]
    assert desk.prepare(image).returncode == 0
    assert desk.prepare(folder).returncode == 0
    for name, content in contents(folder).items():
        assert read(image, name, table) == content, name
    assert image.read_bytes()[-(2**20) :] == root_partition
    subprocess.run(["mdir", "-/", "-i", f"{image}@@{0 if table == 'none' else 8 * 2**20}", "::"], check=True)


def test_an_image_needs_no_root_and_no_gate(desk: Desk) -> None:
    """As a process of another user, where this runs as root, from a checkout without gate/."""
    python = shutil.which("python3", path="/usr/bin:/bin")  # one that every user may run
    assert python, "the package python3 is missing"
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    with TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        shutil.copytree(ROOT / "deploy", place / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(desk.folder, place / "desk")
        for path in (place / "desk", *(place / "desk").rglob("*")):
            path.chmod(0o755)
        image = stock_image(place / "card.img")
        if user:
            os.chown(image, NOBODY, NOBODY)
        words = [word.replace(str(desk.folder), str(place / "desk")) for word in desk.words(image)]
        line = [python, "-B", str(place / "deploy/card/prepare-card"), *words]
        environment = {"PATH": os.environ["PATH"]}
        image.chmod(0o400)
        locked = subprocess.run(line, check=False, capture_output=True, text=True, env=environment, **user)
        image.chmod(0o600)
        done = subprocess.run(line, check=False, capture_output=True, text=True, env=environment, **user)
        assert done.returncode == 0, done.stderr
        assert read(image, "health-gate/token") == f"{SECRET}\n".encode()
    assert "gate.toml: NOT checked whole" in done.stdout
    assert (locked.returncode, locked.stdout) == (1, "")
    assert "card.img: cannot be written: Permission denied; run it as" in locked.stderr


def test_an_image_without_a_boot_partition_is_refused(desk: Desk, tmp_path: Path) -> None:
    image = tmp_path / "empty.img"
    image.write_bytes(bytes(2**20))
    done = desk.prepare(image)
    assert done.returncode == 1
    assert "there is no FAT partition in it" in done.stderr


@pytest.mark.parametrize(("table", "fat"), [("mbr", 32), ("gpt", 16), ("none", 16), ("none", 32)])
@pytest.mark.parametrize("kept_mib", [1, 20, 63])
def test_an_image_that_is_cut_short_is_refused(
    desk: Desk, tmp_path: Path, table: str, fat: int, kept_mib: int
) -> None:
    image = stock_image(tmp_path / "card.img", table, fat)
    os.truncate(image, kept_mib * 2**20)
    cut_short(desk, image)


def test_an_image_that_is_cut_within_the_root_partition_is_refused(desk: Desk, tmp_path: Path) -> None:
    image = stock_image(tmp_path / "card.img")
    os.truncate(image, image.stat().st_size - 1)
    cut_short(desk, image)


def test_a_file_system_that_is_larger_than_its_partition_is_refused(desk: Desk, tmp_path: Path) -> None:
    image = stock_image(tmp_path / "card.img")
    with image.open("rb+") as file:
        # Only the boot partition in the table, which is smaller there.
        file.seek(446 + 12)
        file.write((2048).to_bytes(4, "little") + bytes(16))
        file.truncate(50 * 2**20)
    cut_short(desk, image)


def cut_short(desk: Desk, image: Path) -> None:
    before = hashlib.sha256(image.read_bytes()).digest()
    done = desk.prepare(image)
    size = image.stat().st_size
    assert done.returncode == 1
    assert re.fullmatch(
        rf"prepare-card: \S+card.img: is cut short: {size} of \d+ bytes; unpack it anew\n", done.stderr
    )
    assert hashlib.sha256(image.read_bytes()).digest() == before


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("losetup") is None, reason="needs root and losetup")
def test_a_device_that_lacks_a_part_is_refused(desk: Desk, tmp_path: Path) -> None:
    image = stock_image(tmp_path / "card.img")
    attach = ["losetup", "--find", "--show", "--sizelimit", str(50 * 2**20), str(image)]
    done = subprocess.run(attach, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device here: {done.stderr}")
    device = Path(done.stdout.strip())
    try:
        said = desk.prepare(device).stderr
    finally:
        subprocess.run(["losetup", "--detach", str(device)], check=True)
    assert f"{device}: is cut short: {50 * 2**20} of " in said
    assert "bytes; write it anew, or take a larger card" in said


def test_a_compressed_image_is_refused_with_the_command_that_unpacks_it(desk: Desk, tmp_path: Path) -> None:
    image = tmp_path / "raspios.img.xz"
    image.write_bytes(b"\xfd7zXZ\x00" + bytes(1000))
    assert f"unpack it first: xz -d -k {image}" in desk.prepare(image).stderr


def test_a_path_that_mtools_would_take_apart_is_refused(desk: Desk, tmp_path: Path) -> None:
    image = stock_image(tmp_path / "card.img").rename(tmp_path / "north@@door.img")
    done = desk.prepare(image)
    assert done.returncode == 1
    assert "north@@door.img: mtools cannot open a path with @@ in it; rename" in done.stderr


def test_a_card_that_is_too_small_stays_as_it_was(desk: Desk, tmp_path: Path) -> None:
    image = stock_image(tmp_path / "card.img")
    large = package(tmp_path, "health-gate", size=70 * 2**20)
    before = hashlib.sha256(image.read_bytes()).digest()
    done = desk.prepare(image, debs=str(large))
    assert done.returncode == 1
    assert re.search(r"has 6\d MiB free, and 7\d MiB are needed; take a fresh image\n$", done.stderr)
    library = package(tmp_path, "hg-library")
    done = desk.prepare(image, f"--debs={library}", debs=str(large))
    assert done.stderr.endswith(
        "leave dependencies out of --debs, the board then gets them from the network\n"
    )
    assert hashlib.sha256(image.read_bytes()).digest() == before


def test_a_card_that_is_full_is_told_how_little_is_needed(desk: Desk, tmp_path: Path) -> None:
    image = stock_image(tmp_path / "card.img")
    free = program().open_boot_partition(image).free_bytes()
    mtools("mcopy", image, "-", "::full", given=bytes(free - 100_000))
    assert "has 0 MiB free, and 1 MiB are needed; take a fresh image\n" in desk.prepare(image).stderr


# ---- What is on it -----------------------------------------------------------------------------------------


def test_the_configuration_is_one_that_the_gate_takes(desk: Desk, folder: Path) -> None:
    done = desk.prepare(folder, broker="broker.example:18883")
    assert "checked as `gate check-config` does it" in done.stdout
    text = (folder / "health-gate" / "gate.toml").read_text().replace("@ID@", "gate-1a2b3c4d")
    config = parse_config("gate.toml", tomllib.loads(text))
    assert (config.gate.site, config.gate.id) == ("county-hall", "gate-1a2b3c4d")
    assert (config.mqtt.host, config.mqtt.port) == ("broker.example", 18883)
    assert (config.pins.relay, config.camera.source) == (22, "picamera2")
    assert config.centre is not None


def test_the_issuers_keys_come_with_the_card(desk: Desk, folder: Path, tmp_path: Path) -> None:
    counter = public_key(tmp_path)
    done = desk.prepare(folder, trust=str(counter))
    assert "can verify no code" not in done.stdout
    text = (folder / "health-gate" / "gate.toml").read_text().replace("@ID@", "gate-1a2b3c4d")
    section = parse_config("gate.toml", tomllib.loads(text)).gate
    (there,) = section.trust_files
    assert re.fullmatch("/etc/gate/trust/.card-[0-9a-f]{8}/counter.toml", str(there))
    on_card = folder / "health-gate" / "trust-counter.toml"
    assert [key.issuer for key in load_trust([on_card]).keys] == ["county-hall"]
    assert on_card.name in (folder / "health-gate" / "card.sha256").read_text()
    # Another set goes to another folder: the old one serves until the new configuration does.
    counter.write_text(f"# renewed\n{counter.read_text()}")
    desk.prepare(folder, trust=str(counter))
    assert str(there) not in (folder / "health-gate" / "gate.toml").read_text()
    # Those that are no longer named may lie there still; they count no longer.
    assert "can verify no code" in desk.prepare(folder).stdout
    assert "\ntrust_files = []\n" in (folder / "health-gate" / "gate.toml").read_text()


def test_language_and_direction_stand_with_the_hardware(desk: Desk, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "hardware.toml"
    file.write_text(
        f'{HARDWARE}\n[gate]  # the way out\nlang = "en"\ndirection = "out"\n[presence]\nfar_cm = 90\n'
    )
    assert desk.prepare(folder, hardware=str(file)).returncode == 0
    text = (folder / "health-gate" / "gate.toml").read_text().replace("@ID@", "gate-1a2b3c4d")
    config = parse_config("gate.toml", tomllib.loads(text))
    assert (config.gate.lang, config.gate.direction, config.gate.site) == ("en", "out", "county-hall")
    assert (config.presence.far_cm, config.pins.relay, config.mqtt.host) == (90, 22, "broker.example")


def test_texts_as_some_editors_write_them_are_read(desk: Desk, folder: Path, tmp_path: Path) -> None:
    options = ("hardware", "token_file", "ca", "ssh_key")
    for option in options:
        plain = Path(str(desk.options[f"--{option.replace('_', '-')}"])).read_text()
        marked = b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode()
        (tmp_path / option).write_bytes(marked)
    done = desk.prepare(folder, **{option: str(tmp_path / option) for option in options})
    assert done.returncode == 0, done.stderr
    assert b"\xef\xbb\xbf" not in b"".join(contents(folder).values())
    assert (
        desk.prepare(folder, "--token-file=-", token_file=None, given=f"\ufeff{SECRET}\r\n").returncode == 0
    )
    assert (folder / "health-gate" / "token").read_text() == f"{SECRET}\n"


def test_issuers_files_that_the_gate_would_refuse_are_refused_here(
    desk: Desk, folder: Path, tmp_path: Path
) -> None:
    counter = public_key(tmp_path)
    assert "holds a private key" in refused(desk, folder, trust=str(tmp_path / "counter.pem"))
    (tmp_path / "list.json").write_text('{"neither": "this", "nor": "that"}')
    assert "--trust: list.json: is neither a signer" in refused(
        desk, folder, trust=str(tmp_path / "list.json")
    )
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n")
    said = refused(desk, folder, trust=str(tmp_path / "picture.png"))
    assert said == (
        "prepare-card: --trust: picture.png is no text; take keys in TOML, lists in JSON, or certificates "
        "(.pem .der .cer .crt)\n"
    )
    (tmp_path / "signer.der").write_bytes(b"\x30\x82\xff")
    assert "prepare-card: --trust: signer.der: " in refused(desk, folder, trust=str(tmp_path / "signer.der"))
    (tmp_path / "my keys.toml").write_text(counter.read_text())
    assert "name the file with letters" in refused(desk, folder, trust=str(tmp_path / "my keys.toml"))
    twin = Path(shutil.copy(counter, tmp_path / "counter.toml."))  # one file on FAT, which drops the dot
    assert "not '.' last" in refused(desk, folder, f"--trust={twin}", trust=str(counter))
    (tmp_path / "other").mkdir()
    twin = Path(shutil.copy(counter, tmp_path / "other" / "COUNTER.toml"))
    assert "have the same name" in refused(desk, folder, f"--trust={twin}", trust=str(counter))


def test_cloud_init_is_told_what_only_it_can_do(desk: Desk, folder: Path) -> None:
    wifi = str(desk.folder / "wifi")
    assert desk.prepare(folder, wifi='Ha"ll: #1', wifi_password_file=wifi).returncode == 0
    assert (folder / "user-data").read_text().startswith("#cloud-config\n")
    user_data = yaml.safe_load((folder / "user-data").read_text())
    assert user_data["preserve_hostname"] is True
    assert user_data["timezone"] == "Asia/Shanghai"
    assert user_data["ssh_pwauth"] is False
    assert user_data["user"]["ssh_authorized_keys"] == ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA ops@desk"]
    assert user_data["user"]["lock_passwd"] is True
    assert user_data["bootcmd"] == [["sh", "/boot/firmware/health-gate/gate-firstboot", "arm"]]
    network = yaml.safe_load((folder / "network-config").read_text())["network"]
    assert network["ethernets"]["eth0"] == {"dhcp4": True, "dhcp6": True, "optional": True}
    wlan = network["wifis"]["wlan0"]
    assert (wlan["optional"], wlan["regulatory-domain"]) == (True, "CN")
    assert re.fullmatch("[0-9a-f]{64}", wlan["access-points"]['Ha"ll: #1']["password"])
    assert b"correct horse" not in b"".join(contents(folder).values())


def test_the_wifi_key_is_that_of_the_standard() -> None:
    # IEEE 802.11-2020, annex J.4.2: the test vectors of the mapping.
    program()
    psk = sys.modules["card_files"].psk
    assert psk("password", "IEEE") == "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
    assert (
        psk("ThisIsAPassword", "ThisIsASSID")
        == "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af"
    )


def test_without_a_key_nobody_can_log_in(desk: Desk, folder: Path) -> None:
    assert desk.prepare(folder, ssh_key=None).returncode == 0
    user_data = yaml.safe_load((folder / "user-data").read_text())
    assert user_data["users"] == []
    assert "user" not in user_data


def test_the_checksums_hold_and_leave_out_the_token(desk: Desk, folder: Path) -> None:
    assert desk.prepare(folder).returncode == 0
    card = folder / "health-gate"
    listed = {line.split("  ")[1] for line in (card / "card.sha256").read_text().splitlines()}
    assert listed == {path.name for path in card.iterdir()} - {"token", "card.sha256"}
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "card.sha256"], cwd=card, check=True)
    assert not any("central" in name for name in listed)


def test_the_packages_follow_from_the_hardware(desk: Desk, folder: Path, tmp_path: Path) -> None:
    assert desk.prepare(folder).returncode == 0
    packages = (folder / "health-gate" / "packages").read_text()
    assert packages == "python3-picamera2\npython3-lgpio\n"
    other = tmp_path / "other.toml"
    other.write_text('[camera]\ndevice = "/dev/v4l/by-id/usb-x"\n[pins]\nfactory = "mock"\n')
    assert desk.prepare(folder, hardware=str(other)).returncode == 0
    assert (folder / "health-gate" / "packages").read_text() == "python3-opencv\n"


def test_the_kernel_keeps_its_command_line(desk: Desk, folder: Path) -> None:
    (folder / "cmdline.txt").write_bytes(
        STOCK["cmdline.txt"].strip() + b" ds=nocloud;i=rpi-imager-1700000000000"
    )
    assert desk.prepare(folder).returncode == 0
    stock = STOCK["cmdline.txt"].decode().strip()
    assert (folder / "cmdline.txt").read_text() == f"{stock} ds=nocloud;i={instance_id(folder)}\n"


def test_the_token_is_told_to_nobody(desk: Desk, folder: Path) -> None:
    done = desk.prepare(folder, "--token-file=-", token_file=None, given=f"{SECRET}\n")
    assert done.returncode == 0
    assert SECRET not in done.stdout + done.stderr
    holders = [name for name, content in contents(folder).items() if SECRET.encode() in content]
    assert holders == ["health-gate/token"]


def test_it_says_what_the_led_will_show(desk: Desk, folder: Path) -> None:
    said = desk.prepare(folder).stdout
    assert "3 flashes, pause       There is no time from the network yet." in said
    assert "steady                 The set-up is done; the gate serves." in said


def test_it_says_what_the_gate_will_lack(desk: Desk, folder: Path, tmp_path: Path) -> None:
    wired = tmp_path / "wired.toml"
    wired.write_text(f"{HARDWARE}fire = 12\n")
    whole = {"apt_source": f"{desk.folder}/health-gate.sources", "apt_key": f"{desk.folder}/health-gate.gpg"}
    whole |= {"hardware": str(wired)}
    lacks = desk.prepare(folder, ssh_key=None).stdout.splitlines()
    has = desk.prepare(folder, **whole).stdout.splitlines()
    for said in (
        "No --apt-source: this gate will refuse every update until it gets one.",
        "No --ssh-key: nobody can log in to this gate.",
        "No pins.fire: this gate will not hear of a fire.",
    ):
        assert (said in lacks, said in has) == (True, False), said


@pytest.mark.parametrize(
    ("hardware", "said"),
    [
        ('[camera]\nsource = "synthetic"\npath = "/tmp"\n', "camera"),
        ('[camera]\nsource = "folder"\npath = "/tmp"\n[pins]\nfactory = "mock"\n', "camera, pins"),
        ('[camera]\nsource = "picamera2"\n[thermometer]\nbus = "simulated"\n', "thermometer"),
        ('[simulation]\nworld_log = "/tmp/pulses.jsonl"\n', "hardware"),
    ],
)
def test_it_says_what_is_not_real(desk: Desk, folder: Path, tmp_path: Path, hardware: str, said: str) -> None:
    file = tmp_path / "hardware.toml"
    file.write_text(hardware)
    sentence = f"No real {said}: this card is for trying out, never for a door."
    assert sentence in desk.prepare(folder, hardware=str(file)).stdout.splitlines()
    assert "No real" not in desk.prepare(folder).stdout


def test_the_last_line_says_what_to_do_with_what_holds_the_token(
    desk: Desk, folder: Path, tmp_path: Path
) -> None:
    image = desk.prepare(stock_image(tmp_path / "card.img")).stdout.splitlines()[-1]
    assert image == "The image is ready. It holds the token: write it to the card, then delete both."
    mounted = desk.prepare(folder).stdout.splitlines()[-1]
    assert mounted == (
        "The card is ready. It holds the token: unmount it and put it into the board, "
        "then delete the token's file."
    )


# ---- Again -------------------------------------------------------------------------------------------------


def test_a_second_run_changes_nothing(desk: Desk, folder: Path) -> None:
    assert desk.prepare(folder).returncode == 0
    before = contents(folder)
    done = desk.prepare(folder)
    assert contents(folder) == before
    assert "wrote" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("Nothing changed. The card is ready.")


@pytest.mark.parametrize(
    "changed",
    [{"time_zone": "Asia/Urumqi"}, {"site": "school"}, {"ssh_key": None}, {"broker": "b.example:1884"}],
    ids=lambda changed: next(iter(changed)),
)
def test_whatever_changes_gives_a_new_instance_id(
    desk: Desk, folder: Path, changed: dict[str, str | None]
) -> None:
    desk.prepare(folder)
    first = instance_id(folder)
    assert desk.prepare(folder, **changed).returncode == 0
    assert instance_id(folder) != first
    assert desk.prepare(folder).returncode == 0
    assert instance_id(folder) == first


def test_a_second_run_says_what_counts_no_longer(desk: Desk, folder: Path) -> None:
    said = "thermometer.offset_cc, counts no longer"
    assert said not in desk.prepare(folder).stdout
    assert said not in desk.prepare(folder).stdout, "nothing has changed, so nothing is done anew"
    assert said in desk.prepare(folder, time_zone="Asia/Urumqi").stdout


def test_a_newer_package_takes_the_place_of_the_older_one(desk: Desk, folder: Path, tmp_path: Path) -> None:
    desk.prepare(folder)
    newer = package(tmp_path, "health-gate", "0.2.0")
    assert desk.prepare(folder, debs=str(newer)).returncode == 0
    sums = (folder / "health-gate" / "card.sha256").read_text()
    assert "health-gate_0.2.0_all.deb" in sums
    assert "health-gate_0.1.0_all.deb" not in sums


# ---- What is refused, before anything is written -----------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"site": "county hall"}, "--site: 'county hall'"),
        ({"site": "a" * 33}, "32 at most"),
        ({"centre": "http://centre.example:8884"}, "must begin with https://"),
        ({"centre": "https://centre.example"}, "say the port of [enrolment], such as :8884"),
        ({"centre": "https://user:pw@centre.example"}, "--centre:"),
        ({"centre": "https://centre,example:8884"}, "--centre:"),
        ({"centre": "https://centre.example:8884#x"}, "--centre:"),
        ({"centre": 'https://centre.example"\nx = 1'}, "--centre:"),
        ({"broker": "broker.example:70000"}, "--broker:"),
        ({"broker": "mqtt://broker.example"}, "--broker:"),
        ({"broker": "broker,example"}, "--broker: 'broker,example' is no host"),
        ({"broker": "broker..example"}, "--broker:"),
        ({"broker": "broker-.example"}, "--broker:"),
        ({"broker": "192.0.2.300"}, "--broker:"),
        ({"broker": "[2001:db8::x]"}, "--broker:"),
        ({"broker": "broker.example:0"}, "--broker:"),
        ({"time_zone": "Asia/Peking"}, "--time-zone:"),
        ({"wifi": "hall"}, "--wifi and --wifi-password-file"),
        ({"wifi": "hall", "wifi_password_file": "TOO_SHORT"}, "--wifi-password-file:"),
        ({"wifi_country": "China"}, "--wifi-country:"),
        ({"policy": "no-such-plan"}, "no such plan"),
        ({"policy": "my.toml"}, "'my.toml' is a file, and a card brings no plan of one's own"),
        ({"policy": "plans/my"}, "send yours later: central command policy SITE GATE --file PLAN.toml"),
        ({"debs": None}, "nothing to install the gate from"),
        ({"apt_source": "health-gate.sources"}, "--apt-source and --apt-key are given together"),
        ({"apt_source": "EXAMPLE", "apt_key": "health-gate.gpg"}, "still has the address of the example"),
        ({"apt_source": "OTHERS", "apt_key": "health-gate.gpg"}, "must say Types, URIs, Suites, Signed-By"),
        ({"apt_source": "EMPTY", "apt_key": "health-gate.gpg"}, "must say Types, URIs, Suites, Signed-By"),
        ({"apt_source": "FOREIGN", "apt_key": "health-gate.gpg"}, "Signed-By must be /usr/share/keyrings"),
        ({"apt_source": "health-gate.sources", "apt_key": "NO_BYTES"}, "--apt-key: holds no public key"),
        ({"apt_source": "health-gate.sources", "apt_key": "OTHERS"}, "--apt-key: holds no public key"),
        ({"apt_source": "health-gate.sources", "apt_key": "ARMOURED"}, "--apt-key: is text"),
        ({"token_file": "EMPTY"}, "--token-file: has no token"),
        ({"ca": "EMPTY"}, "--ca: holds no certificate"),
        ({"ca": "NO_BYTES"}, "--ca: holds no certificate"),
        ({"ca": "LEAF"}, "--ca: is no authority; take ca.pem"),
        ({"ca": "BUNDLE"}, "--ca: holds 2 certificates; take ca.pem of the centre"),
        ({"ca": "ca.key"}, "holds a private key"),
        ({"ssh_key": "ca.key"}, "--ssh-key: is no public key"),
        ({"hardware": "NOWHERE"}, "NOWHERE: no such file"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_cannot_work_is_refused(
    desk: Desk, folder: Path, changed: dict[str, str | None], said: str
) -> None:
    (desk.folder / "EMPTY").write_text("\n")
    (desk.folder / "TOO_SHORT").write_text("1234567\n")
    (desk.folder / "OTHERS").write_text("URIs: https://packages.invalid\n")
    (desk.folder / "FOREIGN").write_text(SOURCE.replace("health-gate.gpg", "other.gpg"))
    (desk.folder / "NO_BYTES").touch()
    (desk.folder / "other").mkdir(exist_ok=True)
    other = Authority(desk.folder / "other")
    shutil.copy(other.issue("broker")[0], desk.folder / "LEAF")
    (desk.folder / "BUNDLE").write_bytes((desk.folder / "ca.pem").read_bytes() + other.ca_file.read_bytes())
    (desk.folder / "ARMOURED").write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    shutil.copy(ROOT / "deploy/apt/health-gate.sources", desk.folder / "EXAMPLE")
    files = {"ca", "token_file", "wifi_password_file", "ssh_key", "hardware", "apt_source", "apt_key"}
    named = {
        name: f"{desk.folder}/{value}" if name in files and value else value
        for name, value in changed.items()
    }
    assert said in refused(desk, folder, **named)


@pytest.mark.parametrize(
    "broker", ["broker", "gate_net.example", "192.0.2.3", "[2001:db8::1]:8883", "经纪.example"]
)
def test_whatever_is_a_host_is_taken(desk: Desk, folder: Path, broker: str) -> None:
    assert (
        desk.prepare(folder, broker=broker, centre=f"https://{broker.removesuffix(':8883')}:8884").returncode
        == 0
    )


def test_a_repository_file_of_another_kind_is_told_once(desk: Desk, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("one\n\ntwo\n\nthree\n")
    said = refused(desk, folder, apt_source=str(other), apt_key=f"{desk.folder}/health-gate.gpg")
    assert said.count("\n") == said.count("--apt-source: must say Types") == 1


def test_the_repository_comes_with_the_card(desk: Desk, folder: Path) -> None:
    names = {"apt_source": "health-gate.sources", "apt_key": "health-gate.gpg"}
    files = {option: f"{desk.folder}/{name}" for option, name in names.items()}
    assert "No --apt-source" not in desk.prepare(folder, **files).stdout
    assert (folder / "health-gate" / "health-gate.sources").read_text() == SOURCE
    assert (folder / "health-gate" / "health-gate.gpg").read_bytes() == KEY


def test_packages_that_cannot_be_installed_are_refused(desk: Desk, folder: Path, tmp_path: Path) -> None:
    good = package(tmp_path / "good", "health-gate")
    foreign = package(tmp_path / "foreign", "hello").rename(tmp_path / "health-gate_9_all.deb")
    assert f"{foreign.name} is called like the gate's package, and is hello" in refused(
        desk, folder, debs=str(foreign)
    )
    cut = tmp_path / "health-gate_0.1.0_all.deb"
    cut.write_bytes(good.read_bytes()[:-5000])
    assert f"{cut.name} is damaged or cut short" in refused(desk, folder, debs=str(cut))
    package(tmp_path / "good", "health-gate", "0.2.0")
    assert "health-gate_0.1.0_all.deb and health-gate_0.2.0_all.deb: take one version" in refused(
        desk, folder, debs=str(good.parent)
    )


def test_a_package_may_be_called_as_people_like(desk: Desk, folder: Path, tmp_path: Path) -> None:
    renamed = package(tmp_path, "health-gate").rename(tmp_path / "hg.deb")
    assert desk.prepare(folder, debs=str(renamed)).returncode == 0
    assert (folder / "health-gate" / "hg.deb").exists()


def test_packages_without_the_gates_are_refused(desk: Desk, folder: Path, tmp_path: Path) -> None:
    whole = {"apt_source": f"{desk.folder}/health-gate.sources", "apt_key": f"{desk.folder}/health-gate.gpg"}
    central = desk.folder / "debs" / "health-gate-central_0.1.0_all.deb"
    (tmp_path / "trust").mkdir()
    library = package(tmp_path / "library", "hg-library")
    for named, source in ((central, {}), (central, whole), (tmp_path / "trust", whole), (library, {})):
        said = refused(desk, folder, debs=str(named), **source)
        assert said == f"prepare-card: --debs: no health-gate package in {named}\n"
    assert desk.prepare(folder, debs=None, **whole).returncode == 0
    assert desk.prepare(folder, debs=str(library), **whole).returncode == 0, "what the gate needs"


def test_the_centres_package_stays_off_the_card_whatever_it_is_called(
    desk: Desk, folder: Path, tmp_path: Path
) -> None:
    central = package(tmp_path, "health-gate-central").rename(tmp_path / "gate.deb")
    assert desk.prepare(folder, f"--debs={central}").returncode == 0
    assert not (folder / "health-gate" / "gate.deb").exists()


def test_without_dpkg_deb_it_says_that_packages_are_not_checked(
    desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "packages: NOT checked" not in desk.prepare(folder).stdout
    monkeypatch.setenv("PATH", "/nowhere")
    assert "packages: NOT checked (dpkg-deb is missing)" in desk.prepare(folder).stdout


def test_a_missing_file_is_told_with_its_option(desk: Desk, folder: Path, tmp_path: Path) -> None:
    for option in ("ca", "token_file", "hardware", "debs", "ssh_key", "apt_source", "apt_key"):
        name = f"--{option.replace('_', '-')}"
        assert f"{name}: nix: no such file" in refused(desk, folder, **{option: "nix"})
    without = "; without keys leave --trust out"
    assert f"--trust: trust/*: no such file{without}" in refused(desk, folder, trust="trust/*")
    assert f"is a folder, name the files in it{without}" in refused(desk, folder, trust=str(tmp_path))


def test_a_login_key_among_the_issuers_is_told(desk: Desk, folder: Path) -> None:
    said = refused(desk, folder, trust=str(desk.folder / "ops.pub"))
    assert (
        said
        == "prepare-card: --trust: ops.pub is a key for logging in, not an issuer's; name it with --ssh-key\n"
    )


def test_the_parts_that_may_be_wired_are_those_of_the_gate() -> None:
    program()
    assert {*sys.modules["card_files"].PARTS, "factory"} == {field.name for field in fields(PinsSection)}


def test_every_problem_is_told_at_once(desk: Desk, folder: Path) -> None:
    said = refused(desk, folder, site="a b", broker=":1", time_zone="Mars")
    assert [line.split(":")[1].strip() for line in said.splitlines()] == ["--site", "--broker", "--time-zone"]


@pytest.mark.parametrize(
    ("hardware", "said"),
    [
        ("[pins]\nrelay = 4\n", "pins.relay: 4 is not one of BCM 9 to 27"),
        ("[pins]\nrelay = 14\n", "BCM 14 carries the serial console"),
        ("[pins]\ngreen = 15\n", "BCM 15 carries the serial console"),
        ("[pins]\nrelay = 17\npassage = 17\n", "BCM 17 is used for relay and passage"),
        ("[pins]\nrelais = 17\n", "pins.relais: unknown key, did you mean relay\n"),
        ("[mqtt]\nhost = 'x'\n", "[mqtt] is written by this program"),
        ("[gate]\nsite = 'x'\n", "gate.site is written by this program"),
        ("gate.lang = 'en'\n", "below a line [gate]"),
        ("state_dir = '/mnt/usb'\n", "state_dir stands above the first table"),
        ("trust_files = ['/mnt/usb']\n[pins]\n", "trust_files stands above the first table"),
        ("pins.relay = 22\n", "pins stands above the first table"),
        ("pins = {relay = 22}\n[gate]\nlang = 'en'\n", "pins stands above the first table"),
        ("[gate]\nlang = 'fr'\n", "gate.lang"),
        ("[pins\n", "--hardware:"),
        ('[camera]\nsource = "v4l2"\n', "camera.device: is required"),
    ],
)
def test_hardware_that_the_gate_would_refuse_is_refused_here(
    desk: Desk, folder: Path, tmp_path: Path, hardware: str, said: str
) -> None:
    file = tmp_path / "hardware.toml"
    file.write_text(hardware if "camera" in hardware else f"{hardware}[camera]\nsource = 'picamera2'\n")
    assert said in refused(desk, folder, hardware=str(file))


def test_the_file_that_is_at_fault_is_named(desk: Desk, folder: Path, tmp_path: Path) -> None:
    counter = public_key(tmp_path)
    assert refused(desk, folder, hardware=str(counter)).startswith(f"prepare-card: --hardware: {counter}: ")


@pytest.mark.parametrize("wrong", ["[[camera]]", "[[pins]]", "[camera]\nsource = []"])
def test_a_table_of_another_kind_is_left_to_the_gate(
    desk: Desk, folder: Path, tmp_path: Path, wrong: str
) -> None:
    file = tmp_path / "hardware.toml"
    file.write_text(f"{wrong}\n")
    assert f"--hardware: {file}: " in refused(desk, folder, hardware=str(file))


def test_a_pin_that_another_bus_has_taken_is_refused(desk: Desk, tmp_path: Path) -> None:
    spi = STOCK["config.txt"].replace(b"dtparam=audio=on", b"dtparam=spi=on")
    folder = stock_folder(tmp_path / "spi")
    (folder / "config.txt").write_bytes(spi)
    file = tmp_path / "hardware.toml"
    file.write_text(HARDWARE.replace("relay = 22", "relay = 10"))
    assert "BCM 10 is taken by dtparam=spi=on" in refused(desk, folder, hardware=str(file))


def test_an_image_without_cloud_init_is_refused_with_what_to_take(desk: Desk, tmp_path: Path) -> None:
    bookworm = stock_folder(tmp_path / "bookworm", without=("user-data", "meta-data"))
    assert "take a later image of Raspberry Pi OS Lite" in refused(desk, bookworm)
    assert "this is not the boot partition" in refused(
        desk, stock_folder(tmp_path / "usb", without=("cmdline.txt",))
    )


def test_what_an_old_imager_has_done_is_refused(desk: Desk, folder: Path) -> None:
    (folder / "cmdline.txt").write_bytes(STOCK["cmdline.txt"].strip() + b" systemd.run=/boot/firstrun.sh\n")
    assert "old Imager" in refused(desk, folder)


def test_somebody_elses_settings_are_replaced_only_on_demand(desk: Desk, folder: Path) -> None:
    (folder / "user-data").write_text("#cloud-config\nhostname: mine\n")
    assert "--force replaces them" in refused(desk, folder)
    assert desk.prepare(folder, "--force").returncode == 0
    assert "mine" not in (folder / "user-data").read_text()


def test_the_help_names_every_file_and_example() -> None:
    said = subprocess.run(
        [sys.executable, str(PREPARE_CARD), "--help"], check=True, capture_output=True, text=True
    )
    assert "example, a card for the site county-hall" in said.stdout
    assert (ROOT / "deploy" / "gate.example.toml").exists()


def test_a_mounted_device_is_refused_with_its_folder() -> None:
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    devices = [path for source, *_ in mounts if (path := Path(source)).is_block_device()]
    if not devices:
        pytest.skip("nothing is mounted here from a block device that can be seen")
    with pytest.raises(program().CardError, match="is mounted; name the folder"):
        program().open_boot_partition(devices[0])


def test_the_listing_of_the_card_is_whole(desk: Desk, tmp_path: Path) -> None:
    image = stock_image(tmp_path / "card.img")
    desk.prepare(image)
    checker = require("fsck.vfat", "dosfstools")
    partition = tmp_path / "boot.fat"
    partition.write_bytes(image.read_bytes()[8 * 2**20 :][: 64 * 2**20])
    done = subprocess.run([checker, "-n", str(partition)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert b"gate-firstboot" in mtools("mdir", image, "-b", "::health-gate")


# ---- What else lies beside it ------------------------------------------------------------------------------


def test_the_imager_never_customises_a_prepared_image() -> None:
    """Fields and formats: doc/json-schema/os-list-schema.json, doc/os_customisation_formats.md."""
    manifest = json.loads((PREPARE_CARD.parent / "imager-manifest.json").read_text())
    devices = {tag for device in manifest["imager"]["devices"] for tag in device["tags"]}
    formats = {}
    for entry in manifest["os_list"]:
        assert entry.keys() >= {"name", "description", "icon", "url", "extract_size", "extract_sha256"}
        assert entry.keys() >= {"image_download_size", "release_date"}
        assert set(entry["devices"]) <= devices
        formats["prepared" in entry["name"]] = entry["init_format"]
    assert formats == {True: "none", False: "cloudinit-rpi"}


def test_every_yaml_file_can_be_read() -> None:
    found = list((ROOT / "deploy" / "rpi-image-gen").rglob("*.yaml"))
    assert len(found) == 2
    for path in found:
        assert isinstance(yaml.safe_load(path.read_text().split("# METAEND\n---\n")[-1]), dict)


def test_the_page_can_be_followed(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hardware file and the command as they stand in docs/flashing.md, with the files that it names."""
    page = (ROOT / "docs" / "flashing.md").read_text("utf-8")
    shown = dict(re.findall(r"^ *```(toml|sh)\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL))
    place = Path(shutil.copytree(desk.folder, tmp_path / "pc"))
    (place / "north-door.toml").write_text(shown["toml"])
    (place / "trust").mkdir()
    shutil.move(public_key(place), place / "trust")
    (place / "build").mkdir()
    (place / "debs").rename(place / "build" / "deb")
    python, script, image, *words = shlex.split(shown["sh"].replace("\\\n", ""))
    assert (python, ROOT / script) == (".venv/bin/python", PREPARE_CARD)
    stock_image(place / image)
    monkeypatch.chdir(place)
    expanded = [str(found) for word in words for found in (Path().glob(word) if "*" in word else [word])]
    assert program().main([image, *expanded]) == 0
    assert "checked as `gate check-config` does it\n" in (said := capsys.readouterr().out)
    assert not re.search("^No ", said, re.MULTILINE), "a gate that lacks something"
    assert mtools("mtype", place / image, "::health-gate/health-gate.gpg") == KEY
