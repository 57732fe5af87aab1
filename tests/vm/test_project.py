"""The machine gets the project as it is now: a package older than the work tree would show old code."""

import os
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.vm import project


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "tree"
    for folder in project.SHIPPED:
        leave = shutil.ignore_patterns("__pycache__")
        shutil.copytree(project.ROOT / folder, root / folder, ignore=leave)
    shutil.copy(project.ROOT / "pyproject.toml", root)
    monkeypatch.setattr(project, "ROOT", root)
    monkeypatch.setattr(project, "PACKAGES", root / "build/deb")
    (root / "build/deb").mkdir(parents=True)
    return root


def test_the_work_tree_lies_where_the_package_puts_it(tree: Path, tmp_path: Path) -> None:
    assert "work tree" in project.bring(tmp_path)
    with tarfile.open(tmp_path / "project.tar") as archive:
        modes = {member.name: member.mode for member in archive}
    assert modes["usr/bin/gate"] == 0o755
    wanted = {
        "usr/share/health-gate/gate/cli/__init__.py",
        "usr/lib/systemd/system/gate.service",
        "usr/lib/systemd/system.conf.d/50-gate-watchdog.conf",
        "usr/lib/sysusers.d/health-gate.conf",
        "usr/lib/udev/rules.d/60-health-gate.rules",
    }
    assert wanted <= modes.keys()


def test_a_package_counts_until_a_file_of_the_tree_is_newer(tree: Path, tmp_path: Path) -> None:
    package = tree / "build/deb/health-gate_9_all.deb"
    package.write_bytes(b"")
    newest = project._newest()
    os.utime(package, (newest, newest))
    assert project.bring(tmp_path) == package.name
    os.utime(package, (newest - 1, newest - 1))
    assert "work tree" in project.bring(tmp_path)
