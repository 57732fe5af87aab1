"""The plan that the centre has sent: kept whole or not at all, followed while it can be."""

import os
from collections.abc import Callable
from pathlib import Path

from pytest import LogCaptureFixture, MonkeyPatch, mark, raises

from gate.app.adopted import POLICY_NAME, PolicyUnfitError, adopt_policy, adopted_policy
from gate.config import load_policy

CONFIGURED = load_policy("township-routine")
SENT = 'extends = "county-hall"\nname = "from-the-centre"\n'


def test_a_plan_that_was_sent_is_followed_from_then_on(tmp_path: Path, caplog: LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert adopted_policy(tmp_path, CONFIGURED) is CONFIGURED
    assert adopt_policy(tmp_path, SENT).name == "from-the-centre"
    assert adopted_policy(tmp_path, CONFIGURED).name == "from-the-centre"
    assert f"take away {tmp_path / POLICY_NAME} to end that" in caplog.text
    adopt_policy(tmp_path, SENT.replace("from-the", "of-the"))
    assert adopted_policy(tmp_path, CONFIGURED).name == "of-the-centre"
    assert [file.name for file in tmp_path.iterdir()] == [POLICY_NAME]


@mark.parametrize(
    ("text", "words"),
    [
        ("no toml", "not valid TOML"),
        ('extends = "county-hal"', "did you mean 'county-hall'?"),
        (SENT + "collect = 3\n", "collect: unknown key"),
        (SENT + "# \ud800", "cannot be kept"),
        ('extends = "/etc/gate/other.toml"', "only plans that come with the gate can be extended"),
    ],
)
def test_a_plan_that_is_no_plan_changes_nothing(tmp_path: Path, text: str, words: str) -> None:
    adopt_policy(tmp_path, SENT)
    with raises(PolicyUnfitError) as raised:
        adopt_policy(tmp_path, text)
    assert words in str(raised.value)
    assert (tmp_path / POLICY_NAME).read_text() == SENT
    assert [file.name for file in tmp_path.iterdir()] == [POLICY_NAME]
    assert adopted_policy(tmp_path, CONFIGURED).name == "from-the-centre"


def test_a_plan_that_cannot_be_kept_is_not_followed(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with raises(PolicyUnfitError, match=r"cannot be kept: .*No space left"):
        adopt_policy(tmp_path, SENT)
    assert adopted_policy(tmp_path, CONFIGURED) is CONFIGURED


def damaged(path: Path) -> None:
    path.write_text("damaged")


def no_text(path: Path) -> None:
    path.write_bytes(SENT.encode("utf-16"))


def endless(path: Path) -> None:
    path.write_text(SENT + "#" * 1_000_000)


def leading_elsewhere(path: Path) -> None:
    path.with_name("elsewhere").write_text(SENT)
    path.symlink_to("elsewhere")


def waiting_for_a_writer(path: Path) -> None:
    os.mkfifo(path)


@mark.timeout(20)
@mark.parametrize("spoil", [damaged, no_text, endless, leading_elsewhere, waiting_for_a_writer])
def test_what_is_kept_but_cannot_be_followed_is_said(
    spoil: Callable[[Path], None], tmp_path: Path, caplog: LogCaptureFixture
) -> None:
    """Root reads it, too, and whoever holds the service can put there what he likes."""
    spoil(tmp_path / POLICY_NAME)
    assert adopted_policy(tmp_path, CONFIGURED) is CONFIGURED
    assert "the plan that the centre has sent cannot be followed, township-routine is" in caplog.text
