"""The service's half of an update: the order goes out to `gate update`, its result comes in and on record.

    <state_dir>/update.json          written here, as `gate.core.updates` says
    <state_dir>/update-result.json   written by root; looked at every few seconds, also by the next run
    <state_dir>/update-told.json     the result that is on record, byte for byte

A result that is recorded late, or when the power goes, may be recorded twice, and none is forgotten.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gate.core.inputs import UpdateReported
from gate.core.updates import (
    BYTES_MAX,
    ORDER_NAME,
    RESULT_NAME,
    UpdateOrder,
    UpdateOutcome,
    UpdateResult,
    read_result,
)
from gate.durable import replace

log = logging.getLogger(__name__)

TOLD_NAME: Final = "update-told.json"
LOOK_EVERY_S: Final = 5.0


class Updates:
    """Orders and results of one gate. `post` takes what comes in, from any thread."""

    def __init__(
        self, state_dir: Path, now_ms: Callable[[], int], post: Callable[[UpdateReported], object]
    ) -> None:
        self._order, self._result = state_dir / ORDER_NAME, state_dir / RESULT_NAME
        self._told = state_dir / TOLD_NAME
        self._now_ms = now_ms
        self._post = post
        self._posted = b""
        # What was posted, oldest first, and b"" for an answer that no file holds. A record that comes late
        # leaves its own here: what is noted may be older than what is on record.
        self._unrecorded: deque[bytes] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="updates", daemon=True)

    def request(self, version: str, command: str) -> None:
        """Ask for a version; what becomes of it is posted, were it only that nobody can be asked."""
        order = UpdateOrder(version, command, self._now_ms())
        try:
            replace(self._order, order.encoded())
            log.info("version %s is wanted by command %s; gate update sees to it", version, command)
        except OSError as error:
            log.error("version %s cannot be asked for: %s", version, error)
            refused = UpdateOutcome.REFUSED
            result = UpdateResult(
                version, "", refused, f"the gate cannot write its order: {error.strerror}", command, 0
            )
            self._hand_in(result, b"")

    def start(self) -> None:
        """Begin to look for results."""
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(within_s)

    def look(self) -> None:
        """Post the result that is there, unless it has been posted or is on record."""
        content = _content(self._result)
        if content in {b"", self._posted, _content(self._told)}:
            return
        self._posted = content
        try:
            self._hand_in(read_result(content), content)
        except ValueError as error:
            log.error("%s counts for nothing: %s", self._result, error)

    def recorded(self) -> None:
        """Take note that the oldest of what was posted is on record."""
        content = self._unrecorded.popleft() if self._unrecorded else b""
        if not content:
            return
        try:
            replace(self._told, content)
        except OSError as error:
            log.error("%s cannot be written: %s; the result may be recorded again", self._told, error)

    def _hand_in(self, result: UpdateResult, content: bytes) -> None:
        self._unrecorded.append(content)
        self._post(UpdateReported(result))

    def _watch(self) -> None:
        self.look()
        while not self._stopping.wait(LOOK_EVERY_S):
            self.look()


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(BYTES_MAX + 1)
    except OSError:
        return b""
