"""The witness: a subscriber that knows nothing of the gate but the broker's address and the schema."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gate.core.batches import BatchError, unpack
from gate.demo.broker import BrokerAddress, BrokerError

_CONNECT_S = 10.0


class Witness:
    """Receives every event of one gate, checks it against the schema and keeps it as it came.

    `topic`: `.../ev/#`, so that single events and batches come.

    `bodies` holds each event once, in the order of arrival; `problems` what was wrong with any of them.
    """

    def __init__(self, topic: str) -> None:
        self.bodies: list[bytes] = []
        self.problems: list[str] = []
        self._ids: set[str] = set()
        self._topic = topic
        self._validate = event_validator()
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id="witness", protocol=MQTTProtocolVersion.MQTTv311
        )
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._received

    def start(self, address: BrokerAddress) -> None:
        """Connect and subscribe; raises BrokerError when that is not possible."""
        if address.user:
            self._client.username_pw_set(address.user, address.password)
        try:
            self._client.connect(address.host, address.port)
        except OSError as error:
            raise BrokerError(
                f"no broker at {address.host}:{address.port} ({error}); is it running?"
            ) from error
        self._client.loop_start()
        if not self._subscribed.wait(_CONNECT_S):
            self.stop()
            raise BrokerError("the broker does not let the subscriber in; check user and password")

    def stop(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def wait_for(self, count: int, timeout_s: float) -> bool:
        """Wait until `count` different events have come; returns whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.bodies) >= count, timeout_s)

    def events(self) -> list[dict[str, Any]]:
        """Return what has come so far, parsed."""
        return [json.loads(body) for body in list(self.bodies)]

    def _subscribe(self, *_: object) -> None:
        self._client.subscribe(self._topic, qos=1)

    def _received(self, _client: object, _userdata: object, message: MQTTMessage) -> None:
        body = bytes(message.payload)
        try:
            bodies = unpack(body) if message.topic.endswith("/batch") else [body]
        except BatchError as error:
            bodies = []
            self.problems.append(f"no batch: {error}")
        for each in bodies:
            self._keep(each)
        with self._changed:
            self._changed.notify_all()

    def _keep(self, body: bytes) -> None:
        problem = self._validate(body)
        if problem:
            self.problems.append(problem)
        elif (event_id := json.loads(body)["id"]) not in self._ids:
            self._ids.add(event_id)
            self.bodies.append(body)


def event_validator() -> Callable[[bytes], str | None]:
    """Return a check of event bytes against the schema in the package: None, or what is wrong."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - 0.1 s that only checks need

    schema = json.loads(files("gate.schemas").joinpath("event-1.json").read_text("utf-8"))
    validator = Draft202012Validator(schema)

    def check(body: bytes) -> str | None:
        try:
            event = json.loads(body)
        except ValueError as error:
            return f"not JSON: {error}"
        wrong = next(validator.iter_errors(event), None)
        return None if wrong is None else f"{wrong.json_path}: {wrong.message}"

    return check


def visits_complete(events: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the visits of which both stages, decided and closed, are among the events."""
    decided = {event["data"]["visit"] for event in events if event["type"] == "hg.visit.decided.v1"}
    closed = {event["data"]["visit"] for event in events if event["type"] == "hg.visit.closed.v1"}
    return decided & closed


def results(events: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Return how many visits ended how, the most frequent first."""
    closed = (event["data"]["result"] for event in events if event["type"] == "hg.visit.closed.v1")
    return Counter(dict(Counter(closed).most_common()))
