"""`python -m tests.vm [--cuts N] [--seed N] [--rebuild] [--keep FOLDER]`: the gate on a real kernel.

It prints one line for each scenario, with seconds of the machine's own clock. Exit status 0: every one ended
as it must, or a part of the bench is missing here, which is named (with the environment variable CI set that
is an error). 1: something did not end as it must; everything stays in the folder of the run.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.kept import used
from tests.vm.image import BuildError, cached
from tests.vm.run import RunError, play

PROGRAMS: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "depmod": "kmod",
    "cpio": "cpio",
    "busybox": "busybox-static",
    "xz": "xz-utils",
}


def main(words: list[str]) -> int:
    """Run as told and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm")
    parser.add_argument("--cuts", type=int, default=2, help="how often the power is cut")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="when it is cut")
    parser.add_argument("--rebuild", action="store_true", help="build the image anew: with today's packages")
    parser.add_argument("--keep", type=Path, help="leave everything in this empty folder")
    chosen = parser.parse_args(words)
    if missing := _missing():
        _say(f"NOT RUN: {missing}")
        return 1 if os.environ.get("CI") else 0
    folder = chosen.keep or Path(tempfile.mkdtemp(prefix="vm-"))
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no machine is left
    began = time.monotonic()
    try:
        image = cached(_say, rebuild=chosen.rebuild)
        used(image.disk.parent, "*-*")  # images of other keys, and what interrupted builds have left
        good = play(image, folder.absolute(), _say, cuts=chosen.cuts, seed=chosen.seed)
    except (BuildError, RunError) as error:
        _say(str(error))
        good = False
    _say(f"{'every scenario ended as it must' if good else 'FAILED'}; {time.monotonic() - began:.0f} s")
    if good and not chosen.keep:
        shutil.rmtree(folder)
    elif not good:
        _say(f"everything is in {folder}; the same again with --seed {chosen.seed}")
    return 0 if good else 1


def _missing() -> str | None:
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin:/sbin"
    packages = [package for name, package in PROGRAMS.items() if not shutil.which(name, path=path)]
    if packages:
        return f"install {' '.join(packages)}"
    if os.geteuid() != 0:
        return "building the machine's disk needs root"
    return None


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
