"""The configuration and the policies, read from TOML and checked whole: every error at once, nothing ignored.

A file that cannot be used raises ConfigError with one line per problem; nothing has been touched by then.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_type_hints

from annotated_types import Ge, Le, MaxLen, MinLen

from gate.core.codes import Trust, TrustError
from gate.core.policy import Policy

EX_CONFIG: Final = 78  # sysexits.h: the configuration is in error; systemd does not restart on it

SIMULATED_BUS: Final = "simulated"

Identifier = Annotated[str, MinLen(1), MaxLen(32)]
IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
Pin = Annotated[int, Ge(9), Le(27)]


class ConfigError(Exception):
    """A file that cannot be used; `problems` has one line for each thing to put right."""

    def __init__(self, path: str, problems: Iterable[str]) -> None:
        self.path = path
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{path}: {problem}" for problem in self.problems))


@dataclass(frozen=True, slots=True)
class GateSection:
    """Who this gate is and which plan it follows.

    `clock`: whether wall time is believed only while NTP keeps it, or always (a real-time clock, no network).
    """

    site: Identifier
    id: Identifier
    policy: str = "township-routine"
    lang: Literal["zh", "en"] = "zh"
    state_dir: Path = Path("/var/lib/gate")
    clock: Literal["ntp", "always_trusted"] = "ntp"
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
    """BCM numbers of the header pins, 9 to 27 (those are pulled down at boot); absent means not wired."""

    factory: Literal["lgpio", "mock"] = "lgpio"
    relay: Pin = 17
    passage: Pin | None = 27
    fire: Pin | None = 22
    beam: Pin | None = 23
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
class Config:
    """Everything that is chosen per device."""

    gate: GateSection
    mqtt: MqttSection
    camera: CameraSection = field(default_factory=CameraSection)
    thermometer: ThermometerSection = field(default_factory=ThermometerSection)
    pins: PinsSection = field(default_factory=PinsSection)
    presence: PresenceSection = field(default_factory=PresenceSection)


def load_config(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError with every problem found."""
    return parse_config(str(path), _read_toml(path))


def parse_config(name: str, data: Mapping[str, Any]) -> Config:
    """Check configuration data already parsed; `name` stands for the file in messages."""
    config, problems = _build(Config, data)
    if config is not None:
        problems += _contradictions(config)
    if config is None or problems:
        raise ConfigError(name, problems)
    return config


def policy_names() -> tuple[str, ...]:
    """Return the names of the policies that come with the gate, sorted."""
    names = (entry.name for entry in files("gate.policies").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_policy(name_or_path: str) -> Policy:
    """Read and check a policy: one that comes with the gate, by name, or a file, by its path.

    A file may say `extends = "<name>"`: what it is silent on is taken from that policy. Raises ConfigError.
    """
    data = _policy_data(name_or_path)
    policy, problems = _build(Policy, data)
    if policy is None:
        raise ConfigError(f"policy {name_or_path}", problems)
    return policy


def load_trust(paths: Iterable[Path]) -> Trust:
    """Read the public keys of the issuers that this gate believes. Raises ConfigError."""
    documents = [(str(path), _read_toml(path)) for path in paths]
    try:
        return Trust.from_documents(documents)
    except TrustError as error:
        raise ConfigError("trust", error.problems) from error


def _policy_data(name_or_path: str) -> dict[str, Any]:
    if name_or_path.endswith(".toml"):
        data = _read_toml(Path(name_or_path))
    elif name_or_path in policy_names():
        data = tomllib.loads(files("gate.policies").joinpath(f"{name_or_path}.toml").read_text("utf-8"))
    else:
        names = policy_names()
        hint = f"no such policy{_did_you_mean(name_or_path, names)}; there are {', '.join(names)}"
        raise ConfigError(f"policy {name_or_path}", [hint])
    base = data.pop("extends", None)
    return data if base is None else _merged(_policy_data(str(base)), data)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Lay one policy over another: tables are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in own.items():
        known = merged.get(key)
        both = isinstance(known, dict) and isinstance(value, dict)
        merged[key] = {**known, **value} if both else value  # type: ignore[dict-item]  # both are tables
    return merged


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(str(path), ["no such file; give the path of a .toml file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [f"not valid TOML: {error}"]) from error


T = TypeVar("T")


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter  # noqa: PLC0415 - 0.1 s that other commands need not wait

    for part in _dataclasses_in(kind):
        part.__pydantic_config__ = ConfigDict(extra="forbid")
    return TypeAdapter(kind)


def _dataclasses_in(kind: Any) -> Iterable[Any]:
    if isinstance(kind, type) and is_dataclass(kind):
        yield kind
        for hint in get_type_hints(kind, include_extras=True).values():
            yield from _dataclasses_in(hint)
    for argument in get_args(kind):
        yield from _dataclasses_in(argument)


def _build(kind: type[T], data: Mapping[str, Any]) -> tuple[T | None, list[str]]:
    """Return the checked dataclass, or None with a line for each problem."""
    from pydantic import ValidationError  # noqa: PLC0415 - as above

    adapter: Any = _adapter(kind)  # type: ignore[arg-type]  # a class is hashable
    try:
        # As JSON, because strict JSON knows that words make enumerations and lists make tuples.
        return adapter.validate_json(json.dumps(data, default=str), strict=True), []
    except ValidationError as error:
        return None, [_sentence(kind, problem) for problem in error.errors(include_url=False)]


def _sentence(kind: type[Any], problem: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        known = [f.name for f in fields(_dataclass_at(kind, problem["loc"][:-1]))]
        return f"{place}: unknown key{_did_you_mean(str(problem['loc'][-1]), known)}"
    if problem["type"] in {"missing", "missing_argument"}:
        return f"{place}: is required and missing"
    return f"{place}: {problem['msg']} (found {problem['input']!r})"


def _dataclass_at(kind: Any, place: Iterable[Any]) -> Any:
    for part in place:
        if is_dataclass(kind):
            kind = get_type_hints(kind, include_extras=True).get(str(part), kind)
        candidates = list(_dataclasses_in(kind))
        kind = candidates[0] if candidates else kind
    return kind


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _contradictions(config: Config) -> list[str]:
    """What the types cannot say: values that exclude each other."""
    problems = [
        f"gate.{name}: {value!r} may only have letters, digits, '-' and '_'"
        for name, value in (("site", config.gate.site), ("id", config.gate.id))
        if not IDENTIFIER.fullmatch(value)
    ]
    problems += _pin_clashes(config.pins)
    if (config.pins.distance_trigger is None) != (config.pins.distance_echo is None):
        problems.append("pins: distance_trigger and distance_echo are wired together or not at all")
    if config.presence.far_cm <= config.presence.near_cm:
        problems.append("presence.far_cm: must be more than near_cm")
    if config.camera.source == "v4l2" and not config.camera.device:
        problems.append("camera.device: is required for v4l2; list them with: ls /dev/v4l/by-id")
    if config.camera.source in {"folder", "synthetic"} and config.camera.path is None:
        problems.append(f"camera.path: is required for the source {config.camera.source}")
    if (config.mqtt.cert_file is None) != (config.mqtt.key_file is None):
        problems.append("mqtt: cert_file and key_file are given together or not at all")
    return problems


def _pin_clashes(pins: PinsSection) -> list[str]:
    users: dict[int, list[str]] = {}
    for f in fields(pins):
        pin = getattr(pins, f.name)
        if isinstance(pin, int):
            users.setdefault(pin, []).append(f.name)
    return [
        f"pins: BCM {pin} is used for {' and '.join(names)}" for pin, names in users.items() if len(names) > 1
    ]
