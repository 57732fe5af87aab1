"""The centre's configuration, read from TOML and checked whole: every error at once, nothing ignored."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Le, MaxLen, MinLen

from central.alerts.settings import AlertSettings, tangles
from central.enrolment.settings import EnrolmentSettings
from central.people.settings import PeopleSettings, RetentionSettings, SiteSettings
from central.reports.settings import ReportSettings
from central.subscriber import BrokerSettings
from central.updates.settings import RingSettings, twice
from gate.checked import ConfigError, Contradiction, examine, read_toml
from gate.sinks.faults import TlsSettings

DEFAULT: Final = Path("/etc/central/central.toml")
_BEGIN: Final = "name another, or make one with: central init FOLDER"
SESSION_S: Final = 7 * 86_400
"""How long a broker that speaks MQTT 5 keeps what comes for a centre that is away."""

_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:-]*[A-Za-z0-9])?")
_PASSWORD_BYTES_MAX: Final = 64 * 1024
_CLIENT_ID: Final = "health-gate-centre"
_STORES: Final = ("sqlite:///", "postgresql+psycopg://")

Seconds = Annotated[int, Ge(5), Le(86_400)]
Port = Annotated[int, Ge(1), Le(65535)]


@dataclass(frozen=True, slots=True)
class CentreSection:
    """What the centre keeps, and where.

    `keys_dir`: the folder that `central init` has made. `store`: sqlite:///PATH for one centre by itself,
    postgresql+psycopg://USER@HOST/NAME for several side by side; a password stands in the user's .pgpass.
    """

    keys_dir: Path
    store: Annotated[str, MinLen(1), MaxLen(500)]


@dataclass(frozen=True, slots=True)
class MqttSection:
    """The broker. The password stands alone in a file that only the service can read.

    `client_id` names the session in which the broker keeps what comes while the centre is away. `shared`:
    several centres share the messages of one `group` (MQTT 5 only), each with a `client_id` of its own; the
    broker keeps nothing for one that is away, the others take its share.
    `receive_maximum`: messages that the broker is asked to send ahead of their acknowledgement, at most.
    """

    host: Annotated[str, MinLen(1)]
    port: Port = 8883
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    keepalive_s: Annotated[int, Ge(5), Le(1200)] = 30
    client_id: Annotated[str, MinLen(1), MaxLen(64)] = _CLIENT_ID
    receive_maximum: Annotated[int, Ge(1), Le(10_000)] = 1000
    shared: bool = False
    group: Annotated[str, MinLen(1), MaxLen(64)] = "centre"


@dataclass(frozen=True, slots=True)
class WatchSection:
    """When something is taken for an alarm, in seconds.

    late_s         a gate has had records for so long that are not proved here
    hole_s         a record is missing for so long and nothing fills the gap
    silent_s       a gate has said nothing; a healthy one signs a checkpoint every 60 s
    lost_s         the broker has reported a gate's connection broken, or a gate itself in fault
    clock_s        a gate's clock differs by so much from the centre's
    """

    late_s: Seconds = 60
    hole_s: Seconds = 120
    silent_s: Annotated[int, Ge(90), Le(86_400)] = 180
    lost_s: Seconds = 15
    clock_s: Seconds = 300


@dataclass(frozen=True, slots=True)
class MetricsSection:
    """Where Prometheus asks; without a port nobody can."""

    port: Port | None = None
    address: Annotated[str, MinLen(1)] = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that is chosen for one centre."""

    centre: CentreSection
    mqtt: MqttSection
    watch: WatchSection = field(default_factory=WatchSection)
    metrics: MetricsSection = field(default_factory=MetricsSection)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    reports: ReportSettings = field(default_factory=ReportSettings)
    enrolment: EnrolmentSettings = field(default_factory=EnrolmentSettings)
    people: PeopleSettings = field(default_factory=PeopleSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    site: Annotated[tuple[SiteSettings, ...], MaxLen(1000)] = ()
    ring: Annotated[tuple[RingSettings, ...], MaxLen(100)] = ()


def load_config(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError with every problem found."""
    return parse_config(str(path), read_toml(path, _BEGIN))


def parse_config(name: str, data: Mapping[str, Any]) -> Config:
    """Check configuration data already parsed; `name` stands for the file in messages."""
    config, sound, problems = None, None, []
    try:
        config = sound = examine(Config, name, data, _STAND_INS, _contradictions)
    except ConfigError as error:
        sound, problems = error.sound, list(error.problems)
    problems += tangles(data.get("alerts"))
    if config is None or problems:
        raise ConfigError(name, [_named(problem, data) for problem in problems], sound)
    return replace(config, alerts=replace(config.alerts, lang=config.alerts.lang or config.reports.lang))


def broker_settings(mqtt: MqttSection) -> BrokerSettings:
    """Return what the connection needs, with the password read from its file. Raises ConfigError."""
    tls = None
    if mqtt.ca_file or mqtt.cert_file or mqtt.port == 8883:
        tls = TlsSettings(mqtt.ca_file, mqtt.cert_file, mqtt.key_file)
    return BrokerSettings(
        host=mqtt.host,
        port=mqtt.port,
        client_id=mqtt.client_id,
        username=mqtt.username,
        password=_password(mqtt.password_file) if mqtt.password_file else None,
        protocol="5" if mqtt.shared else mqtt.protocol,
        keepalive_s=mqtt.keepalive_s,
        receive_maximum=mqtt.receive_maximum,
        # Of several, one that is away must not keep its share: brokers go on filling its queue.
        session_s=0 if mqtt.shared else SESSION_S,
        tls=tls,
    )


STAND_IN: Final = Path("-")
"""The folder of the keys of a configuration that names none: only to look at the rest of it."""
_STAND_INS: Final = {
    "centre": {"keys_dir": str(STAND_IN), "store": f"{_STORES[0]}{STAND_IN}"},
    "mqtt": {"host": "-"},
}
_IN_LIST: Final = re.compile(
    r"(alerts\.role|alerts\.rule|reports\.unit|site|ring)\.(\d+)(?:\.(\w+))?(?:\.(\d+))?: "
)


def _named(problem: str, data: Mapping[str, Any]) -> str:
    """Return a problem of one entry of a list by the entry's name, or by its number counted from 1."""
    found = _IN_LIST.match(problem)
    if found is None:
        return problem
    entries: Any = data
    for part in found[1].split("."):
        entries = entries[part]
    entry = entries[int(found[2])]
    name = entry.get("name") if isinstance(entry, dict) else None
    place = f"{found[1]} {name!r}" if isinstance(name, str) else f"{found[1]} no. {int(found[2]) + 1}"
    if found[3]:
        place += f": {found[3]}"
    if found[4]:
        place += f" no. {int(found[4]) + 1}"
    return f"{place}: {problem[found.end() :]}"


def misplaced(config: Config) -> Iterator[str]:
    """Yield what is wrong with the places in which the centre is to write. Nothing is made."""
    store = config.centre.store
    if store.startswith(_STORES[0]) and store != f"{_STORES[0]}{STAND_IN}":
        path = Path(store.removeprefix(_STORES[0]).partition("?")[0])
        if not path.parent.is_dir():
            yield f"centre.store: there is no folder {path.parent}; make it first"
        elif not os.access(path if path.exists() else path.parent, os.W_OK):
            yield f"centre.store: {path} cannot be written; give it to the user of the service"
    folder = config.reports.folder
    if folder is not None and (problem := _unfit(folder)):
        yield f"reports.folder: {problem}"


def _unfit(folder: Path) -> str:
    """Return why a folder can be neither made nor written into, or nothing."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    if not there.is_dir():
        return f"{there} is no folder"
    if os.access(there, os.W_OK | os.X_OK):
        return ""
    return f"{there} cannot be written" + ("" if there == folder else f", so that {folder} cannot be made")


def _contradictions(config: Config) -> Iterator[Contradiction]:
    """Yield what the types cannot say, with the places where it stands."""
    mqtt = config.mqtt
    if not config.centre.store.startswith(_STORES):
        problem = f"centre.store: begins with neither {_STORES[0]} nor {_STORES[1]}"
        yield [("centre", "store")], problem
    if mqtt.username is not None and mqtt.password_file is None:
        problem = "mqtt.password_file: is required with a user name"
        yield [("mqtt", "username"), ("mqtt", "password_file")], problem
    if (mqtt.cert_file is None) != (mqtt.key_file is None):
        problem = "mqtt: cert_file and key_file are given together or not at all"
        yield [("mqtt", "cert_file"), ("mqtt", "key_file")], problem
    if mqtt.shared and mqtt.protocol == "3.1.1":
        problem = 'mqtt.shared: needs MQTT 5; leave mqtt.protocol out or make it "5"'
        yield [("mqtt", "shared"), ("mqtt", "protocol")], problem
    if mqtt.shared and mqtt.client_id == _CLIENT_ID:
        problem = "mqtt.client_id: is required with shared; each centre needs its own"
        yield [("mqtt", "shared"), ("mqtt", "client_id")], problem
    if mqtt.shared and config.centre.store.startswith(_STORES[0]):
        problem = "mqtt.shared: centres side by side need one PostgreSQL; SQLite is for one by itself"
        yield [("mqtt", "shared"), ("centre", "store")], problem
    yield from _nameless(config.enrolment)
    if name := twice(config.ring):
        yield [("ring",)], f"ring: two are called {name!r}"
    for character in "/+#":
        if character in mqtt.group:
            yield [("mqtt", "group")], f"mqtt.group: {character!r} cannot be part of a group's name"


def _nameless(enrolment: EnrolmentSettings) -> Iterator[Contradiction]:
    if enrolment.port is not None and not enrolment.names:
        problem = "enrolment.names: is required with a port: by which names or addresses devices reach it"
        yield [("enrolment", "port"), ("enrolment", "names")], problem
    for name in enrolment.names:
        if not _HOST.fullmatch(name):
            yield [("enrolment", "names")], f"enrolment.names: {name!r} is no host name or address"


def _password(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_PASSWORD_BYTES_MAX).rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), [f"the broker's password cannot be read: {error}"]) from error
