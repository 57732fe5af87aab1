"""The configuration and the policies, read from TOML and checked whole: every error at once, nothing ignored.

A file that cannot be used raises ConfigError with one line per problem; nothing has been touched by then.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Le, MaxLen, MinLen

from gate.checked import ConfigError, Contradiction, build, did_you_mean, examine, parse_toml, read_toml
from gate.core.codes.token_families import TokenFamily
from gate.core.evidence import Direction
from gate.core.policy import Policy
from gate.services.settings import ServiceSettings

SIMULATED_BUS: Final = "simulated"

Identifier = Annotated[str, MinLen(1), MaxLen(32)]
IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
DOCUMENTS_LEAF: Final = "doc"  # hg/1/<site>/doc/... is no gate's
Pin = Annotated[int, Ge(9), Le(27)]


@dataclass(frozen=True, slots=True)
class GateSection:
    """Who this gate is, which way it leads and which plan it follows.

    `clock`: whether wall time is believed only while NTP keeps it, or always (a real-time clock, no network).
    `site_key_file`: 32 secret bytes or 64 hexadecimal digits (at least 16 bytes are taken), the same at every
    gate of a site, of which pseudonyms are made; without it the gate makes a key of its own. `trust_files`:
    files and folders with the keys of issuers, as `gate.trust_files` reads them.
    """

    site: Identifier
    id: Identifier
    policy: str = "township-routine"
    lang: Literal["zh", "en"] = "zh"
    state_dir: Path = Path("/var/lib/gate")
    clock: Literal["ntp", "always_trusted"] = "ntp"
    direction: Direction = Direction.IN
    site_key_file: Path | None = None
    trust_files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class CameraSection:
    """The camera. `device`: a stable path under /dev/v4l/by-id; `path`: a folder, video or scene file."""

    source: Literal["v4l2", "picamera2", "folder", "synthetic"] = "v4l2"
    device: str = ""
    path: Path | None = None
    width: Annotated[int, Ge(160), Le(1920)] = 1280
    height: Annotated[int, Ge(120), Le(1080)] = 720
    fps: Annotated[int, Ge(1), Le(60)] = 15
    memory_mb_max: Annotated[int, Ge(64), Le(1024)] = 256


@dataclass(frozen=True, slots=True)
class ThermometerSection:
    """The MLX90614: bus, address, part variant and the correction terms of this very device.

    `bus`: the adapter's path, or "simulated" for trying the gate on a machine without one.
    `offset_cc`: calibration offset in centi-degrees, at most 1 °C either way. `vdd_mv`: supply in millivolts.
    """

    bus: str = "/dev/i2c-1"
    address: Annotated[int, Ge(0x08), Le(0x77)] = 0x5A
    variant: Literal["BAA", "DAA", "BCC", "DCC", "DCH", "DCI"] = "DCC"
    vdd_mv: Annotated[int, Ge(2600), Le(3600)] = 3300
    offset_cc: Annotated[int, Ge(-100), Le(100)] = 0
    ambient_to_core: Literal["none", "forehead_linear"] = "forehead_linear"


@dataclass(frozen=True, slots=True)
class PinsSection:
    """BCM numbers of the header pins, 9 to 27 (those are pulled down at boot); absent means not wired.

    Relay and passage contact are always wired: without the second nobody can say who has passed.
    """

    factory: Literal["lgpio", "mock"] = "lgpio"
    relay: Pin = 17
    passage: Pin = 27
    fire: Pin | None = None
    beam: Pin | None = None
    distance_trigger: Pin | None = None
    distance_echo: Pin | None = None
    green: Pin | None = None
    yellow: Pin | None = None
    red: Pin | None = None
    buzzer: Pin | None = None
    confirm: Pin | None = None
    refuse: Pin | None = None
    mask_on: Pin | None = None
    mask_off: Pin | None = None


@dataclass(frozen=True, slots=True)
class PresenceSection:
    """Distances in centimetres at which somebody counts as standing at the gate (distance sensor only)."""

    near_cm: Annotated[int, Ge(5), Le(200)] = 60
    far_cm: Annotated[int, Ge(6), Le(300)] = 80


@dataclass(frozen=True, slots=True)
class MqttSection:
    """The broker. The password stands alone in a file that only the service can read.

    `protocol`: "auto" speaks MQTT 5 and falls back; a broker that is known to speak only one may be named.
    """

    host: Annotated[str, MinLen(1)]
    port: Annotated[int, Ge(1), Le(65535)] = 8883
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    keepalive_s: Annotated[int, Ge(5), Le(1200)] = 30


@dataclass(frozen=True, slots=True)
class CodesSection:
    """National health codes: the services that verify them, and families of codes that are not built in."""

    services: tuple[ServiceSettings, ...] = ()
    token_families: tuple[TokenFamily, ...] = ()


@dataclass(frozen=True, slots=True)
class CentreSection:
    """The centre that signs for the records of this gate; without this section the broker's word counts.

    `keys_file`: the centre's public keys, `centre.json` as `central init` makes it. `keep_days`: how long
    records stay on the gate once the centre has signed for them.
    """

    keys_file: Path
    keep_days: Annotated[int, Ge(1), Le(3650)] = 30


@dataclass(frozen=True, slots=True)
class MetricsSection:
    """Where Prometheus asks for figures (`gate.app.metrics`); without a port nobody can.

    `address`: of which interface; the default is for what runs on this machine only.
    """

    port: Annotated[int, Ge(1), Le(65535)] | None = None
    address: Annotated[str, MinLen(1)] = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class SimulationSection:
    """A gate without any hardware to which visitors come by themselves: for tests and training, never a door.

    `world_log`: the file to which the simulated turnstile appends one JSON line for each pulse of its relay,
    {"pulse", "at_ms", "pid"}. `visitors_per_minute`: how many come on average; no more are served than the
    machine can. `seed`: who comes follows from it.
    """

    world_log: Path
    visitors_per_minute: Annotated[int, Ge(1), Le(6000)] = 60
    seed: Annotated[int, Ge(0), Le(2**53 - 1)] = 1


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that is chosen per device."""

    gate: GateSection
    mqtt: MqttSection
    camera: CameraSection = field(default_factory=CameraSection)
    thermometer: ThermometerSection = field(default_factory=ThermometerSection)
    pins: PinsSection = field(default_factory=PinsSection)
    presence: PresenceSection = field(default_factory=PresenceSection)
    codes: CodesSection = field(default_factory=CodesSection)
    centre: CentreSection | None = None
    metrics: MetricsSection = field(default_factory=MetricsSection)
    simulation: SimulationSection | None = None


_BEGIN: Final = "name another, or begin with a copy of deploy/gate.example.toml"


def load_config(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError with every problem found."""
    return parse_config(str(path), read_toml(path, _BEGIN))


def parse_config(name: str, data: Mapping[str, Any]) -> Config:
    """Check configuration data already parsed; `name` stands for the file in messages."""
    return examine(Config, name, data, _STAND_INS, _contradictions)


def policy_names() -> tuple[str, ...]:
    """Return the names of the policies that come with the gate, sorted."""
    names = (entry.name for entry in files("gate.policies").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_policy(name_or_path: str) -> Policy:
    """Read and check a policy: one that comes with the gate, by name, or a file, by its path.

    A file may say `extends = "<name>"`: what it is silent on is taken from that policy, and its tasks come
    beside those of that policy, in the place of those for the same rule. Raises ConfigError.
    """
    return _built(f"policy {name_or_path}", _policy_data(name_or_path))


def parse_policy(name: str, text: str) -> Policy:
    """Check a policy that was sent; it may extend one that comes with the gate, but no file of this machine.

    Raises ConfigError, in which `name` stands for the text.
    """

    def inherit(base: str) -> dict[str, Any]:
        if base.endswith(".toml"):
            raise ConfigError(name, [f"extends {base!r}: only plans that come with the gate can be extended"])
        return _policy_data(base)

    return _built(name, _extended(parse_toml(name, text), inherit))


def _built(name: str, data: Mapping[str, Any]) -> Policy:
    policy, found = build(Policy, data)
    if policy is None:
        raise ConfigError(name, found.values())
    return policy


def _policy_data(name_or_path: str, *above: str) -> dict[str, Any]:
    if name_or_path in above:
        circle = " -> ".join((*above, name_or_path))
        raise ConfigError(f"policy {name_or_path}", [f"extends itself: {circle}"])
    if name_or_path.endswith(".toml"):
        data = read_toml(Path(name_or_path), "see the plans that come with the gate: gate policy list")
    elif name_or_path in policy_names():
        data = tomllib.loads(files("gate.policies").joinpath(f"{name_or_path}.toml").read_text("utf-8"))
    else:
        names = policy_names()
        hint = f"no such plan{did_you_mean(name_or_path, names)} (there are {', '.join(names)})"
        raise ConfigError(f"policy {name_or_path}", [hint])
    return _extended(data, lambda base: _policy_data(base, *above, name_or_path))


def _extended(own: dict[str, Any], inherit: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    base = own.pop("extends", None)
    if base is None:
        return own
    inherited = inherit(str(base))
    return _merged(inherited, own) | _both_tasks(inherited, own)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Lay one policy over another: tables are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in own.items():
        known = merged.get(key)
        both = isinstance(known, dict) and isinstance(value, dict)
        merged[key] = {**known, **value} if both else value  # type: ignore[dict-item]  # both are tables
    return merged


def _both_tasks(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    tasks, others = own.get("tasks", []), base.get("tasks", [])
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in (*tasks, *others)):
        return {}  # what is wrong with it is said by the check of the whole
    known = {str(task.get("rule")) for task in tasks}
    return {"tasks": [*(task for task in others if str(task.get("rule")) not in known), *tasks]}


_STAND_INS: Final = {"gate": {"site": "-", "id": "-"}, "mqtt": {"host": "-"}}


def _contradictions(config: Config) -> Iterator[Contradiction]:
    """Yield what the types cannot say: values that exclude each other, with the places where they stand."""
    pins, mqtt = config.pins, config.mqtt
    for name, value in (("site", config.gate.site), ("id", config.gate.id)):
        if not IDENTIFIER.fullmatch(value):
            yield [("gate", name)], f"gate.{name}: {value!r} may only have letters, digits, '-' and '_'"
    if config.gate.id == DOCUMENTS_LEAF:
        yield [("gate", "id")], "gate.id: 'doc' is the topic of the site's documents; take another name"
    for pin, *names in _pin_clashes(pins):
        yield [("pins", name) for name in names], f"pins: BCM {pin} is used for {' and '.join(names)}"
    if (pins.distance_trigger is None) != (pins.distance_echo is None):
        problem = "pins: distance_trigger and distance_echo are wired together or not at all"
        yield [("pins", "distance_trigger"), ("pins", "distance_echo")], problem
    if config.presence.far_cm <= config.presence.near_cm:
        yield [("presence", "far_cm"), ("presence", "near_cm")], "presence.far_cm: must be more than near_cm"
    yield from _real_parts(config) if config.simulation else _camera_contradictions(config.camera)
    yield from _service_contradictions(config.codes.services)
    if config.thermometer.bus != SIMULATED_BUS and not config.thermometer.bus.startswith("/"):
        bus = config.thermometer.bus
        problem = f'thermometer.bus: {bus!r} is no path such as /dev/i2c-1, nor "{SIMULATED_BUS}"'
        yield [("thermometer", "bus")], problem
    if mqtt.username is not None and mqtt.password_file is None:
        problem = "mqtt.password_file: is required with a user name"
        yield [("mqtt", "username"), ("mqtt", "password_file")], problem
    if (mqtt.cert_file is None) != (mqtt.key_file is None):
        problem = "mqtt: cert_file and key_file are given together or not at all"
        yield [("mqtt", "cert_file"), ("mqtt", "key_file")], problem


def _service_contradictions(services: tuple[ServiceSettings, ...]) -> Iterator[Contradiction]:
    for region, count in Counter(service.region for service in services).items():
        if count > 1:
            yield [("codes", "services")], f"codes.services: there are {count} for {region}; keep one"


def _camera_contradictions(camera: CameraSection) -> Iterator[Contradiction]:
    if camera.source == "v4l2" and not camera.device:
        problem = "camera.device: is required for v4l2; list them with: ls /dev/v4l/by-id"
        yield [("camera", "source"), ("camera", "device")], problem
    if camera.source in {"folder", "synthetic"} and camera.path is None:
        problem = f"camera.path: is required for the source {camera.source}"
        yield [("camera", "source"), ("camera", "path")], problem


def _real_parts(config: Config) -> Iterator[Contradiction]:
    """Yield what names real hardware beside a simulation, which would stand in for it unasked."""
    camera = config.camera
    real = (
        (("pins", "factory"), config.pins.factory != "mock" and config.pins != PinsSection()),
        (("camera", "device"), camera.source == "picamera2" or camera.device != ""),
    )
    for place in (place for place, named in real if named):
        yield [place], f"{'.'.join(place)}: is real hardware, beside [simulation]; take one of the two out"


def _pin_clashes(pins: PinsSection) -> Iterator[tuple[int, str, str]]:
    """Yield each pin that two parts are wired to, with the names of the two."""
    wired = [(f.name, pin) for f in fields(pins) if isinstance(pin := getattr(pins, f.name), int)]
    for (name, pin), (other, same) in combinations(wired, 2):
        if pin == same:
            yield pin, name, other
