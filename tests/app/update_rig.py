"""A device of which only systemd and the gate itself are stood in for: real packages, real apt, dpkg and gpg.

apt and dpkg work in a folder of their own, told so by their environment (apt.conf(5), dpkg(1)), so that
neither root nor a container is needed. Programs that stand in for `systemctl` and `gate doctor` behave as the
installed package says in `behaviour`: well, falls (again and again), hangs (never ready), clings (hangs, and
does not stop either), slow (ready 25 s late), late (falls when it has been ready for 20 s), sick (a check
fails), mute (no doctor), curious (a check fails that the others do not make), dips (falls while the doctor
looks, and is ready again), stays (its script does not restart the service), dims (the camera fails when the
doctor has looked once).
"""

import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gate.app.updating.attempt import Places, Updater
from gate.app.updating.health import Health
from gate.app.updating.packages import Packages
from gate.config import load_policy
from gate.core.moment import NS_PER_S, Moment
from gate.core.updates import ORDER_NAME, RESULT_NAME, UpdateOrder, UpdateResult, read_result

MAKE_REPOSITORY = Path(__file__).parents[2] / "deploy/apt/make-repository"
PROGRAMS = ("apt-get", "apt-ftparchive", "dpkg", "dpkg-deb", "gpg", "gpgv", "xz", "flock")
QUIET_MS = (
    1_700_000_000_000 - 1_700_000_000_000 % 86_400_000 + (24 + 3 - 8) * 3_600_000
)  # 03:00 in the plans' zone

_SYSTEMCTL = """\
# A service manager with one service, whose state is what the package that was started last makes of it.
unit=$RIG/unit
next() { n=$(($(cat "$RIG/starts" 2>/dev/null || echo 0) + 1)); echo $n > "$RIG/starts"; echo $n; }
start() {
    echo "run=$(next)" > "$unit"
    echo > "$RIG/looks"
    cat "$DPKG_ROOT/usr/share/health-gate/behaviour" > "$RIG/runs"
}
echo "$*" >> "$RIG/systemctl.log"
case $1 in
    mask) echo > "$RIG/mask" ;;
    unmask) rm "$RIG/mask" ;;
    restart | start) [ ! -e "$RIG/mask" ] || exit 1 ;;
esac
case $1 in
    mask | unmask) ;;
    restart)
        start
        # It would wait for that one to be ready.
        [ "$2" = --no-block ] || ! grep -qE 'hangs|clings' "$RIG/runs" || echo >> "$RIG/blocked"
        ;;
    start) grep -q run= "$unit" || start ;;
    stop) [ "$(cat "$RIG/runs")" = clings ] && echo stops >> "$unit" || echo > "$unit" ;;
    kill) echo > "$unit" ;;
    reset-failed) ;;
    show)
        run=$(sed -n s/run=//p "$unit")
        state=inactive falls=0
        [ -z "$run" ] || case $(cat "$RIG/runs") in
            clings) state=activating && ! grep -q stops "$unit" || state=deactivating ;;
            falls) state=activating falls=2 ;;
            hangs) state=activating ;;
            slow)
                echo >> "$RIG/looks"
                state=activating
                [ "$(wc -l < "$RIG/looks")" -lt 50 ] || state=active
                ;;
            late)
                echo >> "$RIG/looks"
                state=active
                [ "$(wc -l < "$RIG/looks")" -lt 40 ] || { state=activating falls=2; }
                ;;
            *) state=active ;;
        esac
        printf 'ActiveState=%s\\nInvocationID=%s\\nNRestarts=%s\\n' $state "$run" $falls
        printf 'InactiveExitTimestampMonotonic=1000000\\n'
        printf 'ActiveEnterTimestampMonotonic=%s\\n' "$(cat "$RIG/ready_us" 2>/dev/null || echo 3000000)"
        ;;
    *) exit 1 ;;
esac
"""
_GATE = """\
echo "$*" >> "$RIG/gate.log"
behaviour=$(cat "$DPKG_ROOT/usr/share/health-gate/behaviour")
[ "$behaviour" != mute ] || exit 1
[ "$behaviour" != dips ] || systemctl restart
broker=$(cat "$RIG/broker" 2>/dev/null || echo ok)
camera=ok
[ "$behaviour" != sick ] || camera=failed
if [ "$behaviour" = dims ]; then
    echo >> "$RIG/looks"
    [ "$(wc -l < "$RIG/looks")" -lt 3 ] || camera=failed
fi
more=
[ "$behaviour" != curious ] || more='{"name": "supply", "status": "failed"}, '
printf '{"ok": false, "checks": [%s{"name": "camera", "status": "%s"}, ' "$more" $camera
printf '{"name": "broker", "status": "%s"}]}\\n' $broker
"""
_POSTINST = """#!/bin/sh
set -e
[ "$(cat "$DPKG_ROOT/usr/share/health-gate/behaviour")" = stays ] || systemctl restart gate.service || true
"""


def build_deb(
    folder: Path, version: str, behaviour: str = "well", name: str = "health-gate", more: str = ""
) -> Path:
    tree = folder / f"tree-{name}-{version}-{behaviour}"
    (tree / "DEBIAN").mkdir(parents=True)
    fields = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@example.org>\n{more}"
    (tree / "DEBIAN/control").write_text(f"{fields}Description: a stand-in\n")
    if name == "health-gate":
        (tree / "usr/share/health-gate").mkdir(parents=True)
        (tree / "usr/share/health-gate/behaviour").write_text(f"{behaviour}\n")
        (tree / "DEBIAN/postinst").write_text(_POSTINST)
        (tree / "DEBIAN/postinst").chmod(0o755)
    deb = folder / f"{name}_{version}_all.deb"
    done = subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(deb)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tree)
    return deb


class Time:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.moment = Moment(0, QUIET_MS, True)

    def now(self) -> Moment:
        return self.moment

    def sleep(self, seconds: float) -> None:
        passed = round(seconds * NS_PER_S)
        self.moment = replace(
            self.moment,
            mono_ns=self.moment.mono_ns + passed,
            wall_ms=self.moment.wall_ms + passed // 1_000_000,
        )


_PLACES = (
    *(f"var/lib/dpkg/{name}" for name in ("info", "updates", "triggers")),
    *(f"etc/apt/{name}" for name in ("apt.conf.d", "preferences.d", "sources.list.d")),
    "var/lib/apt/lists",
    "var/cache/apt/archives/partial",
    "var/log/apt",
    "tmp",
)


class Bench:
    """What all devices begin with: 0.1.0 installed, a repository with 0.1.0 and 0.2.0, and its key."""

    def __init__(self, folder: Path, setenv: Callable[[str, str], object], path: str) -> None:
        self.folder = folder
        self.root, self.repository, self.built = folder / "root", folder / "repository", folder / "built"
        (folder / "gpg").mkdir(mode=0o700)
        self.built.mkdir()
        for place in _PLACES:
            (self.root / place).mkdir(parents=True)
        for file in ("status", "available"):
            (self.root / "var/lib/dpkg" / file).touch()
        make_programs(folder)
        set_environment(folder, self, setenv, path)
        key = ("--passphrase", "", "--quick-generate-key", "health-gate", "ed25519", "sign", "never")
        run("gpg", "--batch", "--quiet", *key)
        self.debs = {version: build_deb(self.built, version) for version in ("0.1.0", "0.2.0")}
        run(str(MAKE_REPOSITORY), str(self.repository), *map(str, self.debs.values()))
        run("dpkg", "--install", str(self.debs["0.1.0"]))


def make_programs(folder: Path) -> None:
    (folder / "bin").mkdir()
    stand_in(folder, "systemctl", _SYSTEMCTL)
    stand_in(folder, "gate", _GATE)


def stand_in(folder: Path, program: str, script: str) -> None:
    """Put a script before a program of the system, for whoever works with the programs of this folder."""
    place = folder / "bin" / program
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)


def set_environment(folder: Path, bench: Bench, setenv: Callable[[str, str], object], path: str) -> None:
    root, programs = folder / "root", folder / "bin"
    (folder / "apt.conf").write_text(
        f'Dir "{root}";\nDir::State::status "{root}/var/lib/dpkg/status";\nAPT::Sandbox::User "root";\n'
        f'DPkg::Path "{programs}:/usr/sbin:/usr/bin:/sbin:/bin";\n'
    )
    for name, value in {
        "RIG": folder,
        "APT_CONFIG": folder / "apt.conf",
        "DPKG_ROOT": root,
        "DPKG_FORCE": "script-chrootless,not-root,unsafe-io,downgrade",
        "GNUPGHOME": bench.folder / "gpg",
        "PATH": f"{programs}:{path}:/usr/sbin:/sbin",
    }.items():
        setenv(name, str(value))


class Rig:
    """One device, and a repository of its own."""

    def __init__(self, folder: Path, bench: Bench, setenv: Callable[[str, str], object], path: str) -> None:
        self.folder = folder
        self.debs = bench.debs
        self.root = folder / "root"
        self.repository = folder / "repository"
        self.state_dir = folder / "state"
        self.cache = folder / "cache"
        self.source = folder / "health-gate.sources"
        self.time = Time()
        for place in ("built", "state", "card"):
            (folder / place).mkdir()
        make_programs(folder)
        shutil.copytree(bench.root, self.root)
        shutil.copytree(bench.repository, self.repository)
        set_environment(folder, bench, setenv, path)
        run("systemctl", "start")

    # --- the repository

    def publish(self, *debs: Path) -> None:
        run(str(MAKE_REPOSITORY), str(self.repository), *map(str, debs))

    def published(self, version: str, behaviour: str, more: str = "") -> str:
        """Build a version that behaves so and publish it."""
        self.publish(build_deb(self.folder / "built", version, behaviour, more=more))
        return version

    def point_at(self, address: str) -> None:
        key = self.folder / "key.gpg"
        if not key.exists():
            shutil.copyfile(self.repository / "health-gate.gpg", key)
        self.source.write_text(f"Types: deb\nURIs: {address}\nSuites: ./\nSigned-By: {key}\n")

    # --- the device

    def order(self, version: str, command: str = "c1") -> None:
        order = UpdateOrder(version, command, self.time.moment.wall_ms)
        (self.state_dir / ORDER_NAME).write_bytes(order.encoded())

    def updater(self, **changes: Any) -> Updater:
        places = Places(self.cache, self.source, self.folder / "card")
        made = Updater(
            packages=Packages(places.cache, places.source, places.card),
            health=Health(
                Path("/etc/gate/gate.toml"),
                self.state_dir,
                lambda: self.time.moment.mono_ns / 1e9,
                self.time.sleep,
            ),
            cache=places.cache,
            state_dir=self.state_dir,
            policy=load_policy("county-hall"),
            now=self.time.now,
        )
        return replace(made, **changes)

    def update(self, version: str, command: str = "c1", **changes: Any) -> UpdateResult | None:
        self.order(version, command)
        return self.updater(**changes).run()

    @property
    def told(self) -> UpdateResult:
        """What the service would put on record."""
        return read_result((self.state_dir / RESULT_NAME).read_bytes())

    @property
    def version(self) -> str:
        """The version that is installed, and how ("ii" is well)."""
        return run(
            "dpkg-query", "--show", "--showformat=${Version} ${db:Status-Abbrev}", "health-gate"
        ).strip()

    @property
    def serves(self) -> bool:
        """Whether the version that is installed is the one that runs, and is ready."""
        runs, installed = self.folder / "runs", self.root / "usr/share/health-gate/behaviour"
        return (
            run("systemctl", "show").startswith("ActiveState=active")
            and runs.read_text() == installed.read_text()
        )

    def broker(self, status: str) -> None:
        (self.folder / "broker").write_text(status)


def run(*arguments: str) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


class Web:
    """The repository's web server, on this machine."""

    def __init__(self, folder: Path) -> None:
        handler = partial(_Quiet, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
