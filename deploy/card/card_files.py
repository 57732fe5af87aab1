"""What goes on a card: every file of the boot partition that makes a stock image a gate.

Nothing here reads or writes the card; `compose` tells all that is wrong at once, before anything is written.
"""

import difflib
import hashlib
import ipaddress
import json
import re
import shutil
import ssl
import subprocess
import tomllib
import zoneinfo
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from string import Template
from typing import Any, Final
from urllib.parse import urlsplit

from boot_partition import CardError

DEPLOY: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = "health-gate"
MARK: Final = "Written by prepare-card"
BEGIN: Final = "# health-gate: begin, written by prepare-card"
END: Final = "# health-gate: end"
TRUST: Final = "trust-"  # begins the names of the issuers' files, which may be called like one of ours
# Begins the folder to which the first boot copies them. Hidden: whoever names /etc/gate/trust itself among
# trust_files means what people have put there, and a key that is listed twice is refused.
TRUST_ON_BOARD: Final = "/etc/gate/trust/.card-"
STATIC: Final = ("gate-firstboot", "gate-firstboot.service", "led-states")

ALLOWED_PINS: Final = range(9, 28)  # as drivers.pins: pulled down while the board starts
RELAY: Final = 17  # as gate.config.PinsSection, which may not be importable here
OUTPUTS: Final = ("relay", "green", "yellow", "red", "buzzer", "distance_trigger")
PARTS: Final = (
    *OUTPUTS, "passage", "fire", "beam", "distance_echo", "confirm", "refuse", "mask_on", "mask_off",
)  # fmt: skip
CONSOLE_PINS: Final = (14, 15)
_TAKEN_BY: Final = {"dtparam=spi=on": (9, 10, 11), "dtparam=i2s=on": (18, 19, 20, 21)}

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{20,200}")
_HOST: Final = re.compile(r"\w([\w-]{0,61}\w)?(\.\w([\w-]{0,61}\w)?)*")
_TRUST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")  # FAT drops a last "."
_CERTIFICATES: Final = (".pem", ".der", ".cer", ".crt")  # as gate.trust_files takes them, text or not
_DEB: Final = re.compile(r"[a-z0-9][A-Za-z0-9.+~_%-]*\.deb")
_PUBLIC_KEY: Final = re.compile(r"(ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/=]+( [^\r\n]*)?")
_CAMERA_PACKAGES: Final = {"v4l2": "python3-opencv", "picamera2": "python3-picamera2"}
_OWN_TABLES: Final = ("mqtt", "centre")
_OWN_KEYS: Final = ("site", "id", "policy", "state_dir", "trust_files")
_KEYRING: Final = "/usr/share/keyrings/health-gate.gpg"
_SOURCE_FIELDS: Final = ("types", "uris", "suites", "signed-by")
_SOURCE_FIELD: Final = re.compile(r"^([A-Za-z-]+):[ \t]*(?:\n[ \t]+)?(\S.*)$", re.MULTILINE)
_OPENPGP_KEY: Final = (b"\x98", b"\x99", b"\x9a", b"\xc6")  # begins a public key (RFC 9580, 4.2 and 5.5.1.1)
_GATE: Final = re.compile(r"^[ \t]*\[[ \t]*gate[ \t]*\].*$", re.MULTILINE)

Card = Callable[[str], bytes | None]
"""Reads a file of the boot partition as it is now; None if it is not there."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the person at the desk has chosen; file contents are as they were read."""

    site: str
    centre: str
    ca: str
    token: str = field(repr=False)
    broker: str
    policy: str = "township-routine"
    trust: Mapping[str, bytes] = field(default_factory=dict)
    time_zone: str = "Asia/Shanghai"
    ssh_keys: str = ""
    wifi: str = ""
    wifi_password: str = field(default="", repr=False)
    wifi_country: str = "CN"
    debs: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    # What --debs has named, for messages; "" where it was not given.
    debs_from: str = ""
    apt_source: str | None = None
    apt_key: bytes | None = None
    hardware: str = ""


def compose(choices: Choices, card: Card, *, overwrite: bool = False) -> dict[str, bytes]:
    """Return the files of the boot partition by name, in the order in which they are to be written.

    `overwrite` allows to replace a user-data that somebody else has written. Raises CardError with every
    problem, one in a line.
    """
    problems = [*_image_problems(card, overwrite=overwrite), *_problems(choices, _active_lines(card))]
    if problems:
        raise CardError("\n".join(problems))
    own = {f"{FOLDER}/{name}": content for name, content in _own_files(choices).items()}
    cloud = {"user-data": _user_data(choices), "network-config": _network_config(choices)}
    instance_id = _instance_id({**own, **cloud})
    # meta-data comes last: with its new id cloud-init looks at all the rest, which must be there by then.
    return {
        **own,
        **cloud,
        "config.txt": config_txt(_text(card, "config.txt"), pins_of(choices.hardware)).encode("latin-1"),
        "cmdline.txt": _cmdline(_text(card, "cmdline.txt"), instance_id).encode("latin-1"),
        "meta-data": _template("meta-data", instance_id=instance_id),
    }


# ---- What is wrong -----------------------------------------------------------------------------------------


def _image_problems(card: Card, *, overwrite: bool) -> Iterator[str]:
    """Yield why this is no image that a gate can be made of, or should not be."""
    missing = [name for name in ("config.txt", "cmdline.txt") if card(name) is None]
    if missing:
        yield f"{' and '.join(missing)} missing: this is not the boot partition of Raspberry Pi OS"
        return
    user_data = card("user-data")
    if user_data is None or card("meta-data") is None:
        yield (
            "user-data or meta-data missing: this image is not set up by cloud-init. Bookworm and the first "
            "Trixie image (2025-10-01) are not; take a later image of Raspberry Pi OS Lite, 64 bit"
        )
    elif not overwrite and not _is_ours_to_replace(user_data.decode("utf-8", "replace")):
        yield "user-data holds somebody else's settings; --force replaces them"
    if "systemd.run=" in _text(card, "cmdline.txt"):
        yield (
            "cmdline.txt holds what an old Imager (1.x) has put there, which this system cannot run; write "
            "the image anew, without customisation"
        )


def _is_ours_to_replace(user_data: str) -> bool:
    """Tell the stock file, which has comments only, and what an earlier run has written."""
    lines = (line.strip() for line in user_data.splitlines())
    return MARK in user_data or all(not line or line.startswith("#") for line in lines)


def _problems(choices: Choices, config_lines: set[str]) -> Iterator[str]:
    if not _NAME.fullmatch(choices.site):
        yield f"--site: {choices.site!r} may only have letters, digits, '-' and '_', 32 at most"
    yield from _address_problems(choices)
    yield from _secret_problems(choices)
    yield from _policy_problems(choices.policy)
    if choices.time_zone not in zoneinfo.available_timezones():
        yield f"--time-zone: there is no {choices.time_zone!r}; names are such as Asia/Shanghai"
    for line in choices.ssh_keys.splitlines():
        if line.strip() and not line.startswith("#") and not _PUBLIC_KEY.fullmatch(line.strip()):
            yield "--ssh-key: is no public key; take the file whose name ends in .pub"
            break
    yield from _trust_problems(choices.trust)
    yield from _wifi_problems(choices)
    yield from _package_problems(choices)
    yield from _hardware_problems(choices.hardware, config_lines)


def _policy_problems(policy: str) -> Iterator[str]:
    if "/" in policy or policy.endswith(".toml"):
        yield (
            f"--policy: {policy!r} is a file, and a card brings no plan of one's own; take one that comes "
            "with the gate, and send yours later: central command policy SITE GATE --file PLAN.toml --by WHO"
        )
        return
    known = {file.stem for file in (DEPLOY.parent / "gate" / "policies").glob("*.toml")}
    if known and policy not in known:
        yield f"--policy: no such plan: {policy!r}; there are {', '.join(sorted(known))}"


def _address_problems(choices: Choices) -> Iterator[str]:
    url = _split(choices.centre)
    if url is None or choices.centre.rstrip("/").count("/") > 2:
        yield f"--centre: {choices.centre!r} is no address such as https://centre.example:8884"
    elif url[0] != "https":
        yield f"--centre: {choices.centre!r} must begin with https://"
    elif url[2] is None:
        yield f"--centre: {choices.centre!r}: say the port of [enrolment], such as :8884"
    if broker_address(choices.broker) is None:
        yield f"--broker: {choices.broker!r} is no host such as broker.example or broker.example:8883"


def _split(url: str) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port of an address, None if it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    if not _is_host(host) or port == 0 or re.search(r"[\s\"'\\@?#]", url):
        return None
    return parts.scheme, host, port


def _is_host(name: str) -> bool:
    """Tell a name, in any script, and an address of IPv4 or IPv6."""
    if ":" in name or name.rpartition(".")[2].isdigit():
        try:
            return bool(ipaddress.ip_address(name))
        except ValueError:
            return False
    return _HOST.fullmatch(name) is not None


def broker_address(broker: str) -> tuple[str, int] | None:
    """Return host and port (8883 if none is named) of HOST[:PORT], None if it is no such thing."""
    split = _split(f"mqtts://{broker}")
    if split is None or "/" in broker:
        return None
    return split[1], split[2] or 8883


def _secret_problems(choices: Choices) -> Iterator[str]:
    if not _TOKEN.fullmatch(choices.token):
        yield "--token-file: has no token; it is the one line that `central enrol token` prints"
    if "PRIVATE KEY" in choices.ca:
        yield "--ca: holds a private key, which must never lie on a card; take ca.pem alone"
        return
    try:
        # "" would mean that none is given.
        held = ssl.create_default_context(cadata=choices.ca or "\n").cert_store_stats()
    except (ssl.SSLError, ValueError):
        yield "--ca: holds no certificate in PEM form; take ca.pem as `central init` makes it"
        return
    if not held["x509_ca"]:
        yield "--ca: is no authority; take ca.pem as `central init` makes it"
    elif held["x509"] > 1:
        yield f"--ca: holds {held['x509']} certificates; take ca.pem of the centre, which holds its own alone"


def _trust_problems(files: Mapping[str, bytes]) -> Iterator[str]:
    """Yield what a PC without the gate's libraries can see; the rest is the business of gate.trust_files."""
    for name, content in files.items():
        if not _TRUST.fullmatch(name):
            yield f"--trust: {name!r}: name the file with letters, digits, '_', '-' and '.', not '.' last"
        if not name.lower().endswith(_CERTIFICATES) and not _is_text(content):
            yield (
                f"--trust: {name} is no text; take keys in TOML, lists in JSON, or certificates "
                f"({' '.join(_CERTIFICATES)})"
            )
        if b"PRIVATE KEY" in content:
            yield f"--trust: {name} holds a private key; take the public one (gate pass key prints it)"
        lines = content.decode("utf-8", "replace").splitlines()
        if any(_PUBLIC_KEY.fullmatch(line.strip()) for line in lines):
            yield f"--trust: {name} is a key for logging in, not an issuer's; name it with --ssh-key"


def _is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _wifi_problems(choices: Choices) -> Iterator[str]:
    if bool(choices.wifi) != bool(choices.wifi_password):
        yield "--wifi and --wifi-password-file are given together or not at all"
    elif choices.wifi:
        if len(choices.wifi.encode()) > 32 or not choices.wifi.isprintable():
            yield "--wifi: a name has 32 bytes at most"
        if not re.fullmatch(r"[ -~]{8,63}|[0-9a-fA-F]{64}", choices.wifi_password):
            yield "--wifi-password-file: must be 8 to 63 letters, digits and signs (WPA2), or 64 hex digits"
    if not re.fullmatch(r"[A-Z]{2}", choices.wifi_country):
        yield f"--wifi-country: {choices.wifi_country!r} is no country such as CN"


def _package_problems(choices: Choices) -> Iterator[str]:
    inside = {name: package_of(name, content) for name, content in choices.debs.items()}
    for name, package in inside.items():
        if not _DEB.fullmatch(name) or not choices.debs[name].startswith(b"!<arch>\ndebian-binary"):
            yield f"--debs: {name} is no Debian package"
        elif not package:
            yield f"--debs: {name} is damaged or cut short; copy it anew"
        elif name.startswith("health-gate_") and package != "health-gate":
            yield f"--debs: {name} is called like the gate's package, and is {package}"
    if len(gates := [name for name, package in inside.items() if package == "health-gate"]) > 1:
        yield f"--debs: {' and '.join(gates)}: take one version of health-gate alone"
    yield from _repository_problems(choices)
    # With a repository the card may bring what the gate needs, and no gate.
    enough = bool(choices.debs) and choices.apt_source is not None
    # One that is damaged may have been the gate's.
    if choices.debs_from and not gates and not enough and all(inside.values()):
        yield f"--debs: no health-gate package in {choices.debs_from}"
    elif choices.apt_source is None and not gates:
        yield "nothing to install the gate from: give its package (--debs) or a repository (--apt-source)"


def _repository_problems(choices: Choices) -> Iterator[str]:
    if (choices.apt_key is None) != (choices.apt_source is None):
        yield "--apt-source and --apt-key are given together: what the key has not signed is not installed"
    if choices.apt_source is not None:
        yield from dict.fromkeys(_source_problems(choices.apt_source))
    if choices.apt_key is not None:
        yield from _key_problems(choices.apt_key)


@cache
def package_of(file: str, content: bytes) -> str:
    """Return what a package calls itself, "" if it is damaged; without dpkg-deb what its file is called."""
    program = shutil.which("dpkg-deb")
    if program is None:
        return file.partition("_")[0]
    listed, named = (
        subprocess.run(  # noqa: S603 - dpkg-deb, with the file as its standard input
            (program, *words), input=content, capture_output=True, check=False
        )
        for words in (("--contents", "-"), ("--field", "-", "Package"))
    )
    return named.stdout.decode(errors="replace").strip() if listed.returncode == 0 else ""


def _source_problems(source: str) -> Iterator[str]:
    """Yield what is wrong with a .sources file (sources.list(5), deb822), each of its parts."""
    if "packages.example" in source:
        yield "--apt-source: still has the address of the example; write that of your repository"
    text = "\n".join(line for line in source.splitlines() if not line.startswith("#"))
    for part in re.split(r"\n(?:[ \t]*\n)+", text.strip()):
        said = {name.lower(): value.strip() for name, value in _SOURCE_FIELD.findall(part)}
        if not said.keys() >= set(_SOURCE_FIELDS):
            yield "--apt-source: must say Types, URIs, Suites, Signed-By, like deploy/apt/health-gate.sources"
        elif said["signed-by"] != _KEYRING:
            yield f"--apt-source: Signed-By must be {_KEYRING}, where the key of --apt-key goes"


def _key_problems(key: bytes) -> Iterator[str]:
    if key.lstrip().startswith(b"-----BEGIN"):
        yield "--apt-key: is text, which apt does not take here; make it binary: gpg --dearmor"
    elif not key.startswith(_OPENPGP_KEY):
        yield "--apt-key: holds no public key; take health-gate.gpg as make-repository writes it"


def _hardware_problems(hardware: str, config_lines: set[str]) -> Iterator[str]:
    """Yield what is wrong with the part of gate.toml that tells the hardware; pins most of all."""
    try:
        tables = tomllib.loads(hardware)
    except tomllib.TOMLDecodeError as error:
        yield f"--hardware: {error}"
        return
    for name in _OWN_TABLES:
        if name in tables:
            yield f"--hardware: [{name}] is written by this program; leave the table out"
    yield from _place_problems(hardware)
    yield from _gate_problems(hardware, tables.get("gate"))
    yield from _pin_name_problems(tables.get("pins"))
    taken = {pin: line for line, pins in _TAKEN_BY.items() if line in config_lines for pin in pins}
    wired = pins_of(hardware)
    for pin, times in Counter(wired.values()).items():
        if times > 1:
            names = " and ".join(part for part, number in wired.items() if number == pin)
            yield f"--hardware: BCM {pin} is used for {names}"
    for part, pin in wired.items():
        place = f"--hardware: pins.{part}"
        if pin not in ALLOWED_PINS:
            yield f"{place}: {pin} is not one of BCM 9 to 27, which stay low while the board starts"
        elif pin in CONSOLE_PINS:
            yield f"{place}: BCM {pin} carries the serial console, which would switch it; take another"
        elif pin in taken:
            yield f"{place}: BCM {pin} is taken by {taken[pin]} in config.txt"


def _place_problems(hardware: str) -> Iterator[str]:
    """Yield what stands above the first table: below our own lines it would become a part of [gate]."""
    name = "x" * (len(hardware) + 1)  # no table in it can be called so
    above = tomllib.loads(f"[{name}]\n{hardware}")[name]
    for key in sorted(above.keys() - {"gate"}):  # which has a sentence of its own
        yield f"--hardware: {key} stands above the first table; write it below the line of a table, as [gate]"


def _gate_problems(hardware: str, said: object) -> Iterator[str]:
    """Yield what of [gate] is no business of that file, or stands where the rest cannot be put in."""
    if said is not None and len(_GATE.findall(hardware)) != 1:
        yield "--hardware: write what is to stand in [gate] below a line [gate]"
    for key in said if isinstance(said, dict) else ():
        if key in _OWN_KEYS:
            yield f"--hardware: gate.{key} is written by this program; leave the line out"


def _pin_name_problems(said: object) -> Iterator[str]:
    for part in said if isinstance(said, dict) else ():
        if part not in {*PARTS, "factory"}:
            near = difflib.get_close_matches(part, PARTS, n=1)
            yield f"--hardware: pins.{part}: unknown key{f', did you mean {near[0]}' if near else ''}"


def pins_of(hardware: str) -> dict[str, int]:
    """Return the BCM number of each part that is wired, the relay included where nothing is said of it."""
    try:
        section = _table(tomllib.loads(hardware), "pins")
    except tomllib.TOMLDecodeError:
        section = {}
    return {"relay": RELAY} | {
        part: pin for part, pin in section.items() if part in PARTS and type(pin) is int
    }


def simulated_parts(hardware: str) -> list[str]:
    """Name what this hardware has only in part or not at all, as `gate doctor` does."""
    tables = tomllib.loads(hardware)
    if "simulation" in tables:
        return ["hardware"]
    camera, pins, thermometer = (_table(tables, name) for name in ("camera", "pins", "thermometer"))
    simulated = {
        "camera": camera.get("source") in ("folder", "synthetic"),
        "pins": pins.get("factory") == "mock",
        "thermometer": thermometer.get("bus") == "simulated",
    }
    return [name for name, is_simulated in simulated.items() if is_simulated]


def _table(tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a table, none where something else is called so: the gate says what is wrong with that."""
    found = tables.get(name)
    return found if isinstance(found, dict) else {}


# ---- The files ---------------------------------------------------------------------------------------------


def _own_files(choices: Choices) -> dict[str, bytes]:
    files = {name: (DEPLOY / "firstboot" / name).read_bytes() for name in STATIC}
    files |= {
        "gate.toml": gate_toml(choices).encode(),
        "enrol.toml": _enrol_toml(choices).encode(),
        "ca.pem": choices.ca.encode(),
        "packages": "".join(f"{name}\n" for name in _packages(choices.hardware)).encode(),
    }
    if choices.apt_source is not None:
        files["health-gate.sources"] = choices.apt_source.encode()
    if choices.apt_key is not None:
        files["health-gate.gpg"] = choices.apt_key
    files |= {f"{TRUST}{name}": content for name, content in choices.trust.items()}
    files |= choices.debs
    sums = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())
    )
    # The token is not among them: it is erased from the card once it is used.
    return files | {"card.sha256": sums.encode(), "token": f"{choices.token}\n".encode()}


def gate_toml(choices: Choices) -> str:
    """Return the gate's configuration, with @ID@ in place of the id that only the board knows."""
    host, port = broker_address(choices.broker) or ("", 0)
    folder = f"{TRUST_ON_BOARD}{_digest(choices.trust)[:8]}"
    trusted = [f"{folder}/{name}" for name in sorted(choices.trust)]
    own = f"""\
[gate]
site = {_quoted(choices.site)}
id = "@ID@"
policy = {_quoted(choices.policy)}
trust_files = {json.dumps(trusted)}"""
    rest = choices.hardware.strip()
    body = _GATE.sub(lambda _: own, rest) if _GATE.search(rest) else f"{own}\n\n{rest}"
    return f"""\
# {MARK}; the board puts in its own id at its first boot.
{body}

[mqtt]
host = {_quoted(host)}
port = {port}
ca_file = "/var/lib/gate/tls/ca.pem"
cert_file = "/var/lib/gate/tls/gate.pem"
key_file = "/var/lib/gate/device.key"

[centre]
keys_file = "/var/lib/gate/centre.json"
"""


def _enrol_toml(choices: Choices) -> str:
    return f"""\
# {MARK}: where this gate gets its certificate.
url = {_quoted(choices.centre.rstrip("/"))}
ca_file = "/etc/gate/enrol-ca.pem"
token_file = "/var/lib/gate/enrol-token"
site = {_quoted(choices.site)}
gate = "@ID@"
"""


def _quoted(value: str) -> str:
    """Return a string as TOML and YAML both read it: JSON's form is in both."""
    return json.dumps(value, ensure_ascii=False)


def _packages(hardware: str) -> list[str]:
    """Name what the chosen parts need beside the package's own dependencies."""
    tables: dict[str, Any] = tomllib.loads(hardware)
    camera = _table(tables, "camera").get("source", "v4l2")
    pins = _table(tables, "pins").get("factory", "lgpio")
    if "simulation" in tables:
        return []
    needed = [_CAMERA_PACKAGES.get(str(camera)), "python3-lgpio" if pins == "lgpio" else None]
    return [name for name in needed if name]


def _template(name: str, **values: str) -> bytes:
    text = (DEPLOY / "cloud-init" / name).read_text(encoding="utf-8")
    return (Template(text).substitute(values).strip() + "\n").encode()


def _user_data(choices: Choices) -> bytes:
    return _template("user-data", time_zone=_quoted(choices.time_zone), user=_user(choices.ssh_keys))


def _user(ssh_keys: str) -> str:
    keys = [line.strip() for line in ssh_keys.splitlines() if line.strip() and not line.startswith("#")]
    if not keys:
        return "# No key was given, so nobody can log in over the network.\nusers: []"
    # Not `users`: that would make an account without the groups of the image's own user.
    return "\n".join(
        (
            "user:",
            "  name: ops",
            "  gecos: Maintenance",
            "  shell: /bin/bash",
            "  lock_passwd: true",
            '  sudo: "ALL=(ALL) NOPASSWD:ALL"',
            "  ssh_authorized_keys:",
            *(f"    - {_quoted(key)}" for key in keys),
        )
    )


def _network_config(choices: Choices) -> bytes:
    return _template("network-config", wifi=_wifi(choices) if choices.wifi else "")


def _wifi(choices: Choices) -> str:
    """The password goes on the card as the key that is made of it (IEEE 802.11-2020, annex J.4)."""
    password, ssid = choices.wifi_password, choices.wifi
    key = password if len(password) == 64 else psk(password, ssid)
    return f"""\
  wifis:
    wlan0:
      dhcp4: true
      optional: true
      regulatory-domain: {_quoted(choices.wifi_country)}
      access-points:
        {_quoted(ssid)}:
          password: {_quoted(key)}"""


def psk(password: str, ssid: str) -> str:
    """Return the pre-shared key of WPA2 in 64 hexadecimal digits."""
    return hashlib.pbkdf2_hmac("sha1", password.encode(), ssid.encode(), 4096, 32).hex()


def config_txt(text: str, pins: Mapping[str, int]) -> str:
    """Return config.txt with the gate's own lines at its end, instead of those of an earlier run."""
    kept = re.sub(rf"\n*{re.escape(BEGIN)}\n.*?{re.escape(END)}\n?", "\n", text, flags=re.DOTALL).rstrip()
    return f"{kept}\n\n{BEGIN}\n{fragment(pins)}{END}\n"


def fragment(pins: Mapping[str, int]) -> str:
    """Return deploy/pi/config.txt with every output of the gate driven low, the relay first."""
    text = (DEPLOY / "pi" / "config.txt").read_text(encoding="utf-8")
    states = "".join(f"gpio={pins[part]}=op,dl\n" for part in OUTPUTS if part in pins)
    return re.sub(r"^gpio=.*\n", "", text, flags=re.MULTILINE) + states


def _cmdline(text: str, instance_id: str) -> str:
    """Return the kernel's command line with the instance id, without that of an earlier run or of the Imager.

    cloud-init compares its notes with this id first: an old one here would hide a new one in meta-data.
    """
    words = [word for word in text.split() if not word.startswith("ds=nocloud")]
    return " ".join((*words, f"ds=nocloud;i={instance_id}")) + "\n"


def _instance_id(files: Mapping[str, bytes]) -> str:
    return f"gate-{_digest(files)[:16]}"


def _digest(files: Mapping[str, bytes]) -> str:
    """The same for the same files, and another when any of them changes."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _text(card: Card, name: str) -> str:
    # Any byte survives the way there and back.
    return (card(name) or b"").decode("latin-1").replace("\r\n", "\n")


def _active_lines(card: Card) -> set[str]:
    return {line.strip() for line in _text(card, "config.txt").splitlines()}
