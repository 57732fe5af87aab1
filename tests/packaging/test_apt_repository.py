"""deploy/apt/make-repository: what it makes is what apt takes, and nothing else gets in unnoticed."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.update_rig import MAKE_REPOSITORY, PROGRAMS, Bench, build_deb, run, stand_in

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
    for word in ("DIR [DEB...]", "--key NAME", "Signed-By: /usr/share/keyrings/health-gate.gpg", "ed25519"):
        assert word in helped.stdout
    assert make().returncode == make("--wrong", "a", "b").returncode == 2


def test_every_version_stays_for_those_who_go_back(bench: Bench) -> None:
    newest = build_deb(bench.built, "0.3.0")
    done = make(bench.repository, newest)
    assert done.returncode == 0, done.stderr
    assert "3 packages, signed by " in done.stdout
    names = {f"health-gate_0.{n}.0_all.deb" for n in (1, 2, 3)}
    assert indexed(bench.repository) == names
    assert {path.name for path in bench.repository.glob("*.deb")} == names


def test_a_version_is_taken_out_as_the_page_says(bench: Bench) -> None:
    (bench.repository / "health-gate_0.2.0_all.deb").unlink()
    done = make(bench.repository)
    assert done.returncode == 0, done.stderr
    assert indexed(bench.repository) == {"health-gate_0.1.0_all.deb"}
    assert "0.2.0" not in (bench.repository / "Packages").read_text()
    where = bench.repository
    run("gpgv", "--keyring", str(where / "health-gate.gpg"), str(where / "InRelease"))
    assert hashlib.sha256((where / "Packages").read_bytes()).hexdigest() in (where / "InRelease").read_text()


@pytest.mark.parametrize("there", [False, True])
def test_without_packages_no_repository_is_begun(bench: Bench, tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "new").mkdir()
    done = make(tmp_path / "new")
    assert (done.returncode, "new is no repository; name the packages" in done.stderr) == (1, True)
    assert list(tmp_path.glob("new/*")) == []


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
    cut = build_deb(bench.built, "0.5.0")
    os.truncate(cut, cut.stat().st_size - 60)
    done = make(bench.repository, cut)
    assert (done.returncode, "or damaged" in done.stderr) == (1, True)
    assert sorted(bench.repository.rglob("*")) == before


@pytest.mark.parametrize("lost_bytes", [60, 10_000], ids=["cut", "empty"])
def test_a_package_that_was_damaged_there_is_told_and_nothing_is_signed(
    bench: Bench, lost_bytes: int
) -> None:
    there = bench.repository / "health-gate_0.1.0_all.deb"
    os.truncate(there, max(0, there.stat().st_size - lost_bytes))
    before = (bench.repository / "InRelease").read_bytes()
    for deb in (build_deb(bench.built, "0.3.0"), bench.debs["0.1.0"]):
        done = make(bench.repository, deb)
        assert (done.returncode, f"{there} is damaged: delete it" in done.stderr) == (1, True)
    assert (bench.repository / "InRelease").read_bytes() == before
    there.unlink()
    assert make(bench.repository, bench.debs["0.1.0"]).returncode == 0
    assert indexed(bench.repository) == {"health-gate_0.1.0_all.deb", "health-gate_0.2.0_all.deb"}


def test_an_index_that_lacks_a_package_is_not_signed(bench: Bench) -> None:
    before = (bench.repository / "InRelease").read_bytes()
    real = shutil.which("apt-ftparchive")
    stand_in(bench.folder, "apt-ftparchive", f'[ "$1" = packages ] || exec {real} "$@"')
    done = make(bench.repository, build_deb(bench.built, "0.3.0"))
    assert (done.returncode, "left packages out" in done.stderr) == (1, True)
    assert (bench.repository / "InRelease").read_bytes() == before


def test_the_folder_may_be_a_link(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bench.repository)
    assert make(tmp_path / "link", build_deb(bench.built, "0.3.0")).returncode == 0
    assert "health-gate_0.3.0_all.deb" in indexed(bench.repository)


def test_the_packages_are_on_the_disk_before_the_signature(bench: Bench) -> None:
    stand_in(
        bench.folder,
        "sync",
        f'echo "$*" >{bench.folder}/synced; ls {bench.repository} >>{bench.folder}/synced',
    )
    (bench.repository / "InRelease").unlink()
    assert make(bench.repository, build_deb(bench.built, "0.3.0")).returncode == 0
    told, *there = (bench.folder / "synced").read_text().splitlines()
    assert told == f"--file-system {bench.repository}"
    assert ("health-gate_0.3.0_all.deb" in there, "InRelease" in there) == (True, False)


def test_one_key_signs_and_goes_to_the_devices(bench: Bench) -> None:
    old = ("--passphrase", "", "--quick-generate-key", "health-gate-old", "ed25519", "sign", "never")
    run("gpg", "--batch", "--quiet", *old)
    done = make(bench.repository, bench.debs["0.2.0"])
    assert (done.returncode, "may be any of these, name one of them" in done.stderr) == (1, True)
    fingerprint = done.stderr.split("--key:")[1].split()[0]
    assert make("--key", fingerprint, bench.repository, bench.debs["0.2.0"]).returncode == 0
    exported = run("gpg", "--show-keys", "--with-colons", str(bench.repository / "health-gate.gpg"))
    assert [line.split(":")[9] for line in exported.splitlines() if line.startswith("fpr:")] == [fingerprint]


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
