"""A PostgreSQL of its own for tests: a fresh cluster in a temporary folder, reached through a Unix socket."""

import os
import pwd
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import Final, Self

import psycopg
import pytest
from sqlalchemy import make_url

BINARIES: Final = Path("/usr/lib/postgresql")
# What a power cut would do to it is PostgreSQL's own matter; flushing would only make the tests slow.
QUICK: Final = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"


class Postgres:
    """One cluster. As root it runs as the user postgres or nobody, because PostgreSQL refuses root."""

    def __init__(self, options: str = QUICK) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hg-pg-"))
        self._binaries = binaries()
        self._options = f"-c listen_addresses= -c unix_socket_directories={self.folder} {options}"
        self._numbers = count(1)
        user = _user()
        self._as = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        if user is not None:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", self._options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server: `immediate` as if it were killed, `fast` in order."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def cpu_s(self) -> float:
        """Return the processor time that all processes of the server have taken, in seconds."""
        (main, *_) = (self.folder / "data" / "postmaster.pid").read_text().split()
        ticks = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            if folder.name == main or fields[1] == main:  # user and system time, own and of ended children
                ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def new_database(self, template: str = "template1", *, lasting: bool = False) -> str:
        """Make a database, empty or a copy of the one with this URL, and return its URL.

        `lasting`: what is committed through this URL outlives `stop`, as it does by PostgreSQL's default.
        """
        name = f"central_{os.getpid()}_{next(self._numbers)}"
        original = make_url(template).database if "://" in template else template
        with psycopg.connect(f"host={self.folder} user=postgres dbname=postgres", autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name} TEMPLATE {original}")
        url = f"postgresql+psycopg://postgres@/{name}?host={self.folder}"
        return f"{url}&options=-csynchronous_commit%3Don" if lasting else url

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), "-D", str(self.folder / "data"), *arguments]
        # The server inherits no pipe, or whoever waits for its end would wait for ever.
        with (self.folder / "out").open("a+b") as out:
            done = subprocess.run(
                command,
                check=False,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                timeout=60,
                **self._as,
            )
        assert done.returncode == 0, (self.folder / "out").read_text()


def find_binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL that is installed."""
    found = sorted(BINARIES.glob("*/bin"), key=lambda path: float(path.parent.name))
    return found[-1] if found else None


def binaries() -> Path:
    """Return the folder of the newest PostgreSQL; without one skip, or fail where nothing may be skipped."""
    found = find_binaries()
    if found is not None:
        return found
    reason = f"no PostgreSQL in {BINARIES}: install the package postgresql"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    names = {user.pw_name: user for user in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]
