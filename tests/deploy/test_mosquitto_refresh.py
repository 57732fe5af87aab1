"""deploy/mosquitto/refresh: what the centre has made comes to the broker, and nothing else does.

The broker itself is in tests/integration/test_mosquitto_tls.py.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from tests.brokers import require
from tests.deploy.cards import ROOT

SCRIPT: Final = ROOT / "deploy" / "mosquitto" / "refresh"
NOBODY: Final = 65534
FILES: Final = {"ca.pem": "0644", "ca.crl": "0644", "tls/broker.key": "0400", "tls/broker.pem": "0644"}


class Place:
    """The folder of a centre, which is not root's where root tests, and that of a broker."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder, self.from_, self.to = folder, folder / "central", folder / "health-gate"
        (self.from_ / "tls").mkdir(parents=True)
        for name in FILES:
            (self.from_ / name).write_text(f"{name}\n")
        if os.geteuid() == 0:
            for path in (self.from_, *self.from_.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
                path.chmod(0o700 if path.is_dir() else 0o600)

    def refresh(self) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(SCRIPT), str(self.from_), str(self.to)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    def brought(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.to.iterdir()}


@pytest.fixture
def place() -> Iterator[Place]:
    with TemporaryDirectory() as name:
        yield Place(Path(name))


def test_what_is_new_is_brought_and_what_is_not_stays(place: Place) -> None:
    done = place.refresh()
    assert (done.returncode, done.stdout) == (0, "new: ca.pem ca.crl broker.key broker.pem\n"), done.stderr
    assert place.brought() == {Path(name).name: f"{name}\n" for name in FILES}
    assert {path.name: f"{path.stat().st_mode & 0o777:04o}" for path in place.to.iterdir()} == {
        Path(name).name: mode for name, mode in FILES.items()
    }
    assert place.refresh().stdout == ""
    (place.from_ / "ca.crl").write_text("newer\n")
    assert place.refresh().stdout == "new: ca.crl\n"
    assert place.brought()["ca.crl"] == "newer\n"


def test_what_is_not_there_is_said(place: Place) -> None:
    (place.from_ / "ca.crl").unlink()
    done = place.refresh()
    assert (done.returncode, "there is no" in done.stderr, place.to.exists()) == (1, True, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_link_to_what_only_root_may_read_brings_nothing(place: Place) -> None:
    require("setpriv", "util-linux")
    secret = place.folder / "shadow"
    secret.write_text("root's own\n")
    secret.chmod(0o600)
    place.refresh()
    before = place.brought()
    (place.from_ / "ca.pem").unlink()
    (place.from_ / "ca.pem").symlink_to(secret)
    done = place.refresh()
    assert (done.returncode != 0, "ermission denied" in done.stderr) == (True, True), done.stderr
    assert {name: text for name, text in place.brought().items() if name[0] != "."} == before
    assert "root's own" not in "".join(place.brought().values())


def test_the_script_is_clean() -> None:
    subprocess.run([require("shellcheck", "shellcheck"), str(SCRIPT)], check=True)
