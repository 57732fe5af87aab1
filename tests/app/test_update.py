"""`gate update` with real packages: there, back, refused, interrupted anywhere.

Each way once is in the plain suite; what takes apt and dpkg through all the others is in `make soak`.
"""

import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gate.app.updating import attempt as attempts
from gate.app.updating import health, packages, programs, rescue
from gate.app.updating.attempt import Attempt, BusyError, Places, Stage, StuckError
from gate.app.updating.health import Before
from gate.app.updating.packages import OccupiedError
from gate.cli import main
from gate.core.updates import DETAIL_MAX, ORDER_NAME, RESULT_NAME, UpdateOrder, UpdateOutcome
from gate.shell.clock import SystemClock
from tests.app.update_rig import PROGRAMS, QUIET_MS, Bench, Rig, Web, build_deb, run, stand_in
from tests.systemd.settings import gate_toml

MISSING = [program for program in PROGRAMS if shutil.which(program) is None]
if MISSING and not os.environ.get("CI"):
    pytest.skip(f"{', '.join(MISSING)} missing: apt-utils gpg gpgv xz-utils", allow_module_level=True)

DONE, BACK, REFUSED, WAITING = (
    UpdateOutcome.DONE,
    UpdateOutcome.ROLLED_BACK,
    UpdateOutcome.REFUSED,
    UpdateOutcome.WAITING,
)
HOUR_MS = 3_600_000


class PowerCutError(BaseException):
    """Nothing after it happens, not even tidying."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        yield Bench(tmp_path_factory.mktemp("bench"), patch.setenv, os.environ["PATH"])
        subprocess.run(["gpgconf", "--kill", "all"], check=False)


@pytest.fixture
def rig(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    rig = Rig(tmp_path, bench, monkeypatch.setenv, os.environ["PATH"])
    web = Web(rig.repository)
    rig.point_at(web.address)
    yield rig
    web.close()


def outcome(rig: Rig, version: str, command: str = "c1") -> UpdateOutcome:
    result = rig.update(version, command)
    assert result is not None
    assert rig.told == result
    assert result.version == version
    return result.outcome


# --- there


def test_a_good_version_is_installed_and_both_packages_are_kept(rig: Rig) -> None:
    assert outcome(rig, "0.2.0") is DONE
    assert (rig.version, rig.serves) == ("0.2.0 ii", True)
    assert (rig.told.previous, rig.told.command) == ("0.1.0", "c1")
    kept = sorted(path.name for path in (rig.cache / "debs").iterdir())
    assert kept == ["health-gate_0.1.0_all.deb", "health-gate_0.2.0_all.deb"]


def test_an_attempt_is_made_once(rig: Rig) -> None:
    assert outcome(rig, "0.2.0") is DONE
    told = (rig.state_dir / RESULT_NAME).read_bytes()
    rig.time.sleep(600)
    assert rig.updater().run() is None
    assert (rig.state_dir / RESULT_NAME).read_bytes() == told  # or it would be recorded again
    (rig.state_dir / RESULT_NAME).unlink()
    assert rig.updater().run() is None
    assert rig.told.outcome is DONE


def test_nothing_is_done_that_nobody_has_asked_for(rig: Rig) -> None:
    assert rig.updater().run() is None
    for nonsense in (b"", b"[]", b'{"version": "--help", "command": "c1", "asked_ms": 0}', b"x" * 9999):
        (rig.state_dir / ORDER_NAME).write_bytes(nonsense)
        assert rig.updater().run() is None
    assert rig.version == "0.1.0 ii"
    assert not (rig.state_dir / RESULT_NAME).exists()


@pytest.mark.soak
def test_the_version_before_can_be_named_as_well(rig: Rig) -> None:
    assert outcome(rig, "0.2.0") is DONE
    assert outcome(rig, "0.1.0", "c2") is DONE
    assert (rig.version, rig.serves) == ("0.1.0 ii", True)


@pytest.mark.soak
def test_what_is_installed_already_is_done(rig: Rig) -> None:
    assert outcome(rig, "0.1.0") is DONE
    assert "already" in rig.told.detail


@pytest.mark.soak
def test_what_is_half_installed_is_not_done(rig: Rig) -> None:
    deb = unconfigurable(rig.folder / "built", "0.2.0")
    assert subprocess.run(["dpkg", "--install", str(deb)], capture_output=True, check=False).returncode != 0
    assert rig.version == "0.2.0 iF"
    assert outcome(rig, "0.2.0") is DONE  # that of the repository
    assert (rig.version, rig.serves) == ("0.2.0 ii", True)


@pytest.mark.soak
def test_a_package_whose_script_starts_nothing_is_started(rig: Rig) -> None:
    assert outcome(rig, rig.published("0.3.0", "stays")) is DONE
    assert (rig.version, rig.serves) == ("0.3.0 ii", True)


@pytest.mark.soak
def test_the_centres_package_beside_it_goes_the_same_way(rig: Rig) -> None:
    for version, behaviour in (("0.1.0", ""), ("0.2.0", ""), ("0.3.0", "falls")):
        more = f"Depends: health-gate (= {version})\n"
        deb = build_deb(rig.folder / "built", version, name="health-gate-central", more=more)
        rig.publish(deb)
        if version == "0.1.0":
            run("dpkg", "--install", str(deb))
        if behaviour:
            rig.published(version, behaviour)
    query = ("dpkg-query", "--show", "--showformat=${Version} ", "health-gate", "health-gate-central")
    assert outcome(rig, "0.2.0") is DONE
    assert run(*query) == "0.2.0 0.2.0 "
    assert outcome(rig, "0.3.0", "c2") is BACK
    assert run(*query) == "0.2.0 0.2.0 "


# --- back


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        pytest.param("falls", "does not stay up", marks=pytest.mark.soak),
        pytest.param("hangs", "was not ready after 10 s", marks=pytest.mark.soak),
        pytest.param("clings", "was not ready after 10 s", marks=pytest.mark.soak),
        pytest.param("slow", "was not ready after 10 s", marks=pytest.mark.soak),
        pytest.param("sick", "camera failed, and did not before", marks=pytest.mark.soak),
        ("dims", "camera failed, and did not before"),
        pytest.param("mute", "gate doctor gives no answer", marks=pytest.mark.soak),
        pytest.param("dips", "did not stay up", marks=pytest.mark.soak),
        ("late", "does not stay up"),
    ],
)
def test_a_version_that_is_not_well_is_undone_by_itself(rig: Rig, behaviour: str, why: str) -> None:
    begun = rig.time.moment.mono_ns
    assert outcome(rig, rig.published("0.3.0", behaviour)) is BACK
    assert (rig.version, rig.serves) == ("0.1.0 hi", True)  # installed, and on hold
    assert why in rig.told.detail
    assert rig.told.previous == "0.1.0"
    assert (rig.time.moment.mono_ns - begun) / 1e9 <= (61 if behaviour in {"dips", "dims"} else 31)
    assert not (rig.folder / "blocked").exists(), "the package was left to start what does not start"
    assert not (rig.folder / "mask").exists()
    assert ("kill --signal=KILL" in (rig.folder / "systemctl.log").read_text()) == (behaviour == "clings")
    assert rig.updater().run() is None  # and not tried again until somebody says so
    assert outcome(rig, "0.2.0", "c2") is DONE
    assert rig.version == "0.2.0 ii"


@pytest.mark.soak
def test_who_always_needs_long_to_start_is_given_the_time(rig: Rig) -> None:
    """The old version took 15 s, this one takes 25."""
    (rig.folder / "ready_us").write_text("16000000")
    assert outcome(rig, rig.published("0.3.0", "slow")) is DONE


@pytest.mark.soak
def test_what_was_broken_before_is_nobodys_fault(rig: Rig) -> None:
    rig.broker("failed")
    assert outcome(rig, "0.2.0") is DONE


@pytest.mark.soak
def test_what_only_the_new_version_looks_at_is_not_its_fault(rig: Rig) -> None:
    assert outcome(rig, rig.published("0.3.0", "curious")) is DONE


def test_a_hold_that_cannot_be_set_is_told(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    stand_in(rig.folder, "apt-mark", "echo 'E: the lock is taken' >&2; exit 100\n")
    assert outcome(rig, rig.published("0.3.0", "falls")) is BACK
    assert rig.version == "0.1.0 ii"
    assert rig.told.detail.endswith("; and it could not be put on hold")
    assert "apt-mark hold: E: the lock is taken" in caplog.text


def unconfigurable(folder: Path, version: str, name: str = "health-gate") -> Path:
    """Build a package whose script fails."""
    deb = build_deb(folder, version, name=name)
    tree = folder / "unconfigurable"
    run("dpkg-deb", "--raw-extract", str(deb), str(tree))
    (tree / "DEBIAN/postinst").write_text("#!/bin/sh\nexit 7\n")
    (tree / "DEBIAN/postinst").chmod(0o755)
    run("dpkg-deb", "--root-owner-group", "--build", str(tree), str(deb))
    return deb


@pytest.mark.soak
def test_a_package_that_cannot_be_configured_is_undone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPKG_FORCE", "script-chrootless,not-root")  # no downgrades, unless one says so
    rig.publish(unconfigurable(rig.folder / "built", "0.3.0"))
    assert outcome(rig, "0.3.0") is BACK
    assert (rig.version, rig.serves) == ("0.1.0 hi", True)
    assert "dpkg" in rig.told.detail


@pytest.mark.soak
def test_a_gate_that_was_off_stays_as_it_was(rig: Rig) -> None:
    run("systemctl", "stop")
    assert outcome(rig, rig.published("0.3.0", "mute")) is BACK
    assert rig.version == "0.1.0 hi"


@pytest.mark.soak
def test_the_way_back_may_be_on_the_card_or_nowhere(rig: Rig) -> None:
    for file in rig.repository.rglob("*"):
        if file.is_file():
            file.unlink()
    rig.publish(rig.debs["0.2.0"])
    assert outcome(rig, "0.2.0") is REFUSED
    assert "no way back: health-gate 0.1.0" in rig.told.detail
    shutil.copyfile(rig.debs["0.1.0"], rig.folder / "card/health-gate_0.1.0-any-name.deb")
    assert outcome(rig, "0.2.0", "c2") is DONE
    assert (rig.cache / "debs/health-gate_0.1.0_all.deb").exists()


@pytest.mark.soak
def test_a_damaged_way_back_is_none(rig: Rig) -> None:
    place = rig.cache / "debs"
    place.mkdir(parents=True)
    whole = rig.debs["0.1.0"].read_bytes()
    (place / "health-gate_0.1.0_all.deb").write_bytes(whole[: len(whole) // 2])
    assert outcome(rig, rig.published("0.3.0", "falls")) is BACK  # it was fetched again
    assert rig.version == "0.1.0 hi"


def test_who_cannot_go_back_says_so_and_tries_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.order(rig.published("0.3.0", "falls"))
    lost = rig.cache / "debs/health-gate_0.1.0_all.deb"
    with monkeypatch.context() as patch:
        patch.setattr(attempts.Packages, "put_back", lambda *_: "No space left on device")
        with pytest.raises(StuckError, match="No space left"):
            rig.updater().run()
    lost.unlink()  # as a card forgets; it is fetched again
    result = rig.updater().run()
    assert result is not None
    assert (result.outcome, rig.version, rig.serves) == (BACK, "0.1.0 hi", True)


# --- refused


def altered(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    # Not as old as what apt has: a web server tells the time in seconds, and a test is quicker than that.
    os.utime(path, (path.stat().st_mtime + 10,) * 2)


def unsigned(rig: Rig) -> None:
    signed = (rig.repository / "InRelease").read_text()
    plain = signed.partition("\n\n")[2].partition("-----BEGIN PGP SIGNATURE")[0]
    (rig.repository / "InRelease").unlink()
    (rig.repository / "Release").write_text(plain)


def signed_by_another(rig: Rig) -> None:
    run(
        "gpg",
        "--batch",
        "-q",
        "--passphrase",
        "",
        "--quick-generate-key",
        "stranger",
        "ed25519",
        "sign",
        "never",
    )
    run(str(Path("deploy/apt/make-repository").absolute()), "--key", "stranger", str(rig.repository),
        str(rig.debs["0.2.0"]))  # fmt: skip


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


TAMPERED = {
    "an altered InRelease": lambda rig: altered(
        rig.repository / "InRelease", b"Suite: stable", b"Suite: rotten"
    ),
    "a truncated InRelease": lambda rig: truncated(rig.repository / "InRelease"),
    "no signature": unsigned,
    "another key": signed_by_another,
    "no index at all": lambda rig: (rig.repository / "InRelease").unlink(),
    "an altered package": lambda rig: altered(
        rig.repository / "health-gate_0.2.0_all.deb", b"!<arch>", b"!<arxh>"
    ),
    "a truncated package": lambda rig: truncated(rig.repository / "health-gate_0.2.0_all.deb"),
    "another package in its place": lambda rig: shutil.copyfile(
        rig.debs["0.1.0"], rig.repository / "health-gate_0.2.0_all.deb"
    ),
}


QUICK = {"an altered InRelease", "an altered package"}


@pytest.mark.parametrize(
    "tamper", [each if each in QUICK else pytest.param(each, marks=pytest.mark.soak) for each in TAMPERED]
)
def test_nothing_is_installed_that_the_key_has_not_signed(rig: Rig, tamper: str) -> None:
    assert outcome(rig, rig.published("0.1.5", "well"), "c0") is DONE  # an index that is good lies here
    TAMPERED[tamper](rig)
    assert outcome(rig, "0.2.0") is REFUSED, rig.told
    assert (rig.version, rig.serves) == ("0.1.5 ii", True)


@pytest.mark.soak
def test_what_is_exchanged_behind_apts_back_is_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where apt leaves what it has checked its helper may write, who talks with the network."""
    evil = build_deb(rig.folder / "built", "0.2.0", "stays")
    asked = packages.run

    def exchange(arguments: list[str], *more: Any) -> Any:
        done = asked(arguments, *more)
        if "download" in arguments and arguments[-1].endswith("0.2.0"):
            shutil.copyfile(evil, rig.cache / "part/health-gate_0.2.0_all.deb")
        return done

    monkeypatch.setattr(packages, "run", exchange)
    assert outcome(rig, "0.2.0") is REFUSED
    assert "not what the index says" in rig.told.detail
    assert not (rig.cache / "debs/health-gate_0.2.0_all.deb").exists()


@pytest.mark.soak
def test_an_apt_that_keeps_the_old_index_and_only_warns_is_not_taken_at_its_word(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As apt does of itself: so each of the two precautions has to do without the other."""
    rig.published("0.1.5", "well")
    strip = 'for a; do shift; [ "$a" = --error-on=any ] || set -- "$@" "$a"; done'
    stand_in(rig.folder, "apt-get", f'{strip}\nexec /usr/bin/apt-get "$@"\n')
    with monkeypatch.context() as patch:
        patch.setattr(packages.shutil, "rmtree", lambda *_, **__: None)
        assert outcome(rig, "0.1.5", "c0") is DONE
        TAMPERED["an altered InRelease"](rig)
        assert outcome(rig, "0.2.0") is REFUSED
    with monkeypatch.context() as patch:
        patch.setattr(packages, "_check", lambda _done: None)
        assert outcome(rig, "0.2.0", "c2") is REFUSED
    assert rig.version == "0.1.5 ii"


@pytest.mark.soak
@pytest.mark.parametrize("index", ["Packages", "Packages.xz"])
@pytest.mark.parametrize("change", ["altered", "truncated"])
def test_an_index_that_is_not_the_signed_one_is_refused(rig: Rig, index: str, change: str) -> None:
    """By its hash as well: apt asks for that first, and falls back to the plain name."""
    shutil.rmtree(rig.repository / "by-hash")
    for path in (rig.repository / "Packages", rig.repository / "Packages.xz"):
        if path.name != index:
            path.unlink()
    path = rig.repository / index
    if change == "altered":
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    else:
        truncated(path)
    assert outcome(rig, "0.2.0") is REFUSED
    assert rig.version == "0.1.0 ii"


def test_a_version_that_is_not_there_is_refused(rig: Rig) -> None:
    assert outcome(rig, "0.9.9") is REFUSED
    assert "0.9.9" in rig.told.detail


@pytest.mark.soak
def test_a_version_that_needs_what_is_not_there_is_refused_before_anything_is_touched(rig: Rig) -> None:
    assert outcome(rig, rig.published("0.3.0", "well", "Depends: python3-of-tomorrow\n")) is REFUSED
    assert rig.version == "0.1.0 ii"
    assert "restart" not in (rig.folder / "systemctl.log").read_text()


@pytest.mark.soak
def test_what_a_version_newly_needs_may_come_from_the_same_repository(rig: Rig) -> None:
    rig.publish(build_deb(rig.folder / "built", "1.0", name="python3-of-tomorrow"))
    assert outcome(rig, rig.published("0.3.0", "well", "Depends: python3-of-tomorrow\n")) is DONE


@pytest.mark.soak
def test_other_sources_of_the_machine_do_not_count(rig: Rig) -> None:
    """Whoever else is allowed to bring packages to this machine cannot bring ours."""
    other = rig.folder / "other"
    run(
        str(Path("deploy/apt/make-repository").absolute()),
        str(other),
        str(build_deb(rig.folder / "built", "0.8.0")),
    )
    lists = rig.root / "etc/apt/sources.list.d/other.list"
    lists.write_text(f"deb [signed-by={rig.folder / 'key.gpg'}] file:{other} ./\n")
    assert outcome(rig, "0.8.0") is REFUSED


@pytest.mark.soak
def test_without_a_source_it_says_where_one_belongs(rig: Rig) -> None:
    rig.source.unlink()
    assert outcome(rig, "0.2.0") is REFUSED
    assert str(rig.source)[:60] in rig.told.detail


# --- later


def test_outside_the_quiet_hours_it_waits_and_says_so_once(rig: Rig) -> None:
    noon = replace(rig.time.moment, wall_ms=QUIET_MS + 9 * HOUR_MS)
    rig.time.moment = noon
    assert outcome(rig, "0.2.0") is WAITING
    assert "02:00 to 04:00" in rig.told.detail
    told = (rig.state_dir / RESULT_NAME).read_bytes()
    rig.time.sleep(600)
    assert rig.updater().run() is not None
    assert (rig.state_dir / RESULT_NAME).read_bytes() == told
    assert (rig.version, (rig.cache / "lists").exists()) == ("0.1.0 ii", False)
    rig.time.moment = replace(noon, wall_ms=QUIET_MS + 24 * HOUR_MS)
    result = rig.updater().run()
    assert result is not None
    assert result.outcome is DONE


@pytest.mark.soak
def test_a_person_need_not_wait(rig: Rig) -> None:
    rig.time.moment = replace(rig.time.moment, wall_ms=QUIET_MS + 9 * HOUR_MS)
    result = rig.update("0.2.0", by_hand=True)
    assert result is not None
    assert result.outcome is DONE


@pytest.mark.soak
def test_without_a_clock_nobody_knows_the_hour(rig: Rig) -> None:
    rig.time.moment = replace(rig.time.moment, clock_trusted=False)
    assert outcome(rig, "0.2.0") is WAITING
    assert "clock" in rig.told.detail


@pytest.mark.soak
def test_a_repository_out_of_reach_is_waited_for_but_not_for_ever(rig: Rig) -> None:
    rig.point_at("http://127.0.0.1:9")
    assert outcome(rig, "0.2.0") is WAITING
    assert "not reached" in rig.told.detail
    rig.time.moment = replace(rig.time.moment, wall_ms=QUIET_MS + (7 * 24 + 1) * HOUR_MS)
    result = rig.updater().run()
    assert result is not None
    assert (result.outcome, rig.version) == (REFUSED, "0.1.0 ii")
    assert "7 days" in result.detail


@pytest.mark.soak
def test_a_newer_order_takes_the_place_of_one_that_waits(rig: Rig) -> None:
    rig.time.moment = replace(rig.time.moment, wall_ms=QUIET_MS + 9 * HOUR_MS)
    assert outcome(rig, "0.2.0") is WAITING
    rig.time.moment = replace(rig.time.moment, wall_ms=QUIET_MS)
    assert outcome(rig, rig.published("0.3.0", "well"), "c2") is DONE


def test_two_at_once_are_one_too_many(rig: Rig) -> None:
    rig.cache.mkdir()
    with attempts._alone(rig.cache), pytest.raises(BusyError):
        rig.update("0.2.0")


# --- somebody else installs


@contextmanager
def occupied(rig: Rig) -> Iterator[None]:
    """Hold dpkg's lock, as the security updates of the system do."""
    with (rig.root / "var/lib/dpkg/lock-frontend").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_LOCK_S", 0)


@pytest.mark.usefixtures("impatient")
def test_who_else_installs_is_waited_for(rig: Rig) -> None:
    with occupied(rig):
        assert outcome(rig, "0.2.0") is WAITING
        assert "somebody else is installing" in rig.told.detail
        assert (rig.version, rig.serves) == ("0.1.0 ii", True)
    assert rig.updater().run() is not None
    assert (rig.told.outcome, rig.version) == (DONE, "0.2.0 ii")


@pytest.mark.soak
@pytest.mark.usefixtures("impatient")
def test_who_else_installs_says_nothing_of_the_version(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """He came in between; nothing has begun, and it is not done at noon because of him."""
    with monkeypatch.context() as patch, occupied(rig):
        patch.setattr(packages.Packages, "await_free", lambda _: None)
        patch.setattr(packages.Packages, "settle", lambda _: "")
        assert outcome(rig, "0.2.0") is WAITING
        assert "somebody else is installing" in rig.told.detail
    rig.time.moment = replace(rig.time.moment, wall_ms=QUIET_MS + 9 * HOUR_MS)
    rig.updater().run()
    assert (rig.told.outcome, rig.version, rig.serves) == (WAITING, "0.1.0 ii", True)
    assert not (rig.cache / "rescue").exists()


@pytest.mark.soak
def test_other_packages_that_cannot_be_configured_say_nothing_of_the_version(rig: Rig) -> None:
    other = unconfigurable(rig.folder / "built", "1.0", "other")
    assert subprocess.run(["dpkg", "--install", str(other)], capture_output=True, check=False).returncode != 0
    assert outcome(rig, "0.2.0") is WAITING
    assert "for other packages to be put in order" in rig.told.detail
    assert (rig.version, rig.serves) == ("0.1.0 ii", True)
    run("dpkg", "--purge", "other")
    assert rig.updater().run() is not None
    assert (rig.told.outcome, rig.version) == (DONE, "0.2.0 ii")


@pytest.mark.soak
@pytest.mark.usefixtures("impatient")
def test_the_gate_is_not_stopped_for_a_way_back_that_is_occupied(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off_before(attempts.Updater, "_undo", rig, monkeypatch)
    with occupied(rig), pytest.raises(OccupiedError):
        rig.updater().run()
    assert "stop" not in (rig.folder / "systemctl.log").read_text()
    assert rig.updater().run() is not None
    assert (rig.told.outcome, rig.version, rig.serves) == (BACK, "0.1.0 hi", True)


# --- cut off


def cut(*_: object) -> None:
    raise PowerCutError


def cut_off_before(owner: type, step: str, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the power go just before this step of an attempt to bring in a version that is not well."""
    rig.order(rig.published("0.3.0", "sick"))
    with monkeypatch.context() as patch, pytest.raises(PowerCutError):
        patch.setattr(owner, step, cut)
        rig.updater().run()


@pytest.mark.parametrize("behaviour", ["well", "falls"])
@pytest.mark.parametrize(
    "after", [4, *(pytest.param(after, marks=pytest.mark.soak) for after in range(8) if after != 4)]
)
def test_it_goes_on_after_a_power_cut_between_any_two_steps(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, behaviour: str, after: int
) -> None:
    """Before and after each file that it writes, which stands between all that it does."""
    writes = []

    def cut_off(path: Path, content: bytes) -> None:
        for moment in ("before", "after"):
            if len(writes) == after:
                writes.append("cut")
                raise PowerCutError(f"{moment} {path.name}: {json.loads(content)}")
            writes.append(moment)
            if moment == "before":
                put(path, content)

    put = attempts.put
    rig.order(rig.published("0.3.0", behaviour))
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "put", cut_off)
        try:
            rig.updater().run()
        except PowerCutError:
            assert writes[-1] == "cut"
    # It goes on at whatever time of day.
    begun = (rig.cache / "attempt.json").exists()
    is_open = begun and '"stage": "ended"' not in (rig.cache / "attempt.json").read_text()
    assert (rig.cache / "rescue").exists() or not is_open
    rig.time.moment = replace(rig.time.moment, wall_ms=QUIET_MS + (9 * HOUR_MS if begun else 0))
    rig.updater().run()
    assert rig.told.outcome is (DONE if behaviour == "well" else BACK)
    assert (rig.version, rig.serves) == ("0.3.0 ii" if behaviour == "well" else "0.1.0 hi", True)
    assert not (rig.cache / "rescue").exists()


def test_what_is_kept_to_finish_an_attempt_runs_by_itself(tmp_path: Path) -> None:
    """With -I, as gate-update.service runs it; the mark shows that it is that code which runs."""
    rescue.keep(tmp_path)
    rescue.keep(tmp_path)
    altered(tmp_path / "rescue/gate/cli/update.py", b"Install the version", b"Rescue the version")
    line = [sys.executable, "-I", tmp_path / "rescue", "update"]
    help_text = subprocess.run([*line, "--help"], capture_output=True, text=True, check=True).stdout
    assert "Rescue the version" in help_text
    line += [f"--config={tmp_path}/no-config.toml"]
    told = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (told.returncode, "Traceback" in told.stderr) == (78 if os.geteuid() == 0 else 2, False), (
        told.stderr
    )
    # What runs from there keeps itself where the power went before the attempt had begun.
    again = (
        "import sys; from pathlib import Path; cache = Path(sys.argv[1]); sys.path[0] = f'{cache}/rescue';"
        "from gate.app.updating import rescue; rescue.keep(cache)"
    )
    subprocess.run([sys.executable, "-c", again, tmp_path], check=True)
    assert "Rescue the version" in (tmp_path / "rescue/gate/cli/update.py").read_text()
    rescue.drop(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.soak
@pytest.mark.parametrize("stage", ["unpacked", "half-configured"])
def test_a_package_that_was_unpacked_when_the_power_went_is_configured(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def cut_off(self: object, paths: list[Path]) -> str:
        run("dpkg", "--unpack", *map(str, paths))
        # What dpkg had not merged yet: apt does nothing before that is done.
        status = rig.root / "var/lib/dpkg/status"
        shutil.copyfile(status, rig.root / "var/lib/dpkg/updates/0000")
        if stage == "half-configured":
            altered(status, b"install ok unpacked", b"install ok half-configured")
        raise PowerCutError

    rig.order("0.2.0")
    with monkeypatch.context() as patch:
        patch.setattr(attempts.Packages, "install", cut_off)
        with pytest.raises(PowerCutError):
            rig.updater().run()
    assert rig.version != "0.2.0 ii"
    result = rig.updater().run()
    assert result is not None
    assert (result.outcome, rig.version, rig.serves) == (DONE, "0.2.0 ii", True)


@pytest.mark.soak
def test_half_a_package_of_anybodys_making_is_configured_without_an_order(rig: Rig) -> None:
    run("dpkg", "--unpack", str(rig.debs["0.2.0"]))
    assert rig.updater().run() is None
    assert rig.version == "0.2.0 ii"


@pytest.mark.soak
def test_a_note_of_another_version_is_understood(rig: Rig) -> None:
    assert outcome(rig, "0.9.9") is REFUSED
    journal = rig.cache / "attempt.json"
    journal.write_text(json.dumps(json.loads(journal.read_text()) | {"of_tomorrow": 1}))
    assert rig.updater().run() is None, "it would be tried again"


def test_a_damaged_note_of_an_attempt_counts_for_nothing(rig: Rig) -> None:
    rig.cache.mkdir()
    whole = Attempt(
        UpdateOrder("0.2.0", "c1", 1), Stage.CHECKING, {}, Before(active=True, run="", sound=None)
    )
    torn = json.dumps(asdict(whole) | {"previous": None})
    for nonsense in (
        "",
        "\0\0\0",
        "{}",
        "[1]",
        '{"order": 1, "before": {}}',
        '{"order": {}, "before": {"sound": 1}}',
        torn,
    ):
        (rig.cache / "attempt.json").write_text(nonsense)
        assert rig.updater().run() is None
        assert (rig.cache / "attempt.json.damaged").read_text() == nonsense
        assert not (rig.cache / "attempt.json").exists()
    assert outcome(rig, "0.2.0") is DONE


# --- what else may happen


def test_a_version_that_was_put_in_by_hand_meanwhile_is_left_alone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off_before(health.Health, "problem_after", rig, monkeypatch)
    run("systemctl", "mask")  # as one leaves it who is killed
    run("dpkg", "--install", str(build_deb(rig.folder / "built", "0.4.0", "curious")))
    assert rig.updater().run() is not None
    assert (rig.told.outcome, rig.version, rig.serves) == (REFUSED, "0.4.0 ii", True)
    assert "health-gate 0.4.0 was put in by hand meanwhile" in rig.told.detail
    assert not (rig.folder / "mask").exists()


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("full", ["", pytest.param("/usr", marks=pytest.mark.soak)])
def test_nothing_is_fetched_where_there_is_too_little_room(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    place = full or str(rig.cache)
    free = {place: 99_999_999}
    monkeypatch.setattr(
        packages.shutil, "disk_usage", lambda path: SimpleNamespace(free=free.get(str(path), 100_000_000))
    )
    assert outcome(rig, "0.2.0") is WAITING
    assert rig.told.detail == f"for the disk: less than 100 MB are free at {place}"[:DETAIL_MAX]
    assert [path.name for path in rig.cache.iterdir()] == ["lock"]
    free.clear()
    rig.updater().run()
    assert rig.told.outcome is DONE


FULL = """
case " $* " in
*" $WHERE "*)
    head -c 100000 /dev/zero > "$LEFT"
    echo 'E: Failed to fetch http://a/b  Error writing to file - write (28: No space left on device)' >&2
    echo 'E: Some index files failed to download.' >&2
    exit 100
    ;;
esac
exec /usr/bin/apt-get "$@"
"""


@pytest.mark.parametrize(
    ("where", "left"),
    [("update", "lists/partial/b"), pytest.param("download", "part/b", marks=pytest.mark.soak)],
)
def test_a_disk_that_fills_while_apt_fetches_is_waited_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, where: str, left: str
) -> None:
    """And what apt has left there does not keep it full."""
    monkeypatch.setenv("WHERE", where)
    monkeypatch.setenv("LEFT", str(rig.cache / left))
    stand_in(rig.folder, "apt-get", f'mkdir --parents "${{LEFT%/*}}"{FULL}')
    assert outcome(rig, "0.2.0") is WAITING
    assert rig.told.detail.startswith("for the disk: Failed to fetch http://a/b  Error writing to file")
    assert not [path for path in rig.cache.rglob("*") if path.stat().st_size > 10_000]


@pytest.mark.soak
def test_a_way_back_for_which_there_is_no_room_is_tried_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off_before(attempts.Updater, "_undo", rig, monkeypatch)
    with monkeypatch.context() as patch, pytest.raises(StuckError, match="No space left"):
        patch.setattr(packages.Packages, "keep_running", no_room)
        rig.updater().run()
    rig.updater().run()
    assert (rig.told.outcome, rig.version, rig.serves) == (BACK, "0.1.0 hi", True)


@pytest.mark.soak
def test_without_room_nothing_is_begun(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(_: Path, part: Path, **__: object) -> None:
        part.mkdir(parents=True)
        no_room()

    with monkeypatch.context() as patch:
        patch.setattr(rescue.shutil, "copytree", half)
        assert outcome(rig, "0.2.0") is WAITING
    assert sorted(path.name for path in rig.cache.iterdir()) == ["debs", "lock"]
    assert "for the disk: [Errno 28] No space left" in rig.told.detail
    assert (rig.version, (rig.cache / "attempt.json").exists()) == ("0.1.0 ii", False)
    assert rig.updater().run() is not None
    assert rig.told.outcome is DONE


@pytest.mark.soak
def test_a_bad_version_is_undone_although_nothing_can_be_noted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        stage = json.loads(content).get("stage")
        if stage in {Stage.CHECKING, Stage.UNDOING}:
            no_room()
        put(path, content)

    put = attempts.put
    monkeypatch.setattr(attempts, "put", full)
    assert outcome(rig, rig.published("0.3.0", "sick")) is BACK
    assert (rig.version, rig.serves) == ("0.1.0 hi", True)


@pytest.mark.soak
def test_a_result_that_cannot_be_told_ends_the_attempt_as_well(rig: Rig) -> None:
    (rig.state_dir / RESULT_NAME).mkdir()
    result = rig.update("0.2.0")
    assert result is not None
    assert (result.outcome, rig.version) == (DONE, "0.2.0 ii")
    assert not (rig.cache / "rescue").exists()
    (rig.state_dir / RESULT_NAME).rmdir()
    rig.updater().run()
    assert rig.told.outcome is DONE


# --- the folder of another user


def test_no_link_of_the_services_folder_is_followed(rig: Rig) -> None:
    treasure = rig.folder / "treasure"
    treasure.write_text('{"version": "0.2.0", "command": "c1", "asked_ms": 1}')
    (rig.state_dir / ORDER_NAME).symlink_to(treasure)
    assert rig.updater().run() is None
    (rig.state_dir / ORDER_NAME).unlink()
    (rig.state_dir / RESULT_NAME).symlink_to(treasure)
    assert outcome(rig, "0.2.0") is DONE
    assert "asked_ms" in treasure.read_text()
    os.mkfifo(rig.state_dir / "pipe")
    (rig.state_dir / "pipe").replace(rig.state_dir / ORDER_NAME)
    assert rig.updater().run() is None  # and does not wait for somebody to write


def test_who_takes_too_long_is_ended_with_all_that_he_has_started(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    done = programs.run(["sh", "-c", f"exec 9>{lock}; flock 9; sleep 60 & wait"], 1)
    assert (done.returncode, "timed out" in done.stderr) == (programs.NO_ANSWER, True)
    assert subprocess.run(["flock", "--timeout", "10", lock, "true"], check=False).returncode == 0


# --- the command


def command(rig: Rig, monkeypatch: pytest.MonkeyPatch, *words: str, euid: int = 0) -> Result:
    config = rig.folder / "gate.toml"
    config.write_text(gate_toml(1, state_dir=str(rig.state_dir)))
    places = Places(rig.cache, rig.source, rig.folder / "card")
    monkeypatch.setattr(attempts, "Places", lambda: places)
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    return CliRunner().invoke(main, ["update", f"--config={config}", *words])


def test_the_command_says_what_came_of_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LASTING_S", 0.0)  # it is the real time that passes here
    idle = command(rig, monkeypatch)
    assert (idle.exit_code, idle.stdout) == (0, "nothing to do\n")
    rig.order("0.2.0")
    done = command(rig, monkeypatch, "--now")
    assert (done.exit_code, done.stdout) == (0, "0.2.0: done; before it 0.1.0\n")
    rig.order(rig.published("0.3.0", "falls"), "c2")
    back = command(rig, monkeypatch, "--now", "--json")
    assert back.exit_code == 1
    told = json.loads(back.stdout)
    assert (told["outcome"], told["previous"], told["command"]) == ("rolled_back", "0.2.0", "c2")
    assert command(rig, monkeypatch, "--now").exit_code == 0  # it was said; a timer need not fail for ever


def test_the_service_can_read_what_came_of_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a careful person has called it."""
    rig.order("0.1.0")
    before = os.umask(0o077)
    try:
        assert command(rig, monkeypatch, "--now").exit_code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((rig.state_dir / RESULT_NAME).stat().st_mode) == 0o644


def test_the_command_is_for_root_and_needs_a_configuration(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = command(rig, monkeypatch, euid=1000)
    assert (refused.exit_code, "root" in refused.stderr) == (2, True)
    assert command(rig, monkeypatch, "--config=/nowhere").exit_code == 78
    rig.cache.mkdir()
    with attempts._alone(rig.cache):
        assert command(rig, monkeypatch).exit_code == os.EX_TEMPFAIL


@pytest.mark.soak
def test_the_plan_that_the_centre_has_sent_says_when(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an hour, whatever the time is here: so it is this plan that counts."""
    rig.time.moment = SystemClock(lambda: True).now()
    minute = rig.time.moment.wall_ms // 60_000 + 480
    window = f"[update_window]\nbegins_min = {(minute + 60) % 1440}\nends_min = {(minute + 120) % 1440}\n"
    (rig.state_dir / "policy.toml").write_text(f'extends = "county-hall"\nname = "sent"\n{window}')
    rig.order("0.2.0")
    waits = command(rig, monkeypatch)
    assert (waits.exit_code, "waiting (for the quiet hours" in waits.stdout) == (0, True)
