"""`python -m tests.chaos [--control puback] [--seed N] [--visits N] [--gates N] [--keep FOLDER]`.

Exit status 0: nothing was lost, doubled, undetected or passed without a record (with the control: something
was lost, as it must). 1: it was not so. Everything stays in the folder of a run that has failed.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.plant import PlantError
from tests.chaos.run import Settings, run


def main(words: list[str]) -> int:
    """Run as told and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--control", choices=["puback"], help="gates that trust the broker: must lose")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--visits", type=int, default=20_000)
    parser.add_argument("--gates", type=int, default=4)
    parser.add_argument("--keep", type=Path, help="leave everything in this empty folder")
    chosen = parser.parse_args(words)
    folder = chosen.keep or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no process is left
    settings = Settings(chosen.seed, chosen.visits, chosen.gates, trusting=chosen.control is not None)
    try:
        good = run(settings, folder.absolute(), _say)
    except PlantError as error:
        _say(f"{error}")
        return 1
    if good and not chosen.keep:
        shutil.rmtree(folder)
    return 0 if good else 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
