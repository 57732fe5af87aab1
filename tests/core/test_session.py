"""The table of a visit: every pair is either a move of the table or refused."""

from itertools import product

import pytest

from gate.core.codes import CodeResult, Format, Reason
from gate.core.session import (
    JUDGED_STATES,
    OPEN_STATES,
    TRANSITIONS,
    Asked,
    Happening,
    ImpossibleTransitionError,
    State,
    Visit,
    advance,
)

JUDGED = {
    Happening.ADMITTED: State.AUTHORISED,
    Happening.RETEST_WANTED: State.RETESTING,
    Happening.CURE_WANTED: State.CURING,
    Happening.REFERRED: State.WITH_STAFF,
    Happening.REFUSED: State.FAREWELL,
}
# Written out a second time, by hand: a changed table has to be changed here as well.
MOVES = {
    **{(state, happening): after for state in OPEN_STATES for happening, after in JUDGED.items()},
    (State.IDLE, Happening.BEGAN): State.COLLECTING,
    (State.WITH_STAFF, Happening.ADMITTED): State.AUTHORISED,
    (State.WITH_STAFF, Happening.REFUSED): State.FAREWELL,
    (State.AUTHORISED, Happening.PASSED): State.IDLE,
    (State.AUTHORISED, Happening.NOT_PASSED): State.FAREWELL,
    **{(state, Happening.ENDED): State.IDLE for state in State if state is not State.IDLE},
}


@pytest.mark.parametrize(("state", "happening"), list(product(State, Happening)))
def test_every_pair_moves_by_the_table_or_is_refused(state: State, happening: Happening) -> None:
    if (state, happening) in MOVES:
        assert advance(state, happening) is MOVES[state, happening]
    else:
        with pytest.raises(ImpossibleTransitionError, match=f"^{happening} while {state}$"):
            advance(state, happening)


def test_the_table_has_every_state_and_nothing_else() -> None:
    assert set(TRANSITIONS) == set(State)
    assert sum(len(moves) for moves in TRANSITIONS.values()) == len(MOVES)


def test_evidence_is_taken_in_before_the_decision_only() -> None:
    assert set(OPEN_STATES) == {State.COLLECTING, State.RETESTING, State.CURING}
    assert set(JUDGED_STATES) == {*OPEN_STATES, State.WITH_STAFF}


def reachable(start: State) -> set[State]:
    found, new = set(), {start}
    while new:
        found |= new
        new = {after for state in new for after in TRANSITIONS[state].values()} - found
    return found


@pytest.mark.parametrize("state", State)
def test_every_state_is_reached_from_idle_and_reaches_it(state: State) -> None:
    assert state in reachable(State.IDLE)
    assert State.IDLE in reachable(state)


@pytest.mark.parametrize("state", [state for state in State if state is not State.IDLE])
def test_every_visit_can_be_ended_at_once(state: State) -> None:
    assert advance(state, Happening.ENDED) is State.IDLE


def test_only_judged_evidence_authorises() -> None:
    leads = {state for state, moves in TRANSITIONS.items() if State.AUTHORISED in moves.values()}
    assert leads == {*OPEN_STATES, State.WITH_STAFF}


def test_a_refused_move_leaves_the_visit_as_it_was() -> None:
    visit = Visit("0a1b2c3d-000001", 1, 2)
    with pytest.raises(ImpossibleTransitionError):
        visit.state = advance(visit.state, Happening.PASSED)
    assert visit == Visit("0a1b2c3d-000001", 1, 2, State.COLLECTING)


@pytest.mark.parametrize(
    ("answered", "asking"),
    [((), False), ((True,), False), ((False,), True), ((True, False), True), ((True, True), False)],
)
def test_a_visit_asks_until_every_question_is_answered(answered: tuple[bool, ...], asking: bool) -> None:
    code = CodeResult(Format.CN_HEALTH, Reason.NOT_CHECKABLE)
    questions = {bytes([number]): Asked(code, known) for number, known in enumerate(answered)}
    visit = Visit("0a1b2c3d-000001", 1, 2, answers=questions)
    assert visit.asking is asking
