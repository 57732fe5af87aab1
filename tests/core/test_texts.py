"""Every word in every language, within the display."""

import ast
import inspect
import string
import unicodedata
from collections.abc import Iterator
from typing import get_args, get_type_hints

import pytest

from gate.config import GateSection
from gate.core import rules
from gate.core.codes.model import REGISTRATION_FIELDS, Reason, Status, Travel
from gate.core.documents import Kind
from gate.core.texts import LANGUAGES, Key, Screen, reason_text, screen, text

COLUMNS = 40  # 20 full-width characters
# Strings of the rules that are no reasons: the kinds of documents and the fields of a registration.
OTHER_WORDS = {*map(str, Kind), *REGISTRATION_FIELDS}


def strings(tree: ast.AST) -> Iterator[str]:
    """Yield every string of some code: no docstrings, and a word for each state of travel or bad code."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Expr(ast.Constant()):
                pass
            case ast.Constant(str(word)):
                yield word
            case ast.JoinedStr([ast.Constant("travel_"), ast.FormattedValue()]):
                yield from (f"travel_{state}" for state in Travel)
            case ast.JoinedStr([ast.Constant("status_"), ast.FormattedValue()]):
                yield from (f"status_{status}" for status in (Status.YELLOW, Status.RED))
            case ast.JoinedStr():
                raise AssertionError(f"say here which reasons {ast.unparse(node)} makes")
            case _:
                yield from strings(node)


REASONS = sorted({*strings(ast.parse(inspect.getsource(rules))), *map(str, Reason)} - OTHER_WORDS)

every_screen = pytest.mark.parametrize(("lang", "key"), [(lang, key) for lang in LANGUAGES for key in Key])


def columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WFA" else 1 for character in line)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_each_language_has_every_word_and_no_other(lang: str) -> None:
    assert set(LANGUAGES[lang].screens) == {key.value for key in Key}
    assert sorted(LANGUAGES[lang].reasons) == REASONS


def test_the_reasons_are_found_in_the_rules() -> None:
    found = {"code_ok", "pass_used_up", "status_unknown", "full_approved", "travel_declared", "test_positive"}
    assert found <= set(REASONS)
    assert set(strings(ast.parse('def f(x):\n    "Doc."\n    return (x, "ready" if x else g("busy"))'))) == {
        "ready",
        "busy",
    }
    with pytest.raises(AssertionError, match="say here"):
        list(strings(ast.parse("f'mask_{x}'")))


def test_every_language_can_be_chosen() -> None:
    assert set(get_args(get_type_hints(GateSection)["lang"])) == set(LANGUAGES)


@every_screen
def test_both_lines_are_there_and_fit_the_display(lang: str, key: Key) -> None:
    shown = screen(lang, key, wait_s=120)
    for line in (shown.title, shown.next):
        assert line == line.strip()
        assert line.isprintable()
        assert 2 <= columns(line) <= COLUMNS, line
        assert not set(line) & set("{}…"), "a placeholder is left over"


@every_screen
def test_no_screen_needs_a_fact_that_is_not_named(lang: str, key: Key) -> None:
    used = {name for line in LANGUAGES[lang].screens[key] for _, name, _, _ in string.Formatter().parse(line)}
    assert used - {None} == ({"wait_s"} if key is Key.PLEASE_WAIT_RETEST else set())


@pytest.mark.parametrize("lang", LANGUAGES)
def test_no_two_screens_look_the_same(lang: str) -> None:
    assert len({screen(lang, key) for key in Key}) == len(Key)
    assert len(set(LANGUAGES[lang].reasons.values())) == len(LANGUAGES[lang].reasons)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(
    "disposition", ["wear_mask", "observe_at_home", "fever_clinic", "isolate_and_call_120"]
)
def test_each_disposition_has_its_screen(lang: str, disposition: str) -> None:
    assert screen(lang, Key(f"refused_{disposition}")).next


def test_facts_are_filled_in_and_a_missing_one_leaves_a_gap() -> None:
    assert screen("en", Key.PLEASE_WAIT_RETEST, wait_s=30, unused="{x}") == Screen(
        "We need to measure once more", "Please rest nearby, again in 30 s"
    )
    assert screen("zh", Key.PLEASE_WAIT_RETEST).next == "请在旁稍作休息，…秒后复测"
    assert "{odd}" in text("zh", Key.PLEASE_WAIT_RETEST, wait_s="{odd}")


def test_text_is_title_and_next_step() -> None:
    assert text("zh", Key.PASS_PLEASE) == "请通行\n闸门已打开，请逐一通过"


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("reason", REASONS)
def test_reasons_are_short_words(lang: str, reason: str) -> None:
    words = reason_text(lang, reason)
    assert words not in {"", reason}
    assert words.isprintable()
    assert words == words.strip()
    assert not set(words) & set("{}…"), "a placeholder is left over"
    assert columns(words) <= COLUMNS


def test_an_unknown_reason_is_shown_as_it_is() -> None:
    assert reason_text("zh", "ledger_failed") == "ledger_failed"


def test_an_unknown_language_is_a_fault_of_the_caller() -> None:
    with pytest.raises(KeyError):
        text("xx", Key.WELCOME)
