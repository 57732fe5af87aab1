"""deploy/deb/build: the same bytes each time, nothing left behind, on Debian 13 as well, as any user."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.packaging.conftest import CENTRAL, GATE, ROOT, Packages
from tests.systemd.rootfs import Overlay, layer, trixie_root

pytestmark = [pytest.mark.nspawn, pytest.mark.timeout(900)]

COMMITTED = 1_700_000_000  # 2023-11-14 22:13:20 UTC
GIT = ["git", "-c", "user.name=tests", "-c", "user.email=tests@example.org"]
BUILDER = ("dpkg-dev", "debhelper", "dh-python", "lintian", "pybuild-plugin-pyproject", "python3-setuptools")


class Checkout:
    """A clean clone of what is in this tree, committed or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
        for name in filter(None, names):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes((ROOT / name).read_bytes())
                (folder / name).chmod((ROOT / name).stat().st_mode)
        self.git("init", "--quiet")
        self.commit()

    def git(self, *words: str) -> None:
        environment = {**os.environ, "GIT_COMMITTER_DATE": f"{COMMITTED} +0000"}
        subprocess.run([*GIT, *words], cwd=self.folder, check=True, env=environment)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "As it stands")

    def build(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        # From another folder and under another name, as pyenv puts its Python first in the PATH.
        return subprocess.run(
            [str(self.folder / "deploy/deb/build"), *words],
            cwd="/", check=False, capture_output=True, text=True, timeout=600,
            env={**os.environ, **environment},
        )  # fmt: skip

    def append(self, name: str, text: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write(text)

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text
        (self.folder / name).write_text(text.replace(old, new))

    def state(self) -> dict[str, int]:
        """Return every file with the time of its last change, but for git's own and what is made in build."""
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        apart = {self.folder / ".git", self.folder / "build"}
        return {str(path): path.stat().st_mtime_ns for path in paths if apart.isdisjoint(path.parents)}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "health-gate")


def contents(deb: Path) -> list[list[str]]:
    """Return mode, owner, size, day, time and name of each file."""
    listed = subprocess.run(["dpkg-deb", "--contents", str(deb)], check=True, capture_output=True, text=True)
    return [line.split(maxsplit=5) for line in listed.stdout.splitlines()]


def files(deb: Path) -> set[str]:
    return {f"{mode} {owner} {name}" for mode, owner, _, _, _, name in contents(deb)}


def systemd_calls(deb: Path) -> list[str]:
    """Return the lines of the maintainer scripts that make users and folders, enable and start units."""
    tar = subprocess.run(["dpkg-deb", "--ctrl-tarfile", str(deb)], check=True, capture_output=True).stdout
    command = ["tar", "-xO", "--wildcards", "./p*"]
    scripts = subprocess.run(command, check=True, input=tar, capture_output=True).stdout.decode()
    lines = [line for line in scripts.splitlines() if "deb-systemd" in line]
    return [re.split(r" >| \|\|", line)[0] for line in lines]


def test_two_builds_give_the_same_bytes_and_leave_nothing_behind(checkout: Checkout, tmp_path: Path) -> None:
    for ignored in ("gate/__pycache__/scratch.cpython-313.pyc", "build/junk/gate/junk.py"):
        (checkout.folder / ignored).parent.mkdir(parents=True)
        (checkout.folder / ignored).write_text("not mine")
    other_python = tmp_path / "bin"
    other_python.mkdir()
    (other_python / "python3").write_text("#!/bin/sh\nexit 3\n")
    (other_python / "python3").chmod(0o755)
    before = checkout.state()

    done = checkout.build(
        "--check", PATH=f"{other_python}:{os.environ['PATH']}", PYTHONPATH="/nowhere", SOURCE_DATE_EPOCH="1"
    )

    assert done.returncode == 0, done.stderr
    assert "Both builds give the same bytes" in done.stderr
    assert "lintian has nothing to say" in done.stderr
    folder = checkout.folder / "build/deb"
    made = [folder / f"{name}_0.1.0_all.deb" for name in (CENTRAL, GATE)]
    assert sorted(folder.iterdir()) == sorted(made)
    after = checkout.state()
    assert {path for path in after if "/build" not in path} == {
        path for path in before if "/build" not in path
    }
    assert {path for path in before if "/build" not in path and before[path] != after[path]} == set()
    listed = contents(made[1])
    assert {(day, clock) for *_, day, clock, _ in listed} == {("2023-11-14", "22:13")}
    assert not any("scratch" in name or "junk" in name for *_, name in listed)


def test_an_earlier_version_does_not_stay_beside_the_new_one(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "health-gate_0.0.1_all.deb").touch()
    (tmp_path / "health-gate-doc_0.0.1_all.deb").touch()
    done = checkout.build("--version", "0.3.0", str(tmp_path))
    assert done.returncode == 0, done.stderr
    names = {path.name for path in tmp_path.glob("*.deb")}
    assert names == {f"{CENTRAL}_0.3.0_all.deb", "health-gate-doc_0.0.1_all.deb", f"{GATE}_0.3.0_all.deb"}
    assert any(
        "health_gate-0.3.0.dist-info" in name for *_, name in contents(tmp_path / f"{GATE}_0.3.0_all.deb")
    )


def test_what_differs_from_build_to_build_is_found(checkout: Checkout, tmp_path: Path) -> None:
    checkout.replace("debian/rules", "override_dh_installsystemd:\n", (
        "override_dh_installsystemd:\n"
        "\tdate +%N >debian/health-gate/usr/share/health-gate/gate/when.txt\n"
    ))  # fmt: skip
    done = checkout.build("--check", str(tmp_path / "out"))
    assert done.returncode == 1
    assert f"{GATE}_0.1.0_all.deb: two builds of the same source differ" in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_lintian_warns_of_ends_the_build(checkout: Checkout, tmp_path: Path) -> None:
    checkout.replace("debian/health-gate.manpages", "docs/man/gate.1\n", "")
    done = checkout.build("--check", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "no-manual-page" in done.stdout
    assert "lintian objects" in done.stderr


def test_a_build_that_fails_says_why(checkout: Checkout, tmp_path: Path) -> None:
    checkout.append("debian/health-gate.install", "no/such/file usr/bin\n")
    done = checkout.build(str(tmp_path / "out"))
    assert done.returncode == 1
    assert "no/such/file" in done.stderr


def test_it_builds_on_debian_13_as_a_user_and_without_git(
    checkout: Checkout, tmp_path: Path, packages: Packages
) -> None:
    base = trixie_root()
    builder = Overlay(tmp_path / "builder", [layer("deb-builder", [base], BUILDER), base])
    out = tmp_path / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    done = builder.run(
        "cp -R /srv/checkout /srv/copy && rm -rf /srv/copy/.git && chown -R nobody /srv/copy\n"
        "chmod -R go-rwx /srv/copy\n"
        "setpriv --reuid nobody --regid nogroup --clear-groups env HOME=/nonexistent "
        "/srv/copy/deploy/deb/build --check /srv/out",
        binds={checkout.folder: "/srv/checkout", out: "/srv/out"},
        timeout=600,
    )
    assert "lintian has nothing to say" in done.stderr
    for here in packages.values():
        there = out / here.name
        assert files(there) == files(here)
        assert systemd_calls(there) == systemd_calls(here) != []
