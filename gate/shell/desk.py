"""The desk's way in: the person on duty tells the gate what it cannot see, over a socket beside the ledger.

One connection carries one request and one answer, each a line of JSON. A request says one thing:

    {"show": true}   {"confirm": true}   {"refuse": true}   {"mask": "worn"}
    {"note": {"person": "visitor", "registered": ["name"], "id_checked": true, "symptoms": ["cough"],
              "travel": "clear", "origin": "elsewhere",
              "test": {"taken_at": "2022-04-10T10:00:00+08:00", "result": "negative"}}}
    {"register": {"name": "...", "phone": "..."}}

The answer is {"ok": true, "visit": its name or null}, for `show` with the rest of `DeskStatus`, or {"error":
what to put right}. "ok" says that the brain will hear of it, in its turn. Which fields were taken down is all
that the gate learns of a registration (AL-2): what they say is sealed for the centre before anything else
hears of it (`gate.shell.registration`), and no answer repeats what was sent.
"""

import errno
import json
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from gate.core.actor import GateActor
from gate.core.codes.model import REGISTRATION_FIELDS, LabTest, Travel
from gate.core.evidence import MaskStatus, Origin, Person, Symptom
from gate.core.inputs import NOBODY, AttendantConfirmed, AttendantNoted, AttendantRefused, Input, MaskSeen
from gate.core.mode import Mode
from gate.core.policy import Policy, Verdict
from gate.core.rules import decide
from gate.core.session import JUDGED_STATES, State
from gate.shell.registration import Registration, RegistrationError, Seal, as_note, no_seal, read_registration

log = logging.getLogger(__name__)

SOCKET_NAME: Final = "desk.sock"
SOCKET_MODE: Final = 0o660  # whoever is in the group of the service works at the desk
REQUEST_BYTES_MAX: Final = 24_576  # every field as long as it may be, each character spelled in twelve
CLIENT_S: Final = 1.0
CLIENTS_MAX: Final = 4
WAITING_MAX: Final = 16  # of those who knock while there is no room
TAKEN_DOWN: Final = "which fields were taken down, never what they say"

Text = TypeVar("Text", bound=str)
Word = AttendantNoted | AttendantConfirmed | AttendantRefused | MaskSeen | Registration


@dataclass(frozen=True, slots=True)
class DeskStatus:
    """What the person on duty can be told: the gate's mode, the visit under way, and what stands against it.

    `findings` are reasons (`gate.core.texts.reason_text` has their words), `fields` what is to be taken down,
    `failed` the devices that do not work (`gate.core.inputs.Device`).
    """

    mode: Mode = Mode.SERVING
    visit: str | None = None
    state: State = State.IDLE
    findings: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def status_of(actor: GateActor, policy: Policy) -> DeskStatus:
    """Return how the gate stands; only the thread that owns the actor may ask."""
    visit, failed = actor.visit, tuple(sorted(actor.failed_devices))
    if visit is None:
        return DeskStatus(actor.mode, failed=failed)
    # All else is judged when it comes in; a mask, once the visit is with staff, only with the next word.
    evidence = replace(visit.judged, mask=visit.evidence.mask)
    found = [finding for finding in decide(policy, "", evidence).findings if finding.verdict != Verdict.ADMIT]
    reasons = tuple(dict.fromkeys(finding.reason for finding in found))
    wanted = policy.registration.fields if "registration_missing" in reasons else ()
    missing = tuple(field for field in wanted if field not in evidence.registered)
    return DeskStatus(actor.mode, visit.name, visit.state, reasons, missing, failed)


# What a request may say


class RequestError(ValueError):
    """A request that is not taken; the text says what to put right and holds nothing of the request."""


def read_request(line: bytes) -> Word | None:
    """Return what a request says has happened, None for `show`. Raises RequestError and nothing else.

    `visit`, where it is given, is the visit that was meant.
    """
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise RequestError('a request is one line of JSON, such as {"show": true}') from None
    if not isinstance(request, dict):
        raise RequestError(f"a request says one of: {', '.join(_REQUESTS)}")
    visit = request.pop("visit", None)
    if len(request) != 1 or not request.keys() <= _REQUESTS.keys():
        raise RequestError(f"a request says one of: {', '.join(_REQUESTS)}")
    if visit is not None and not isinstance(visit, str):
        raise RequestError("visit: must be the name that show gives")
    ((word, said),) = request.items()
    happened = _REQUESTS[word](said)
    return happened if happened is None else replace(happened, visit=visit)


def _one_of(place: str, words: Iterable[Text]) -> Callable[[object], Text]:
    known = {str(word): word for word in words}

    def read(said: object) -> Text:
        if not isinstance(said, str) or said not in known:
            raise RequestError(f"{place}: must be one of {', '.join(known)}")
        return known[said]

    return read


def _some_of(place: str, words: Iterable[str], remark: str = "") -> Callable[[object], frozenset[str]]:
    known = {str(word): word for word in words}

    def read(said: object) -> frozenset[str]:
        if not isinstance(said, list) or not all(isinstance(word, str) and word in known for word in said):
            raise RequestError(f"{place}: must be a list of some of {', '.join(known)}{remark}")
        return frozenset(known[word] for word in said)

    return read


def _yes_or_no(said: object) -> bool:
    if not isinstance(said, bool):
        raise RequestError("id_checked: must be true or false")
    return said


def _lab_test(said: object) -> LabTest:
    if not isinstance(said, dict) or said.keys() != {"taken_at", "result"}:
        raise RequestError("test: must have taken_at and result, and nothing else")
    result = _one_of("test.result", ("negative", "positive"))(said["result"])
    try:
        taken = datetime.fromisoformat(said["taken_at"])
    except (ValueError, TypeError):
        raise RequestError("test.taken_at: must be an instant such as 2022-04-10T10:00:00+08:00") from None
    if taken.tzinfo is None:
        raise RequestError("test.taken_at: needs its offset from UTC, such as +08:00")
    return LabTest(taken.timestamp(), negative=result == "negative")


_NOTES: Final[dict[str, Callable[[object], object]]] = {
    "person": _one_of("person", Person),
    "registered": _some_of("registered", REGISTRATION_FIELDS, f": {TAKEN_DOWN}"),
    "id_checked": _yes_or_no,
    "symptoms": _some_of("symptoms", Symptom),
    "travel": _one_of("travel", (Travel.CLEAR, Travel.RISK_AREA, Travel.DECLARED)),
    "origin": _one_of("origin", (Origin.KEY_AREA, Origin.ELSEWHERE)),
    "test": _lab_test,
}


def _note(said: object) -> Word:
    if not isinstance(said, dict) or not said or not said.keys() <= _NOTES.keys():
        raise RequestError(f"note: must say at least one of {', '.join(_NOTES)}; {TAKEN_DOWN}")
    known: dict[str, Any] = {field: _NOTES[field](value) for field, value in said.items()}
    return AttendantNoted(**known)


def _register(said: object) -> Word:
    try:
        return read_registration(said)
    except RegistrationError as error:
        raise RequestError(str(error)) from None


def _mask(said: object) -> Word:
    return MaskSeen(_one_of("mask", (MaskStatus.WORN, MaskStatus.MISSING))(said))


Happened = TypeVar("Happened", bound="Word | None")


def _simply(word: str, happened: Happened) -> Callable[[object], Happened]:
    def read(said: object) -> Happened:
        if said is not True:
            raise RequestError(f"{word}: must be true")
        return happened

    return read


_REQUESTS: Final[dict[str, Callable[[object], Word | None]]] = {
    "show": _simply("show", None),
    "note": _note,
    "register": _register,
    "mask": _mask,
    "confirm": _simply("confirm", AttendantConfirmed()),
    "refuse": _simply("refuse", AttendantRefused()),
}


def _unheard(happened: Word, status: DeskStatus) -> str | None:
    """Say why the actor would not listen to this now, so that nobody waits for what does not come."""
    if status.mode is Mode.EVACUATING:
        return "the gate stands open for evacuation and checks nobody"
    if status.state in JUDGED_STATES:
        return None
    if status.state is State.AUTHORISED:
        heard = isinstance(happened, AttendantRefused)
        return None if heard else "this visitor may pass already; only refuse is heard now"
    if status.state is State.IDLE:
        heard = isinstance(happened, AttendantNoted | Registration | AttendantConfirmed)  # begins a visit
        return None if heard else "nobody is being checked at the gate"
    return "this visit is over; wait until the visitor has left, or the next one has come"


# The socket


class DeskServer:
    """Listens at `path` once it is made, answers in one thread between `start` and `stop`.

    `post` takes what has happened and `status` returns the newest `status_of`; both are called in the
    thread, return at once and do not raise. `seal` is for what only the centre may read. A socket left by a
    dead process is replaced: whoever makes a server has the state folder for itself. Raises OSError, in
    words, when the socket cannot be made.
    """

    def __init__(
        self,
        path: Path,
        post: Callable[[Input], None],
        status: Callable[[], DeskStatus],
        seal: Seal = no_seal,
    ) -> None:
        self._path = path
        self._seal = seal
        self._post = post
        self._status = status
        self._listener = _listen(path)
        self._wake, self._poke = socket.socketpair()
        self._clients: dict[socket.socket, _Client] = {}
        self._rest_until = 0.0
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Hang up on everybody and remove the socket, waiting at most `timeout_s` for the thread to end."""
        self._poke.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        self._path.unlink(missing_ok=True)
        if self._thread.is_alive():
            log.warning("the desk is still answering after %.1f s; left behind", timeout_s)
            return
        self._listener.close()
        self._wake.close()

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            for channel in self._clients:
                channel.close()

    def _turn(self) -> bool:
        """Serve whoever has said something; False when the server is to stop."""
        ready = self._wait()
        if self._wake in ready:
            return False
        for channel in ready & self._clients.keys():
            self._hear(self._clients[channel])
        now = time.monotonic()
        for late in [client for client in self._clients.values() if now >= client.until]:
            self._answer(late, {"error": f"no whole line has come within {CLIENT_S:.0f} s"})
        if self._listener in ready:
            self._welcome(now)
        return True

    def _wait(self) -> set[socket.socket]:
        """Wait until somebody speaks, knocks (while there is room) or is late."""
        now = time.monotonic()
        ends = [client.until for client in self._clients.values()]
        watched = [self._wake, *self._clients]
        if now < self._rest_until:
            ends.append(self._rest_until)
        elif len(self._clients) < CLIENTS_MAX:
            watched.append(self._listener)
        with selectors.PollSelector() as selector:
            for channel in watched:
                selector.register(channel, selectors.EVENT_READ, channel)
            patience_s = max(0.0, min(ends) - now) if ends else None
            return {key.data for key, _ in selector.select(patience_s)}

    def _welcome(self, now: float) -> None:
        try:
            channel, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # no more files; without a rest this would be asked again at once
            log.warning("the desk cannot be reached just now: %s", error.strerror)
            self._rest_until = now + CLIENT_S
            return
        channel.setblocking(False)
        self._clients[channel] = _Client(channel, now + CLIENT_S)

    def _hear(self, client: "_Client") -> None:
        try:
            more = client.channel.recv(REQUEST_BYTES_MAX + 1)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        client.heard += more
        line, ended, rest = client.heard.partition(b"\n")
        if len(line) > REQUEST_BYTES_MAX:
            self._answer(client, {"error": f"a request has at most {REQUEST_BYTES_MAX} bytes"})
        elif rest:
            self._answer(client, {"error": "a connection carries one request; nothing was done"})
        elif ended:
            self._answer(client, self._reply(line))
        elif not more:
            self._answer(client, {"error": "the request has ended before its line did"})

    def _reply(self, line: bytes) -> dict[str, object]:
        status = self._status()
        try:
            happened = read_request(line)
        except RequestError as error:
            return {"error": str(error)}
        if happened is None:
            return {"ok": True, **asdict(status)}
        present = status.visit or NOBODY
        if happened.visit not in {None, present}:
            return {"error": "that visitor has gone; look again with show"}
        if (why := _unheard(happened, status)) is not None:
            return {"error": why}
        try:
            noted = as_note(happened, self._seal) if isinstance(happened, Registration) else happened
        except RegistrationError as error:
            return {"error": str(error)}
        self._post(replace(noted, visit=present))  # whoever comes before it is heard is not meant
        return {"ok": True, "visit": status.visit}

    def _answer(self, client: "_Client", answer: dict[str, object]) -> None:
        del self._clients[client.channel]
        # Some hundred bytes fit into the empty buffer of a new socket: this neither blocks nor sends a part.
        with client.channel, suppress(OSError):
            client.channel.send(json.dumps(answer).encode() + b"\n")


@dataclass(slots=True)
class _Client:
    """Somebody who has come to the desk, what was said so far, and until when there is time to say it."""

    channel: socket.socket
    until: float
    heard: bytes = b""


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket():
            path.unlink()
        with address(path) as short:
            listener.bind(short)
        path.chmod(SOCKET_MODE)  # before `listen`, until which nobody can connect
        listener.listen(WAITING_MAX)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        code = error.errno or errno.EIO
        remedy = "remove what is there, or give the folder to the user of the service"
        raise OSError(
            code, f"the desk's socket cannot be made ({os.strerror(code)}); {remedy}", str(path)
        ) from error
    return listener


@contextmanager
def address(path: Path) -> Iterator[str]:
    """Yield an address of the socket that is short enough: unix(7) allows 107 bytes, a path may have more."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
