"""Why there is no connection to the broker, in words for people, with what to do."""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from paho.mqtt.reasoncodes import ReasonCode


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Files in PEM form; without `ca_file` the system's authorities are trusted."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class Destination(Protocol):
    """Where a connection goes, as far as it is told when none comes about."""

    @property
    def host(self) -> str:
        """The broker's name or address."""

    @property
    def broker_port(self) -> int:
        """Its port."""

    @property
    def tls(self) -> TlsSettings | None:
        """The files for TLS; None without it."""


class LinkDown(Exception):  # noqa: N818 - an operating fact with words for people, not an error of the program
    """One connection is over.

    A `lasting` fault waits for a person; `wrong_version` suggests that the other protocol version may work.
    """

    def __init__(self, words: str, *, lasting: bool = False, wrong_version: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.lasting = lasting
        self.wrong_version = wrong_version


# Reason codes of CONNACK, PUBACK and DISCONNECT (MQTT 5.0, 2.4) that somebody can do something about.
_ADVICE = {
    0x85: "choose another client id",
    0x86: "check user name and password",
    0x87: "check user name, password and the broker's access list",
    0x8A: "the broker has banned this client; ask its operator",
    0x8C: "the broker wants another way to log in",
    0x8E: "another client uses the same client id; every gate needs its own",
    0x90: "the broker does not allow this topic",
    0x95: "a record is larger than the broker allows; raise its limit",
    0x97: "the broker's quota is used up; ask its operator",
    0x99: "the broker rejects the form of the record",
    0x9A: "the broker must allow retained messages",
}
_LASTING = frozenset({0x85, 0x86, 0x87, 0x8A, 0x8C, 0x90, 0x99, 0x9A})
_UNSUPPORTED_VERSION = 0x84
NO_MATCHING_SUBSCRIBERS = 0x10


def refusal(what: str, reason: ReasonCode) -> LinkDown:
    """Put a broker's reason code into words, with what to do."""
    advice = _ADVICE.get(reason.value)
    return LinkDown(
        f"{what}: {str(reason).lower()}" + (f"; {advice}" if advice else ""),
        lasting=reason.value in _LASTING,
        wrong_version=reason.value == _UNSUPPORTED_VERSION,
    )


# X509_V_ERR_* numbers of OpenSSL (openssl-verify man page, "Diagnostics").
_NOT_YET_VALID, _EXPIRED, _UNKNOWN_CA, _WRONG_NAME = 9, 10, frozenset({18, 19, 20, 21}), frozenset({62, 64})


def _certificate_words(error: ssl.SSLCertVerificationError, ca_file: Path | None) -> str:
    if error.verify_code == _EXPIRED:
        return "the broker's certificate has expired; renew it, or set this machine's clock"
    if error.verify_code == _NOT_YET_VALID:
        return "the broker's certificate is not valid yet; set this machine's clock"
    if error.verify_code in _UNKNOWN_CA:
        return f"the broker's certificate is not signed by an authority in {ca_file or 'the system store'}"
    if error.verify_code in _WRONG_NAME:
        return "the broker's certificate is for another host name; use the name that it carries"
    return f"the broker's certificate is not accepted: {error.verify_message}"


def connect_fault(error: OSError | UnicodeError, settings: Destination) -> LinkDown:
    """Put into words why no connection came about, with what to do."""
    where = f"{settings.host}:{settings.broker_port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return LinkDown(
            _certificate_words(error, settings.tls.ca_file if settings.tls else None), lasting=True
        )
    if isinstance(error, ssl.SSLEOFError | ConnectionResetError):  # perhaps it is only just going down
        return LinkDown(f"{where} broke off the TLS handshake; is this its TLS port?")
    if isinstance(error, ssl.SSLError):
        return LinkDown(f"TLS with {where} fails ({error.reason}); is this its TLS port?", lasting=True)
    if isinstance(error, socket.gaierror | UnicodeError):
        return LinkDown(f"no address found for {settings.host!r}; check the host name and the name server")
    if isinstance(error, ConnectionRefusedError):
        return LinkDown(f"nothing listens at {where}; start the broker or check the port")
    if isinstance(error, TimeoutError):
        return LinkDown(f"{where} does not answer; check the network and the firewall")
    return LinkDown(f"cannot reach {where}: {error.strerror or error}; check the network")


class _TidySocket(ssl.SSLSocket):
    """A TLS socket that is closed when its handshake fails, which paho leaves to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands as the parent does, but leave nothing open behind a failure."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return what these files are good for. Raises LinkDown."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:
        files = ", ".join(str(path) for path in (tls.ca_file, tls.cert_file, tls.key_file) if path)
        raise LinkDown(
            f"cannot use the TLS files {files}: {error.strerror or error}", lasting=True
        ) from error
    context.sslsocket_class = _TidySocket
    return context
