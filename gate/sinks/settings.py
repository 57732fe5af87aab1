"""Where and as whom a gate delivers, under which topics, and what it says of itself there."""

import json
import re
from dataclasses import dataclass, field
from typing import Final, Literal

from gate.sinks.faults import TlsSettings

WINDOW_MAX: Final = 20
INCOMING_MAX: Final = 10
"""An acknowledgement of a record stands behind at most so much of what comes from the broker (MQTT 5)."""

_DOCUMENTS: Final = "doc"


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Where and as whom to deliver.

    `keepalive_s` 2 to 65535: a dead connection is noticed within 1.5 times this. `window`: 1 to 20 messages
    under way. `answer_timeout_s`: how long a broker may take to accept a connection. ValueError when out of
    range.
    """

    host: str
    topic_prefix: str
    client_id: str
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    keepalive_s: int = 30
    window: int = WINDOW_MAX
    tls: TlsSettings | None = None
    answer_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        parts = self.topic_prefix.split("/")
        if len(parts) != 4 or self.topic_prefix != topic_prefix(*parts[2:]):
            raise ValueError(f"topic prefix {self.topic_prefix!r} is not hg/1/<site>/<gate>")
        if not self.client_id:
            raise ValueError("the client id is empty")
        if not 2 <= self.keepalive_s <= 65535:
            raise ValueError(f"keepalive_s = {self.keepalive_s} is outside 2 to 65535")
        if not 1 <= self.window <= WINDOW_MAX:
            raise ValueError(f"window = {self.window} is outside 1 to {WINDOW_MAX}")

    @property
    def broker_port(self) -> int:
        """The configured port, or the standard one: 8883 with TLS, 1883 without (IANA)."""
        return self.port or (8883 if self.tls else 1883)

    @property
    def document_prefix(self) -> str:
        """What all topics of documents start with: they are for a whole site, `hg/1/<site>/doc/`."""
        return f"{self.topic_prefix.rpartition('/')[0]}/{_DOCUMENTS}/"


def topic_prefix(site: str, gate: str) -> str:
    """Return the prefix of all topics of one gate.

    Ids are 1 to 32 of A-Z a-z 0-9 _ -, and no gate is called "doc", else ValueError.
    """
    for name in (site, gate):
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name, re.ASCII):
            raise ValueError(f"{name!r} cannot be part of a topic: use 1 to 32 of A-Z a-z 0-9 _ -")
    if gate == _DOCUMENTS:
        raise ValueError(
            f"a gate cannot be called {gate!r}: the documents of its site travel under that name"
        )
    return f"hg/1/{site}/{gate}"


def state_body(state: str, facts: dict[str, object]) -> bytes:
    """Build a state message: `v` and `state` beside whatever facts the gate adds."""
    return json.dumps({**facts, "v": 1, "state": state}, ensure_ascii=False, separators=(",", ":")).encode()
