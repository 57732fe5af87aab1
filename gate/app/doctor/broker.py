"""Checks of the broker: a connection as the gate, the receipt that is kept, and the dates of certificates."""

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, get_args

from cryptography import x509
from paho.mqtt.reasoncodes import ReasonCode

from gate.app.application import mqtt_settings
from gate.app.centre import load_centre_keys
from gate.app.doctor.check import Check, Status, skipped
from gate.checked import ConfigError
from gate.config import Config
from gate.core.moment import Moment
from gate.core.signed import SignedError, named_key, read_unproved
from gate.sinks.connection import Connection, Packet, ProtocolVersion, Session
from gate.sinks.faults import LinkDown
from gate.sinks.receipts import opened
from gate.sinks.settings import INCOMING_MAX, MqttSettings

BROKER: Final = ("broker", "receipts", "certificates")

ANSWER_S: Final = 2.5  # of each of two attempts, one for each protocol version
KEEPALIVE_S: Final = 3  # also paho's patience with a TLS handshake
LOOK_S: Final = 2.0
RECEIPT_S: Final = 1.0  # a broker sends what it keeps together with its answer to the subscription
DAYS_LEFT_MIN: Final = 30


@dataclass(slots=True)
class Kept:
    """The receipt that the broker keeps for this gate, if any came; or it does not let the gate read it."""

    receipt: bytes | None = None
    refused: bool = False


def broker(config: Config, now: Moment) -> Iterator[Check]:
    """Connect as the gate does, under another client id, and leave; then look at the certificates' dates.

    For a gate with a centre, take along the receipt that the broker keeps for it.
    """
    try:
        settings = mqtt_settings(config)
    except OSError as error:
        value = f"{error.filename}: {error.strerror}"
        advice = "give mqtt.password_file a file with the password that the gate's user can read"
        yield Check("broker", Status.FAILED, value, advice=advice)
        return
    kept = Kept()
    connection = _connection(settings, kept if config.centre else None)
    yield connection
    yield skipped("receipts", "see broker") if connection.status is Status.FAILED else _receipts(config, kept)
    yield _certificates(settings, now) if settings.tls else _without_tls(settings)


def _receipts(config: Config, kept: Kept) -> Check:
    """Check that the centre whose receipt the broker keeps is the one whose keys this gate has."""
    if config.centre is None:
        return Check("receipts", Status.OK, "not needed without a centre")
    file = config.centre.keys_file
    try:
        keys = load_centre_keys(file)
    except ConfigError:
        return skipped("receipts", "see centre")
    if kept.refused:
        advice = "no record will ever be done: let this user read its topics, in the broker's access list"
        return Check("receipts", Status.FAILED, "the broker does not let this gate read them", advice=advice)
    if kept.receipt is None:
        return Check("receipts", Status.OK, "none came from the broker yet")
    try:
        opened(kept.receipt, keys.sign, config.gate.site, config.gate.id)
    except SignedError as error:
        if error.reason == "unknown_key" and _is_of(config, kept.receipt):
            kid = named_key(kept.receipt)
            advice = f"{file} is of another centre, no receipt counts: bring centre.json from the right one"
            return Check(
                "receipts", Status.FAILED, f"signed with key {kid}", "a key of centre.keys_file", advice
            )
        advice = "somebody else writes to this gate's topic of receipts: see the broker's access list"
        return Check("receipts", Status.WARNING, f"no receipt for this gate ({error.reason})", advice=advice)
    return Check("receipts", Status.OK, "signed with a key of centre.keys_file")


def _is_of(config: Config, receipt: bytes) -> bool:
    """Tell whether a message says at least that it is a receipt for this gate; anybody may write rubbish."""
    try:
        said = read_unproved(receipt)
    except SignedError:
        return False
    return (said.get("site"), said.get("gate")) == (config.gate.site, config.gate.id) and "upto" in said


def _connection(settings: MqttSettings, kept: Kept | None) -> Check:
    where = f"{settings.host}:{settings.broker_port}"
    caller = replace(
        settings,
        client_id=f"{settings.client_id}-doctor",
        answer_timeout_s=ANSWER_S,
        keepalive_s=KEEPALIVE_S,
    )
    try:
        version = _call(caller, kept)
    except LinkDown as fault:
        problem, _, advice = fault.words.partition("; ")
        return Check("broker", Status.FAILED, problem, "a connection", advice)
    user = f" as {settings.username}" if settings.username else ""
    return Check("broker", Status.OK, f"{where} accepts{user}, MQTT {version}")


def _call(settings: MqttSettings, kept: Kept | None) -> ProtocolVersion:
    """Return the protocol version with which the broker accepts the gate; raises LinkDown in words."""
    versions: tuple[ProtocolVersion, ...] = get_args(ProtocolVersion)
    for version in versions:
        try:
            _shake_hands(settings, version, kept)
        except LinkDown as fault:
            if version == versions[-1] or not fault.wrong_version:
                raise
        else:
            return version
    raise AssertionError("the last version returns or raises")


def _shake_hands(settings: MqttSettings, version: ProtocolVersion, kept: Kept | None) -> None:
    """Connect and leave; look for the receipt in between, if it is asked for."""
    found = kept or Kept()

    def on_packet(packet: Packet) -> None:
        if packet.retained:
            found.receipt = packet.payload

    def on_subscribed(_mid: int, reason: ReasonCode) -> None:
        found.refused = reason.is_failure

    session = Session(INCOMING_MAX)
    # Without a last will: the end of this connection must not tell the world that the gate is lost.
    link = Connection(
        settings, version, time.monotonic, session=session, on_packet=on_packet, on_subscribed=on_subscribed
    )
    wake, other_end = socket.socketpair()
    with wake, other_end, closing(link):
        link.open(wake)
        if kept is not None:
            link.subscribe(f"{settings.topic_prefix}/receipt")
            until = time.monotonic() + RECEIPT_S
            while not (kept.receipt or kept.refused) and (left_s := until - time.monotonic()) > 0:
                link.pump(wake, left_s)
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
