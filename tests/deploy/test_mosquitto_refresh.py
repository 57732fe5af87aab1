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

    def refresh(self, *around: str) -> subprocess.CompletedProcess[str]:
        command = [*around, "sh", str(SCRIPT), str(self.from_), str(self.to)]
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


def test_nothing_is_exchanged_before_all_of_it_is_there(place: Place) -> None:
    place.refresh()
    (place.from_ / "ca.crl").write_text("newer\n")
    key = place.from_ / "tls" / "broker.key"
    key.unlink()
    key.mkdir()  # it is there, and cannot be read
    done = place.refresh()
    assert (done.returncode != 0, place.brought()["ca.crl"]) == (True, "ca.crl\n"), done.stderr
    key.rmdir()
    key.write_text("tls/broker.key\n")
    key.chmod(0o644)
    assert place.refresh().stdout == "new: ca.crl\n"


def test_no_half_of_a_list_is_brought(place: Place) -> None:
    place.refresh()
    before = place.brought()
    (place.from_ / "ca.crl").write_text("x" * 1_048_577)
    done = place.refresh()
    assert (done.returncode, "ca.crl has more than 1048576 bytes" in done.stderr) == (1, True), done.stderr
    assert place.brought() == before
    (place.from_ / "ca.crl").write_text("x" * 1_048_576)
    assert place.refresh().stdout == "new: ca.crl\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can show the script another /run")
def test_a_reload_that_failed_is_made_up_for(place: Place) -> None:
    """Else a revocation would not count until the next list is made."""
    if subprocess.run([require("unshare", "util-linux"), "-m", "true"], check=False).returncode:
        pytest.skip("this root may not make a mount namespace")
    tools, log = place.folder / "tools", place.folder / "log"
    tools.mkdir()
    systemctl = tools / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >>{log}\nexit $(cat {place.folder}/status)\n')
    systemctl.chmod(0o755)
    booted = 'mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec "$@"'
    around = ("env", f"PATH={tools}:{os.environ['PATH']}", "unshare", "-m", "sh", "-ec", booted, "-")
    for status, code, said in ((1, 1, "new: ca.pem ca.crl broker.key broker.pem\n"), (0, 0, ""), (0, 0, "")):
        (place.folder / "status").write_text(str(status))
        done = place.refresh(*around)
        assert (done.returncode, done.stdout) == (code, said), done.stderr
    assert log.read_text() == "try-reload-or-restart mosquitto.service\n" * 2


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
