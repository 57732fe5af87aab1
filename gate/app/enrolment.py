"""How a gate gets its certificate from the centre, and renews it when two thirds of its life are over.

    <state_dir>/device.key      the key of gate.app.identity, also the key of the certificate
    <state_dir>/tls/gate.pem    the certificate, common name <site>/<gate>
    <state_dir>/tls/ca.pem      the authority that signed it and the broker's
    <state_dir>/centre.json     the centre's own public keys

One run is one attempt. The certificate is written last, so that whatever a power cut has interrupted is asked
for once more; the centre gives the same key the same certificate again. Only then does the token go. A gate
at work reads these files at its next connection.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

import gate
from gate import durable
from gate.app.board import Board
from gate.checked import ConfigError, build, read_toml
from gate.config import GateSection
from gate.core.codes.model import NAME
from gate.core.moment import NS_PER_S, Moment
from gate.services.https import HttpsError, HttpsPost
from gate.shell.clock import is_synchronised

PATH: Final = "/enrol"
ANSWER_S: Final = 30.0
CONNECT_S: Final = 10.0
TLS: Final = "tls"
CERTIFICATE: Final = "gate.pem"
AUTHORITY: Final = "ca.pem"
CENTRE: Final = "centre.json"

_BEGIN: Final = "deploy/enrol.example.toml shows what it has to say"
_TOKEN_BYTES_MAX: Final = 4096
_PASSING: Final = frozenset({"waiting", "clock"})
_LOOK_S: Final = 1.0


class EnrolError(Exception):
    """No certificate; the message says why, and what to do.

    `lasting`: asking again changes nothing, somebody has to change something on this gate.
    """

    def __init__(self, words: str, *, lasting: bool = False) -> None:
        super().__init__(words)
        self.lasting = lasting


class Clock(Protocol):
    """What enrolment asks about time."""

    def now(self) -> Moment:
        """Return this instant."""


@dataclass(frozen=True, slots=True)
class EnrolConfig:
    """What /etc/gate/enrol.toml says.

    `site`, `gate`, `state_dir`: who this is and where its state lies, as long as there is no gate.toml.
    """

    url: str
    ca_file: Path | None = None
    token_file: Path | None = None
    site: str | None = None
    gate: str | None = None
    state_dir: Path = Path("/var/lib/gate")


@dataclass(frozen=True, slots=True)
class Device:
    """Who asks, and where what it gets is kept."""

    site: str
    gate: str
    state_dir: Path

    @property
    def name(self) -> str:
        """The common name of its certificate."""
        return f"{self.site}/{self.gate}"


def load_enrol_config(path: Path) -> EnrolConfig:
    """Read where to enrol. Raises ConfigError with every problem at once."""
    config, found = build(EnrolConfig, read_toml(path, _BEGIN))
    problems = list(found.values())
    if config is not None:
        parts = urlsplit(config.url)
        if parts.scheme != "https" or not parts.hostname:
            problems.append(f"url: {config.url!r} is no address of the form https://HOST:PORT")
        problems += _no_names(("site", config.site), ("gate", config.gate))
    if config is None or problems:
        raise ConfigError(str(path), problems)
    return config


def load_gate_section(path: Path) -> GateSection | None:
    """Read who this gate is out of its configuration; None where there is none. Raises ConfigError.

    Nothing else of it is looked at: it may name files that only enrolment brings.
    """
    if not path.exists():
        return None
    said = read_toml(path, "").get("gate")
    section, found = build(GateSection, said if isinstance(said, dict) else {})
    problems = list(found.values())
    if section is not None:
        problems += _no_names(("site", section.site), ("id", section.id))
    if section is None or problems:
        raise ConfigError(str(path), [f"gate.{problem}" for problem in problems])
    return section


def _no_names(*named: tuple[str, str | None]) -> Iterator[str]:
    for key, name in named:
        if name is not None and not NAME.fullmatch(name):
            yield f"{key}: {name!r} is no name: 1 to 32 of A-Z a-z 0-9 _ -"


def why_due(config: EnrolConfig, device: Device, key: Ed25519PrivateKey, now: Moment, board: Board) -> str:
    """Return why a certificate is to be asked for, "" when the one here is good.

    A card that was moved, or copied, asks at its first start in another board: so the centre hears of it. One
    that was prepared again for another centre asks that.
    """
    folder = device.state_dir / TLS
    try:
        here = x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())
    except FileNotFoundError:
        return "there is no certificate yet"
    except (OSError, ValueError):
        return "the certificate here cannot be read"
    if here.public_key() != key.public_key() or _common_name(here.subject) != device.name:
        return "the certificate here is for another key or name"
    if _only(here.subject, NameOID.SERIAL_NUMBER) != serial_number(board):
        return "the certificate here is for another board"
    authorities = _authorities(config.ca_file)
    if authorities and not any(_is_signed_by(here, authority) for authority in authorities):
        return f"the certificate here is of another authority than {config.ca_file}"
    if not (folder / AUTHORITY).exists() or not (device.state_dir / CENTRE).exists():
        return f"{AUTHORITY} or {CENTRE} is missing"
    begin, end = here.not_valid_before_utc, here.not_valid_after_utc
    if _instant(now) >= begin + (end - begin) * 2 / 3:
        return f"the certificate here is good until {end:%Y-%m-%d} only"
    return ""


def await_clock(config: EnrolConfig, clock: Clock, bound_s: float, sleep: Callable[[float], None]) -> None:
    """Return when the clock may be believed: synchronised, or after `bound_s` at least not before this build.

    Raises EnrolError for a clock that is not set: dates of certificates mean nothing to it.
    """
    earliest_ms = max(_build_ms(), _authority_begins_ms(config.ca_file))
    ends_ns = clock.now().mono_ns + round(bound_s * NS_PER_S)
    while True:
        now = clock.now()
        is_over = now.mono_ns >= ends_ns
        if now.wall_ms >= earliest_ms and (now.clock_trusted or is_over):
            return
        if is_over:
            raise EnrolError(
                f"the clock is not set: it says {_instant(now):%Y-%m-%d %H:%M}, before this software or the "
                "centre's authority was made; look after the network and its time server (timedatectl)"
            )
        sleep(_LOOK_S)


def enrol(config: EnrolConfig, device: Device, key: Ed25519PrivateKey, clock: Clock, board: Board) -> Path:
    """Ask the centre once, and keep what it gives; return where the certificate is. Raises EnrolError."""
    body = {
        "v": 1,
        "csr": _request(device, key).decode(),
        "token": _token(config.token_file),
        "device": serial_number(board),
        "at_ms": clock.now().wall_ms,
    }
    answer = _exchange(config, json.dumps(body).encode())
    certificate = _checked(answer, device, key, clock.now())
    _keep(device.state_dir, answer, certificate)
    return device.state_dir / TLS / CERTIFICATE


def forget_token(path: Path | None) -> str:
    """Remove the token, which is of no more use; return what is left to do where that cannot be."""
    if path is None or not os.path.lexists(path):
        return ""
    try:
        path.unlink()
        durable.flush_names(path.parent)
    except OSError as error:
        return f"the token in {path} is used up and cannot be removed ({error.strerror}); remove it"
    return ""


def trusting(own: GateSection | None) -> Callable[[], bool]:
    """Return how this gate's configuration has its clock trusted."""
    is_certain = own is not None and own.clock == "always_trusted"
    return (lambda: True) if is_certain else is_synchronised


def serial_number(board: Board) -> str:
    """Return the serial number of the board's processor, "" on a machine that has none."""
    said = board.text("proc/device-tree/serial-number")
    if not said:
        found = re.search(r"^Serial\s*:\s*(\S+)", board.text("proc/cpuinfo") or "", re.MULTILINE)
        said = found[1] if found else ""
    return said.lower() if re.fullmatch(r"[0-9A-Fa-f]{8,32}", said) else ""


def _build_ms() -> int:
    """Return when this software was built: the package's files have the time of its last change."""
    return int(Path(gate.__file__).stat().st_mtime * 1000)


def _authority_begins_ms(ca_file: Path | None) -> int:
    """Return since when the first authority of a file is valid, 0 where nobody can tell."""
    found = (one.not_valid_before_utc.timestamp() for one in _authorities(ca_file))
    return round(min(found, default=0) * 1000)


def _authorities(path: Path | None) -> list[x509.Certificate]:
    """Return the authorities of a file, none where it cannot be read: using it will say what is wrong."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes()) if path else []
    except (OSError, ValueError):
        return []


def _is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _instant(now: Moment) -> datetime:
    return datetime.fromtimestamp(now.wall_s, UTC)


def _request(device: Device, key: Ed25519PrivateKey) -> bytes:
    try:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device.name)])
    except ValueError as error:
        words = (
            f"{device.name}: site and gate have more than 63 characters together, too long for a certificate"
        )
        raise EnrolError(words, lasting=True) from error
    return x509.CertificateSigningRequestBuilder(name).sign(key, None).public_bytes(Encoding.PEM)


def _token(path: Path | None) -> str:
    """Return the token, "" where there is none any more: a known key needs none."""
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            return file.read(_TOKEN_BYTES_MAX).decode("ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else "it holds no text"
        raise EnrolError(f"the token in {path} cannot be read ({words})", lasting=True) from error


def _exchange(config: EnrolConfig, body: bytes) -> dict[str, Any]:
    parts = urlsplit(config.url)
    url = parts._replace(path=parts.path.rstrip("/") or PATH).geturl()
    try:
        post = HttpsPost(url, ca_file=config.ca_file, timeout_s=ANSWER_S, connect_timeout_s=CONNECT_S)
    except OSError as error:
        words = f"{config.ca_file} cannot be used as the centre's authority ({error.strerror or error})"
        raise EnrolError(words, lasting=True) from error
    try:
        answer = json.loads(post.post(body))
    except HttpsError as error:
        raise EnrolError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise EnrolError(f"{config.url} answers with something else; is it the centre?") from error
    if not isinstance(answer, dict):
        raise EnrolError(f"{config.url} answers with something else; is it the centre?")
    if "refused" in answer:
        why, words = str(answer["refused"]), str(answer.get("words"))
        told = "".join(letter if letter.isprintable() else " " for letter in words)[:500]
        raise EnrolError(f"the centre refuses ({why[:40]!a}): {told}", lasting=why not in _PASSING)
    return answer


def _checked(answer: dict[str, Any], device: Device, key: Ed25519PrivateKey, now: Moment) -> bytes:
    """Return the certificate of an answer if it is for this device, this key and now. Raises EnrolError."""
    try:
        certificate = x509.load_pem_x509_certificate(answer["certificate"].encode())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(answer["ca"].encode()))
    except (ValueError, TypeError, KeyError, AttributeError, InvalidSignature) as error:
        raise EnrolError(f"the centre's answer cannot be used ({type(error).__name__})") from error
    centre = answer.get("centre")
    if not isinstance(centre, dict) or not {"sign", "seal"} <= centre.keys():
        raise EnrolError("the centre's answer cannot be used: it does not say the centre's own keys")
    if certificate.public_key() != key.public_key() or _common_name(certificate.subject) != device.name:
        raise EnrolError("the centre's certificate is for another key or name")
    if not certificate.not_valid_before_utc <= _instant(now) < certificate.not_valid_after_utc:
        raise EnrolError(
            "the centre's certificate is not valid now; set this machine's clock or the centre's"
        )
    return certificate.public_bytes(Encoding.PEM)


def _keep(state_dir: Path, answer: dict[str, Any], certificate: bytes) -> None:
    folder = state_dir / TLS
    files = (
        (folder / AUTHORITY, answer["ca"].encode()),
        (state_dir / CENTRE, json.dumps(answer["centre"], indent=2).encode() + b"\n"),
        (folder / CERTIFICATE, certificate),
    )
    try:
        if not folder.exists():
            folder.mkdir(mode=0o750)
            durable.flush_names(state_dir)
        for path, content in files:
            if not path.exists() or path.read_bytes() != content:
                durable.replace(path, content)
    except OSError as error:
        words = (
            f"{error.filename or folder} cannot be written ({error.strerror}); it belongs to the gate's user"
        )
        raise EnrolError(words, lasting=True) from error


def _common_name(name: x509.Name) -> str:
    return _only(name, NameOID.COMMON_NAME)


def _only(name: x509.Name, what: x509.ObjectIdentifier) -> str:
    """Return the part of a name that is there once, "" where there is none or more."""
    parts = [str(part.value) for part in name.get_attributes_for_oid(what)]
    return parts[0] if len(parts) == 1 else ""
