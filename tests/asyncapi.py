"""Reads the AsyncAPI document of the gate's messages: is it sound, and is a message what it says?

The structural rules are those of AsyncAPI 3.0.0 (Fixed Fields of each object, and what the text says of
references), as far as the document uses them; the bindings are MQTT 0.2.0.
"""

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable

NAME: Final = "asyncapi-1.json"
BASE: Final = "file:///schemas/"
SCHEMA_FORMAT: Final = "application/schema+json;version=2020-12"
KEY: Final = re.compile(r"[A-Za-z0-9_.-]+")

# What each object may hold, and what it must ("!").
FIELDS: Final = {
    "document": "asyncapi! id info! defaultContentType servers channels operations components",
    "info": "title! version! description",
    "server": "host! protocol! protocolVersion description variables security bindings",
    "channel": "address! title description parameters messages!",
    "operation": "action! channel! summary messages! reply bindings!",
    "reply": "channel! messages!",
    "message": "name title summary! description contentType! payload! bindings examples",
    "payload": "schemaFormat! schema!",
    "parameter": "description examples",
    "components": "messages parameters securitySchemes",
}
BINDINGS: Final = {
    "server": "clientId cleanSession lastWill keepAlive sessionExpiryInterval maximumPacketSize "
    "bindingVersion!",
    "lastWill": "topic! qos! message! retain!",
    "operation": "qos! retain! bindingVersion!",
    "message": "payloadFormatIndicator contentType bindingVersion!",
}


class NotAsDescribedError(AssertionError):
    """A message that the document does not describe, in words that name it."""


def load() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(files("gate.schemas").joinpath(NAME).read_text("utf-8"))
    return document


def schemas() -> dict[str, Any]:
    """Return the JSON Schemas beside the document, by file name."""
    found = (entry for entry in files("gate.schemas").iterdir() if entry.name.endswith(".json"))
    return {entry.name: json.loads(entry.read_text("utf-8")) for entry in found if entry.name != NAME}


def pointed_at(document: Any, pointer: str) -> Any:
    """Follow a reference into the document. LookupError when there is nothing."""
    if not pointer.startswith("#/"):
        raise LookupError(pointer)
    place = document
    for step in pointer[2:].split("/"):
        place = place[step.replace("~1", "/").replace("~0", "~")]
    return place


def references(part: Any) -> Iterator[str]:
    """Yield every `$ref` in a part of the document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


# Is the document sound?


def problems(document: dict[str, Any]) -> list[str]:
    """Return whatever is wrong with the document itself, in words."""
    return list(_problems(document))


def _problems(document: dict[str, Any]) -> Iterator[str]:
    yield from _fields("document", document, FIELDS["document"])
    yield from _fields("info", document["info"], FIELDS["info"])
    if document["asyncapi"] != "3.0.0":
        yield f"asyncapi: {document['asyncapi']}"
    unresolved = list(_unresolved(document))
    yield from unresolved
    if unresolved:
        return  # nothing below can be looked at
    components = document["components"]
    yield from _fields("components", components, FIELDS["components"])
    for group in (document["servers"], document["channels"], document["operations"], *components.values()):
        yield from (f"{key!r} is no key" for key in group if not KEY.fullmatch(key))
    for name, server in document["servers"].items():
        yield from _server(f"server {name}", server, document)
    for name, channel in document["channels"].items():
        yield from _channel(f"channel {name}", channel, document)
    for name, operation in document["operations"].items():
        yield from _operation(f"operation {name}", operation, document)
    for name, message in components["messages"].items():
        yield from _message(f"message {name}", message)
    for name, parameter in components["parameters"].items():
        yield from _fields(f"parameter {name}", parameter, FIELDS["parameter"])
    yield from _unused(document)


def _fields(what: str, part: dict[str, Any], allowed: str) -> Iterator[str]:
    words = allowed.split()
    known = {word.rstrip("!") for word in words}
    yield from (f"{what}: unknown field {key}" for key in part if key not in known and key[:2] != "x-")
    missing = (word[:-1] for word in words if word.endswith("!") and word[:-1] not in part)
    yield from (f"{what}: no {key}" for key in missing)


def _unresolved(document: dict[str, Any]) -> Iterator[str]:
    names = schemas()
    for reference in references(document):
        if reference.startswith("./"):
            if reference[2:] not in names:
                yield f"{reference}: no such file"
            continue
        try:
            pointed_at(document, reference)
        except (LookupError, TypeError):
            yield f"{reference}: nothing is there"


def _mqtt(what: str, part: dict[str, Any], kind: str) -> Iterator[str]:
    mqtt = part.get("bindings", {}).get("mqtt")
    if mqtt is None:
        yield f"{what}: no MQTT binding"
        return
    yield from _fields(f"{what}: MQTT binding", mqtt, BINDINGS[kind])
    if mqtt.get("bindingVersion") != "0.2.0":
        yield f"{what}: another version of the binding"
    if mqtt.get("qos", 0) not in {0, 1, 2} or not isinstance(mqtt.get("retain", True), bool):
        yield f"{what}: no such qos or retain"


def _server(what: str, server: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    yield from _fields(what, server, FIELDS["server"])
    yield from _mqtt(what, server, "server")
    if set(re.findall(r"{(\w+)}", server["host"])) != set(server.get("variables", {})):
        yield f"{what}: its host has other variables than are described"
    will = server["bindings"]["mqtt"]["lastWill"]
    yield from _fields(f"{what}: last will", will, BINDINGS["lastWill"])
    topic = will["topic"].format(site="s", gate="g")
    try:
        described = Description(document).operation(
            Wire(topic, will["message"].encode(), will["qos"], will["retain"])
        )
    except NotAsDescribedError as error:
        yield f"{what}: last will: {error}"
    else:
        if document["operations"][described]["action"] != "send":
            yield f"{what}: the last will is nothing that this application sends"


def _channel(what: str, channel: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    yield from _fields(what, channel, FIELDS["channel"])
    address = channel.get("address", "")
    if not re.fullmatch(r"[A-Za-z0-9{}][A-Za-z0-9{}/]*", address):
        yield f"{what}: {address!r} is no topic name"
    if set(re.findall(r"{(\w+)}", address)) != set(channel.get("parameters", {})):
        yield f"{what}: its address has other parameters than are described"
    for reference in references(channel["messages"]):
        if pointed_at(document, reference) not in document["components"]["messages"].values():
            yield f"{what}: {reference} is no message"


def _operation(what: str, operation: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    yield from _fields(what, operation, FIELDS["operation"])
    yield from _mqtt(what, operation, "operation")
    if operation.get("action") not in {"send", "receive"}:
        yield f"{what}: action {operation.get('action')}"
    reply = operation.get("reply")
    if reply is not None:
        yield from _fields(f"{what}: reply", reply, FIELDS["reply"])
    for part in (operation, *([reply] if reply else [])):
        channel = part["channel"]["$ref"]
        if not re.fullmatch(r"#/channels/[^/]+", channel):
            yield f"{what}: {channel} is no channel"
        for message in part["messages"]:
            if not message["$ref"].startswith(f"{channel}/messages/"):
                yield f"{what}: {message['$ref']} is no message of its channel"


def _message(what: str, message: dict[str, Any]) -> Iterator[str]:
    yield from _fields(what, message, FIELDS["message"])
    yield from _mqtt(what, message, "message")
    yield from _fields(f"{what}: payload", message["payload"], FIELDS["payload"])
    if message["payload"]["schemaFormat"] != SCHEMA_FORMAT:
        yield f"{what}: another format of schema"
    for example in message.get("examples", ()):
        try:
            _fits(message["payload"]["schema"], example["payload"])
        except ValidationError as error:
            yield f"{what}: example: {error.message}"


def _unused(document: dict[str, Any]) -> Iterator[str]:
    used = set(references(document["operations"])) | set(references(document["channels"]))
    for name, channel in document["channels"].items():
        place = f"#/channels/{name}"
        if place not in used:
            yield f"channel {name}: no operation uses it"
        for message in channel["messages"]:
            if f"{place}/messages/{message}" not in used:
                yield f"channel {name}: no operation brings {message}"
    for group in ("messages", "parameters"):
        for name in document["components"][group]:
            if f"#/components/{group}/{name}" not in used:
                yield f"{group} {name}: nothing uses it"


# Is a message what the document says?


@dataclass(frozen=True, slots=True)
class Wire:
    """A message as it was published."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class Description:
    """The document, put to use."""

    def __init__(self, document: dict[str, Any] | None = None) -> None:
        self.document = load() if document is None else document

    def operation(self, wire: Wire) -> str:
        """Name the one operation that this message belongs to. NotAsDescribedError."""
        channel = self._channel(wire.topic)
        faults: dict[str, str] = {}
        fitting = []
        for name, operation in self.document["operations"].items():
            if operation["channel"]["$ref"] != f"#/channels/{channel}":
                continue
            fault = self._fault(operation, wire)
            if fault is None:
                fitting.append(name)
            else:
                faults[name] = fault
        if len(fitting) != 1:
            raise NotAsDescribedError(
                f"{wire.topic} {wire.payload[:200]!r}: fits {fitting}, not for {faults}"
            )
        return fitting[0]

    def _channel(self, topic: str) -> str:
        found = [
            name
            for name, channel in self.document["channels"].items()
            if _topics(channel.get("address", "")).fullmatch(topic)
        ]
        if len(found) != 1:
            raise NotAsDescribedError(f"{topic}: is in {found or 'no channel'}")
        return found[0]

    def _fault(self, operation: dict[str, Any], wire: Wire) -> str | None:
        """Say why a message is none of this operation; None when it is."""
        mqtt = operation["bindings"]["mqtt"]
        if (wire.qos, wire.retain) != (mqtt["qos"], mqtt["retain"]):
            return f"qos {wire.qos}, retain {wire.retain}"
        (reference,) = references(operation["messages"])  # each operation here brings one kind of message
        message = pointed_at(self.document, pointed_at(self.document, reference)["$ref"])
        try:
            check_payload(message, wire.payload)
        except (ValidationError, ValueError, zlib.error) as error:
            return str(getattr(error, "message", error))[:300]
        return None


def _topics(address: str) -> re.Pattern[str]:
    """Return what matches the topics of an address: a parameter is one level, the last may be several."""
    one = re.sub(r"{\w+}(?=/)", r"[A-Za-z0-9_-]{1,32}", address)
    return re.compile(re.sub(r"{\w+}$", r"[^+#]+", one))


def check_payload(message: dict[str, Any], payload: bytes) -> None:
    """Raise ValidationError, ValueError or zlib.error unless the payload is what the message says."""
    schema = message["payload"]["schema"]
    if message["contentType"] == "application/json":
        _fits(schema, json.loads(payload))
        return
    packed = message["contentType"] == "application/zlib"
    text = (zlib.decompress(payload) if packed else payload).decode()
    _fits(schema, text)
    lines = text.split("\n")
    if "x-first-line" in schema:
        _fits(schema["x-first-line"], json.loads(lines[0]))
    for line in lines if "x-each-line" in schema else ():
        _fits(schema["x-each-line"], json.loads(line))


_REGISTRY: Final[Registry[Any]] = Registry[Any]().with_resources(
    (BASE + name, Resource.from_contents(schema)) for name, schema in schemas().items()
)


def _fits(schema: dict[str, Any], value: object) -> None:
    """Raise ValidationError unless a value is what a schema of the document says."""
    placed = {"$schema": Draft202012Validator.META_SCHEMA["$id"], "$id": BASE + NAME, **schema}
    Draft202012Validator.check_schema(placed)
    try:
        Draft202012Validator(placed, registry=_REGISTRY).validate(value)
    except Unresolvable as error:
        raise LookupError(f"a reference leads nowhere: {error}") from error
