"""The stage: what the gate has done since the present visitor came, for the script to wait on."""

import threading
from collections.abc import Callable
from typing import Final

from gate.core.effects import Effect, Record, Show, TakeReading
from gate.core.events import Kind
from gate.core.inputs import CodesRead, Input
from gate.core.moment import Moment
from gate.core.texts import Key

PATIENCE_S: Final = 30.0


class StageError(Exception):
    """The gate did not do what the script waits for."""


class Stage:
    """Watches the gate from its own thread; the script waits here from another."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._shown: list[Key] = []
        self._read = False
        self._measuring = False
        self._closed = False

    def observe(self, happened: Input, effect: Effect | None, _now: Moment) -> None:
        """Take note of one input or effect; called by the brain thread."""
        with self._changed:
            match effect:
                case None if isinstance(happened, CodesRead):
                    self._read = True
                case Show(key):
                    self._shown.append(key)
                case TakeReading():
                    self._measuring = True
                case Record(event) if event.kind is Kind.VISIT_CLOSED:
                    self._closed = True
                case _:
                    return
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget what was seen: the next visitor comes."""
        with self._changed:
            self._shown.clear()
            self._read = self._measuring = self._closed = False

    def until_begun(self) -> None:
        """Wait until the gate attends to the visitor."""
        self._wait(lambda: self._measuring, "begin a visit")

    def until_read(self) -> None:
        """Wait until the camera has read a code."""
        self._wait(lambda: self._read, "read a code")

    def until_shown(self, *keys: Key) -> None:
        """Wait until one of these texts has been shown to the present visitor."""
        self._wait(lambda: any(key in self._shown for key in keys), f"show {' or '.join(keys)}")

    def until_closed(self) -> None:
        """Wait until the visit has its last record."""
        self._wait(lambda: self._closed, "close the visit")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, PATIENCE_S):
                raise StageError(
                    f"the gate did not {what} within {PATIENCE_S:.0f} s; it showed {self._shown}"
                )
