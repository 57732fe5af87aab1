"""Checks of the broker: a connection with the gate's credentials, and the dates of certificates."""

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, get_args

from cryptography import x509

from gate.app.application import mqtt_settings
from gate.app.doctor.check import Check, Status, skipped
from gate.config import Config
from gate.core.moment import Moment
from gate.sinks.connection import Connection, ProtocolVersion, Session
from gate.sinks.faults import LinkDown
from gate.sinks.settings import INCOMING_MAX, MqttSettings

BROKER: Final = ("broker", "certificates")

ANSWER_S: Final = 2.5  # of each of two attempts, one for each protocol version
KEEPALIVE_S: Final = 3  # also paho's patience with a TLS handshake
LOOK_S: Final = 2.0
DAYS_LEFT_MIN: Final = 30


def broker(config: Config, now: Moment) -> Iterator[Check]:
    """Connect as the gate does, under another client id, and leave; then look at the certificates' dates."""
    try:
        settings = mqtt_settings(config)
    except OSError as error:
        value = f"{error.filename}: {error.strerror}"
        advice = "give mqtt.password_file a file with the password that the gate's user can read"
        yield Check("broker", Status.FAILED, value, advice=advice)
        return
    yield _connection(settings)
    yield _certificates(settings, now) if settings.tls else _without_tls(settings)


def _connection(settings: MqttSettings) -> Check:
    where = f"{settings.host}:{settings.broker_port}"
    caller = replace(
        settings,
        client_id=f"{settings.client_id}-doctor",
        answer_timeout_s=ANSWER_S,
        keepalive_s=KEEPALIVE_S,
    )
    try:
        version = _call(caller)
    except LinkDown as fault:
        problem, _, advice = fault.words.partition("; ")
        return Check("broker", Status.FAILED, problem, "a connection", advice)
    user = f" as {settings.username}" if settings.username else ""
    return Check("broker", Status.OK, f"{where} accepts{user}, MQTT {version}")


def _call(settings: MqttSettings) -> ProtocolVersion:
    """Return the protocol version with which the broker accepts the gate; raises LinkDown in words."""
    versions: tuple[ProtocolVersion, ...] = get_args(ProtocolVersion)
    for version in versions:
        try:
            _shake_hands(settings, version)
        except LinkDown as fault:
            if version == versions[-1] or not fault.wrong_version:
                raise
        else:
            return version
    raise AssertionError("the last version returns or raises")


def _shake_hands(settings: MqttSettings, version: ProtocolVersion) -> None:
    # Without a last will: the end of this connection must not tell the world that the gate is lost.
    link = Connection(settings, version, time.monotonic, session=Session(INCOMING_MAX))
    wake, other_end = socket.socketpair()
    with wake, other_end, closing(link):
        link.open(wake)
        link.leave()


def _without_tls(settings: MqttSettings) -> Check:
    if _is_this_machine(settings.host):
        return skipped("certificates", "no TLS; the broker is on this machine")
    advice = (
        "records and password travel in clear text: set mqtt.port to the broker's TLS port, and mqtt.ca_file"
    )
    return Check("certificates", Status.WARNING, "no TLS", advice=advice)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _certificates(settings: MqttSettings, now: Moment) -> Check:
    limit = f"at least {DAYS_LEFT_MIN} days left"
    try:
        ends = _ends(settings)
    except (OSError, ValueError) as error:
        advice = "put certificates in PEM form where the configuration names them"
        return Check("certificates", Status.FAILED, f"cannot be read: {error}", limit, advice)
    if not ends:
        return skipped("certificates", "see broker")
    today = datetime.fromtimestamp(now.wall_ms / 1000, UTC)
    days = {whose: (end - today).days for whose, end in ends.items()}
    value = ", ".join(
        f"{whose} until {end:%Y-%m-%d}" + (" (expired)" if end <= today else "")
        for whose, end in ends.items()
    )
    due = [whose for whose, left in days.items() if left < DAYS_LEFT_MIN]
    if not due:
        return Check("certificates", Status.OK, value, limit)
    expired = any(days[whose] < 0 for whose in due)
    advice = f"renew the certificate of: {', '.join(due)} (or set this gate's clock, if its date is wrong)"
    return Check("certificates", Status.FAILED if expired else Status.WARNING, value, limit, advice)


def _ends(settings: MqttSettings) -> dict[str, datetime]:
    """Return until when which certificate is valid; a bundle of authorities is as good as its best."""
    assert settings.tls is not None
    ends = {}
    if pem := _shown_by_broker(settings):
        ends["broker"] = _end(pem)
    if settings.tls.cert_file:
        ends["this gate"] = _end(settings.tls.cert_file.read_bytes())
    if settings.tls.ca_file and (end := _authority_end(settings.tls.ca_file)):
        ends["authority"] = end
    return ends


def _end(pem: bytes) -> datetime:
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc


def _authority_end(path: Path) -> datetime | None:
    """Return when the last authority of a file ends. Through OpenSSL, which takes old ones as they are."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    ends_s = [ssl.cert_time_to_seconds(str(one["notAfter"])) for one in context.get_ca_certs()]
    return datetime.fromtimestamp(max(ends_s), UTC) if ends_s else None


def _shown_by_broker(settings: MqttSettings) -> bytes | None:
    """Return the certificate that the broker shows, good or bad: a failed handshake does not tell dates."""
    try:
        address = (settings.host, settings.broker_port)
        return ssl.get_server_certificate(address, timeout=LOOK_S).encode("ascii")
    except OSError:
        return None  # the check of the connection has said what is wrong
