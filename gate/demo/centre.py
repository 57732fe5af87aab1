"""The centre of the demo: the real one, in a process of its own, with keys and store in the demo's folder.

It is started through its own commands, as an operator would, because a gate and a centre share messages and
no code. It comes up while the first visitors are being served: a gate does not wait for its centre.
"""

import json
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self

from gate.app.identity import as_line, device_key
from gate.config import CentreSection
from gate.demo.broker import BrokerAddress

FOLDER: Final = "centre"
COMMAND_S: Final = 60.0
STOP_S: Final = 15.0
_NEEDS: Final = ("central", "alembic", "apprise", "msgspec", "nacl", "openpyxl", "sqlalchemy")
_CONFIG: Final = """\
[centre]
keys_dir = {folder}
store = {store}

[mqtt]
host = {host}
port = {port}
protocol = "3.1.1"
"""
_ACCOUNT: Final = "username = {user}\npassword_file = {password_file}\n"


class CentreError(Exception):
    """The demo's centre cannot be started; the message says why."""


def there_is_a_centre() -> bool:
    """Tell whether what the centre needs is installed."""
    return all(find_spec(name) is not None for name in _NEEDS)


class DemoCentre:
    """A centre for one gate, for as long as the `with` block lasts.

    `section` is what the gate's configuration has to say of it. Entering it raises CentreError.
    """

    def __init__(
        self, state: Path, site: str, gate: str, address: BrokerAddress, password_file: Path
    ) -> None:
        self._folder = state.absolute() / FOLDER
        self._identity = as_line(site, gate, device_key(state)).encode()
        self._address = address
        self._password_file = password_file.absolute()
        self._process: subprocess.Popen[bytes] | None = None
        self._problem = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._start, name="demo-centre")
        self.section = CentreSection(self._folder / "centre.json")

    def __enter__(self) -> Self:
        _central("init", str(self._folder))
        (self._folder / "central.toml").write_text(self._config(), "utf-8")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def proved(self) -> int:
        """Return up to where the centre has proved the gate's records. Raises CentreError."""
        return int(self._gate()["proved"])

    def receipted(self) -> int:
        """Return up to where the gate has told the centre that it knows so. Raises CentreError."""
        return int(self._gate()["receipted"])

    def table(self) -> str:
        """Return what an operator sees: the gates, and the alarms that stand. Raises CentreError."""
        self._thread.join()
        return self._ask("status").decode()

    def verified(self) -> str:
        """Have the centre check its whole store, and return what it finds wrong: nothing, mostly."""
        try:
            self._ask("verify")
        except CentreError as error:
            return str(error)
        return ""

    def _gate(self) -> dict[str, Any]:
        self._thread.join()
        if self._problem:
            raise CentreError(self._problem)
        (gate,) = json.loads(self._ask("status", "--json"))
        return dict(gate)

    def _start(self) -> None:
        try:
            self._ask("gates", "add", "-", given=self._identity)
        except CentreError as error:
            self._problem = str(error)
            return
        if not self._stopping.is_set():
            with (self._folder / "central.log").open("ab") as log:
                self._process = subprocess.Popen(_words("run", "--config", self._path), stderr=log)  # noqa: S603

    @property
    def _path(self) -> str:
        return str(self._folder / "central.toml")

    def _ask(self, *words: str, given: bytes = b"") -> bytes:
        return _central(*words, "--config", self._path, given=given)

    def _config(self) -> str:
        quoted = {
            "folder": self._folder,
            "store": f"sqlite:///{self._folder / 'central.db'}",
            "host": self._address.host,
            "user": self._address.user,
            "password_file": self._password_file,
        }
        text = _CONFIG + (_ACCOUNT if self._address.user else "")
        # A string of JSON is one of TOML as well.
        words = {name: json.dumps(str(value), ensure_ascii=False) for name, value in quoted.items()}
        return text.format(**words, port=self._address.port)


def _words(*words: str) -> list[str]:
    return [sys.executable, "-m", "central", *words]


def _central(*words: str, given: bytes = b"") -> bytes:
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            _words(*words), input=given, capture_output=True, timeout=COMMAND_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CentreError(f"central {words[0]} has not answered within {COMMAND_S:.0f} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise CentreError(f"central {words[0]}: {said}")
    return done.stdout
