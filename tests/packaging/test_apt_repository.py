"""deploy/apt/make-repository: what it makes is what apt takes, and nothing else gets in unnoticed."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.update_rig import MAKE_REPOSITORY, PROGRAMS, Bench, build_deb, run

MISSING = [program for program in PROGRAMS if shutil.which(program) is None]
if MISSING and not os.environ.get("CI"):
    pytest.skip(f"{', '.join(MISSING)} missing: apt-utils gpg gpgv xz-utils", allow_module_level=True)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    yield Bench(tmp_path, monkeypatch.setenv, os.environ["PATH"])
    subprocess.run(["gpgconf", "--kill", "all"], check=False)


def make(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MAKE_REPOSITORY, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def indexed(repository: Path) -> set[str]:
    lines = (repository / "Packages").read_text().splitlines()
    return {line.removeprefix("Filename: ./") for line in lines if line.startswith("Filename: ")}


def test_the_script_is_clean() -> None:
    if shutil.which("shellcheck") is None and not os.environ.get("CI"):
        pytest.skip("shellcheck is missing")
    run("shellcheck", str(MAKE_REPOSITORY))


def test_help_is_enough() -> None:
    helped = make("--help")
    assert helped.returncode == 0
    for word in ("DIR DEB...", "--key NAME", "Signed-By: /usr/share/keyrings/health-gate.gpg", "ed25519"):
        assert word in helped.stdout
    assert make().returncode == make("only-a-folder").returncode == make("--wrong", "a", "b").returncode == 2


def test_every_version_stays_for_those_who_go_back(bench: Bench) -> None:
    newest = build_deb(bench.built, "0.3.0")
    done = make(bench.repository, newest)
    assert done.returncode == 0, done.stderr
    assert "3 packages, signed by " in done.stdout
    names = {f"health-gate_0.{n}.0_all.deb" for n in (1, 2, 3)}
    assert indexed(bench.repository) == names
    assert {path.name for path in bench.repository.glob("*.deb")} == names


def test_the_signature_is_of_the_key_beside_it_and_the_index_by_its_hash(bench: Bench) -> None:
    where = bench.repository
    run("gpgv", "--keyring", str(where / "health-gate.gpg"), str(where / "InRelease"))
    signed = (where / "InRelease").read_text()
    assert "Acquire-By-Hash: yes" in signed
    for index in ("Packages", "Packages.xz"):
        content = (where / index).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        assert f" {digest} " in signed
        assert (where / "by-hash/SHA256" / digest).read_bytes() == content
    assert "PRIVATE" not in run("gpg", "--list-packets", str(where / "health-gate.gpg")).upper()
    assert not [path for path in where.rglob("*") if path.is_file() and not path.stat().st_mode & 0o004]


def test_the_same_package_again_changes_nothing(bench: Bench) -> None:
    before = (bench.repository / "Packages").read_bytes()
    assert make(bench.repository, *bench.debs.values()).returncode == 0
    assert (bench.repository / "Packages").read_bytes() == before


def test_a_version_is_never_replaced(bench: Bench) -> None:
    other = build_deb(bench.built, "0.2.0", "falls")
    before = (bench.repository / "InRelease").read_bytes()
    done = make(bench.repository, other)
    assert done.returncode == 1
    assert "never replaced" in done.stderr
    assert (bench.repository / "InRelease").read_bytes() == before


def test_what_is_no_package_gets_nowhere(bench: Bench) -> None:
    (bench.built / "x.deb").write_text("no package")
    before = sorted(bench.repository.rglob("*"))
    done = make(bench.repository, build_deb(bench.built, "0.4.0"), bench.built / "x.deb")
    assert (done.returncode, "x.deb is no Debian package" in done.stderr) == (1, True)
    assert sorted(bench.repository.rglob("*")) == before


def test_without_a_key_it_says_how_to_make_one(bench: Bench, tmp_path: Path) -> None:
    done = make("--key", "nobody", tmp_path / "new", bench.debs["0.1.0"])
    assert (done.returncode, "--help says how to make one" in done.stderr) == (1, True)
    assert not (tmp_path / "new").exists()


def test_what_was_cut_off_is_no_part_of_the_next(bench: Bench) -> None:
    left = bench.repository / ".work.abcdef"
    left.mkdir()
    shutil.copyfile(bench.debs["0.1.0"], left / "health-gate_6.6.6_all.deb")
    assert make(bench.repository, bench.debs["0.2.0"]).returncode == 0
    assert indexed(bench.repository) == {"health-gate_0.1.0_all.deb", "health-gate_0.2.0_all.deb"}
    assert list(bench.repository.glob(".work*")) == []


def test_the_source_file_that_comes_with_it_is_one_for_apt(bench: Bench, tmp_path: Path) -> None:
    template = (MAKE_REPOSITORY.parent / "health-gate.sources").read_text()
    key = bench.repository / "health-gate.gpg"
    here = template.replace("/usr/share/keyrings/health-gate.gpg", str(key))
    source = tmp_path / "health-gate.sources"
    source.write_text(here.replace("https://packages.example/health-gate", f"file:{bench.repository}"))
    options = (f"--option=Dir::Etc::SourceList={source}", "--option=Dir::Etc::SourceParts=-")
    run("apt-get", *options, "update", "--error-on=any")
    assert "0.2.0" in run("apt-cache", *options, "policy", "health-gate")
