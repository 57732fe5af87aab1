"""What is kept goes when nobody has asked for it for a day, and not before."""

import os
from pathlib import Path

from tests.kept import UNUSED_S_MAX, used
from tests.systemd.rootfs import KEPT

KEY = "0123456789abcdef"


def test_only_what_was_not_used_for_a_day_goes(tmp_path: Path) -> None:
    old = ("gate-" + KEY, "gone-" + KEY, "gate-" + KEY[::-1] + ".part", "apt", "vm")
    for name in (*old, "new-" + KEY):
        (tmp_path / name).mkdir()
    for name in old:
        now_s = (tmp_path / name).stat().st_mtime
        os.utime(tmp_path / name, (now_s, now_s - UNUSED_S_MAX - 60))
    used(tmp_path / old[0], KEPT)
    assert {path.name for path in tmp_path.iterdir()} == {old[0], "new-" + KEY, "apt", "vm"}
    used(tmp_path / old[0], KEPT)
    assert (tmp_path / old[0]).exists(), "it was asked for"
