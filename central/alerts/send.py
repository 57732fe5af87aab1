"""Addresses and what reaches them: Apprise behind an interface of ours, the only module that talks outside.

An attempt ends by itself after the timeouts of its address (`?cto=` and `?rto=` in the URL, 4 s each unless
it says otherwise); whoever waits for one should not wait longer than `ATTEMPT_S_MAX`.
"""

import logging
import threading
import warnings
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import unquote

from central.alerts.messages import Message
from central.alerts.rules import Severity
from central.alerts.settings import AlertSettings

ATTEMPT_S_MAX: Final = 30
_REASON_MAX: Final = 200
_SERVICES: Final = "https://appriseit.com/services/"
# Whoever reads the log of attempts need not read what opens a webhook.
_NO_PATH: Final = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one attempt; `outcome` says in words why it failed."""

    delivered: bool
    outcome: str


class Channel(Protocol):
    """One address to which messages can be sent, one at a time."""

    def send(self, message: Message) -> Sent:
        """Send and wait for the answer; returns in any case and raises nothing."""


class AppriseChannel:
    """One address of Apprise (https://appriseit.com/services/). Raises ValueError for one that is none."""

    def __init__(self, url: str) -> None:
        apprise = _apprise()
        parts = apprise.plugins.url_to_dict(url)
        # Plain text, also where a plug-in would rather make HTML of it.
        service = (
            apprise.Apprise.instantiate({"format": "text"} | parts, asset=_asset(apprise)) if parts else None
        )
        if service is None:
            raise ValueError(_what_is_wrong(url, apprise.NotificationManager()))
        # Messages are counted in `packing`; a plug-in that sleeps between two would only be late.
        service.request_rate_per_sec = 0
        self._service = service
        self._types = {
            Severity.NOTICE: apprise.NotifyType.INFO,
            Severity.WARNING: apprise.NotifyType.WARNING,
            Severity.ALARM: apprise.NotifyType.FAILURE,
        }

    @property
    def shown(self) -> str:
        """The address without its secrets."""
        masked = unquote(str(self._service.url(privacy=True)).partition("?")[0].rstrip("/"))
        scheme, _, rest = masked.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}" if scheme in _NO_PATH else masked

    def send(self, message: Message) -> Sent:
        """Send and wait for the answer; returns in any case and raises nothing."""
        with _reasons() as said:
            try:
                # Not `Apprise.notify`: that sends from a pool of threads which a few dead addresses fill up.
                delivered = self._service.notify(
                    title=message.title, body=message.body, notify_type=self._types[message.severity],
                    body_format="text",
                )  # fmt: skip
            except Exception as error:  # noqa: BLE001 - a plug-in of 150; whatever it raises, others go on
                return Sent(delivered=False, outcome=f"{type(error).__name__} in Apprise"[:_REASON_MAX])
        if delivered:
            return Sent(delivered=True, outcome="delivered")
        return Sent(delivered=False, outcome=" ".join(said)[:_REASON_MAX] or "not delivered")


@dataclass(frozen=True, slots=True)
class Addresses:
    """The channels of a configuration by their shown addresses; `shown` leads from a URL to its address."""

    channels: Mapping[str, Channel]
    shown: Mapping[str, str]


def open_addresses(settings: AlertSettings) -> tuple[Addresses, list[str]]:
    """Return a channel for each address, and a line for each one that cannot be used. Connects to nothing."""
    channels: dict[str, Channel] = {}
    shown: dict[str, str] = {}
    problems: list[str] = []
    for role in settings.role:
        for index, url in enumerate(role.urls):
            if url in shown:
                continue
            try:
                channel = AppriseChannel(url)
            except ValueError as error:
                problems.append(f"alerts.role {role.name!r}: urls no. {index + 1}: {error}")
                continue
            shown[url] = _unlike(channel.shown, channels)
            channels[shown[url]] = channel
    return Addresses(channels, shown), problems


def _what_is_wrong(url: str, known: Container[str]) -> str:
    """Say what to do about an address; of it nothing is shown but a scheme that anybody may know."""
    scheme = url.partition("://")[0].lower()
    if "://" in url and scheme in known:
        return f"this {scheme}:// address is not complete, or something in it is misspelled; see {_SERVICES}"
    return f"this begins like no address that Apprise knows (mailtos://, dingtalk:// ...); see {_SERVICES}"


def _unlike(address: str, taken: Mapping[str, object]) -> str:
    """Tell apart two addresses that look alike without their secrets."""
    number = 2
    candidate = address
    while candidate in taken:
        candidate, number = f"{address} #{number}", number + 1
    return candidate


def _apprise() -> Any:
    from central.alerts.robots import listen_to_robots  # noqa: PLC0415 - 0.5 s that only a sender need wait

    with warnings.catch_warnings():
        # One of its 150 plug-ins imports a module that Python 3.13 has dropped.
        warnings.simplefilter("ignore", DeprecationWarning)
        listen_to_robots()
        import apprise  # noqa: PLC0415 - as above

        apprise.Apprise.instantiate("json://localhost")  # loads the plug-ins
    # What it complains of is the outcome of an attempt, and logged as such.
    logging.getLogger("apprise").propagate = False
    return apprise


def _asset(apprise: Any) -> Any:
    return apprise.AppriseAsset(app_id="health-gate", app_desc="Health gate")


@contextmanager
def _reasons() -> Iterator[list[str]]:
    """Collect what Apprise complains of in this thread: it returns no more than yes or no."""
    said: list[str] = []
    handler = _Listener(said, threading.get_ident())
    logger = logging.getLogger("apprise")
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


class _Listener(logging.Handler):
    def __init__(self, said: list[str], thread: int) -> None:
        super().__init__(logging.WARNING)
        self._said = said
        self._thread = thread

    def emit(self, record: logging.LogRecord) -> None:
        """Take what was said in the thread that listens, as one printable line."""
        if record.thread == self._thread:
            line = " ".join(record.getMessage().split())
            self._said.append("".join(char if char.isprintable() else "?" for char in line))
