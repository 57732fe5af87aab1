"""deploy/setup without network or root: the real script, with pip, apt and root as stand-ins on its PATH."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ("sh", "cat", "chmod", "dirname", "env", "flock", "grep", "mkdir", "rm", "sha256sum", "tee")

_SETUP = (ROOT / "deploy/setup").read_text()
TEST_TOOLS = re.findall(r"^(\S+) ", _SETUP.partition("test_tools='")[2].partition("'")[0], re.MULTILINE)

# `python3 -m venv` makes a pip that notes what it is asked to install, and fails while `offline` exists.
PYTHON = """#!/bin/sh
case "$*" in
    *ensurepip*) [ ! -e no-ensurepip ] ;;
    *find_library*) [ ! -e no-zbar ] ;;
    "-m venv .venv")
        mkdir -p .venv/bin
        printf '#!/bin/sh\\ncase $1 in --version) echo "pip 1 from %s/.venv/lib" ;;
        install) echo "$@" >>pip.log; [ ! -e offline ] ;; esac\\n' "$(pwd -P)" >.venv/bin/pip
        chmod +x .venv/bin/pip ;;
    *) exec REAL "$@" ;;
esac
"""
APT = """#!/bin/sh
echo "$@" >>apt.log
case "$*" in *install*) [ -e apt-fails ] || rm -f no-zbar no-ensurepip ;; esac
"""


class Checkout:
    """A checkout in a folder of its own, and the commands that its set-up finds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "gate"
        self.bin = folder / "bin"
        (self.folder / "deploy").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / "deploy/setup", self.folder / "deploy/setup")
        shutil.copy(ROOT / "pyproject.toml", self.folder)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        self.command("python3", PYTHON.replace("REAL", sys.executable))
        for tool in ("postgres", *TEST_TOOLS):
            self.command(tool, "#!/bin/sh\n")
        self.command("apt-get", APT)
        self.user(0)

    def command(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def user(self, number: int) -> None:
        self.command("id", f"#!/bin/sh\necho {number}\n")

    def set_up(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "deploy/setup", *words],
            env={"PATH": str(self.bin), **environment},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    def log(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_says_what_it_installs_and_a_second_run_does_nothing(checkout: Checkout) -> None:
    (checkout.folder / "no-zbar").touch()
    first = checkout.set_up("demo")
    assert first.returncode == 0, first.stderr
    assert re.search(r"Installing with apt.*: libzbar0", first.stdout)
    assert re.search(r"Installing with pip into \.venv.*: .*paho-mqtt.*amqtt", first.stdout)
    assert [line.split()[-1] for line in checkout.log("pip.log")] == [".[camera,central,demo]"]

    second = checkout.set_up("demo")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert len(checkout.log("pip.log")) == 1
    assert len(checkout.log("apt.log")) == 2  # update and install, both from the first run


def test_what_the_tests_need_includes_what_the_demonstration_needs(checkout: Checkout) -> None:
    assert checkout.set_up("test").returncode == 0
    assert checkout.set_up("demo").stdout == ""
    assert [line.split()[-1] for line in checkout.log("pip.log")] == [".[camera,central,counter,demo,dev]"]


def test_a_changed_requirement_installs_again_into_the_same_environment(checkout: Checkout) -> None:
    checkout.set_up("demo")
    (checkout.folder / ".venv/kept").touch()
    with (checkout.folder / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert checkout.set_up("demo").returncode == 0
    assert len(checkout.log("pip.log")) == 2
    assert (checkout.folder / ".venv/kept").exists()


def test_an_installation_that_was_cut_short_starts_anew(checkout: Checkout) -> None:
    (checkout.folder / "offline").touch()
    failed = checkout.set_up("demo")
    assert failed.returncode == 1
    assert "pip failed" in failed.stderr
    (checkout.folder / ".venv/half-copied").touch()
    (checkout.folder / "offline").unlink()
    assert checkout.set_up("demo").returncode == 0
    assert not (checkout.folder / ".venv/half-copied").exists()


def test_a_moved_checkout_gets_a_new_environment(checkout: Checkout) -> None:
    checkout.set_up("demo")
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved gate"))
    result = checkout.set_up("demo")
    assert result.returncode == 0
    assert "Removing .venv" in result.stdout
    assert "moved gate/" in (checkout.folder / ".venv/bin/pip").read_text()


def test_without_root_it_names_the_packages_and_goes_on_where_it_can(checkout: Checkout) -> None:
    checkout.user(1000)
    (checkout.folder / "no-zbar").touch()
    result = checkout.set_up("demo")
    assert result.returncode == 0
    assert "libzbar0: the second QR decoder" in result.stdout
    assert "as root:  apt-get install --no-install-recommends libzbar0" in result.stdout
    assert checkout.log("apt.log") == []

    in_ci = checkout.set_up("demo", CI="true")
    assert in_ci.returncode == 1
    assert "in CI every part must be there" in in_ci.stderr


def test_what_a_device_needs_is_named_with_its_purpose(checkout: Checkout) -> None:
    checkout.user(1000)
    result = checkout.set_up("device")
    assert result.returncode == 0
    assert "lintian: checks the Debian packages" in result.stdout
    assert re.search(r"apt-get install .* debhelper .* mmdebstrap .* qemu-system-x86 ", result.stdout)
    assert "mosquitto" not in result.stdout
    assert checkout.set_up("device", CI="true").returncode == 1


def test_without_root_it_stops_where_it_cannot_go_on(checkout: Checkout) -> None:
    checkout.user(1000)
    (checkout.folder / "no-ensurepip").touch()
    result = checkout.set_up("demo")
    assert result.returncode == 1
    assert "python3-venv" in result.stderr
    assert not (checkout.folder / ".venv").exists()


def test_apt_that_fails_is_an_error_in_ci(checkout: Checkout) -> None:
    for name in ("no-zbar", "apt-fails"):
        (checkout.folder / name).touch()
    assert checkout.set_up("demo").returncode == 0
    assert checkout.set_up("demo", CI="true").returncode == 1


def test_an_old_python_is_refused_by_name(checkout: Checkout) -> None:
    old = "import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])"
    checkout.command(
        "python3",
        f"""#!/bin/sh
if [ "$1" = --version ]; then echo Python 3.9.2; else exec {sys.executable} -c '{old}' "$2"; fi
""",
    )
    result = checkout.set_up("demo")
    assert result.returncode == 1
    assert "3.11 or newer is needed, and this is Python 3.9.2" in result.stderr


@pytest.mark.parametrize("words", [(), ("everything",)])
def test_an_unknown_word_prints_the_usage(checkout: Checkout, words: tuple[str, ...]) -> None:
    result = checkout.set_up(*words)
    assert (result.returncode, result.stderr) == (2, "usage: deploy/setup demo|test|device\n")


def test_make_alone_explains_every_target() -> None:
    without_make = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    shown = subprocess.run(
        ["make"], cwd=ROOT, env=without_make, capture_output=True, text=True, check=True
    ).stdout
    declared = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert declared
    targets = {target for target in declared[1].split() if not target.startswith("setup-")}
    assert {line.split()[0] for line in shown.splitlines()} == targets
