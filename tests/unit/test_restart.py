"""What counts as a crash when runs are started again."""

from datetime import UTC, datetime, timedelta

from prefect.client.schemas.objects import State, StateType

from tasks.restart import crash_count


def states(*types: StateType) -> list[State]:
    """A run's history, a minute apart."""
    start = datetime(2026, 11, 13, tzinfo=UTC)
    return [State(type=each, timestamp=start + timedelta(minutes=number)) for number, each in enumerate(types)]


def test_each_crash_after_a_start_counts() -> None:
    history = states(StateType.RUNNING, StateType.CRASHED, StateType.SCHEDULED, StateType.RUNNING, StateType.CRASHED)
    assert crash_count(history) == 2


def test_a_crash_that_was_reported_twice_is_one() -> None:
    assert crash_count(states(StateType.RUNNING, StateType.CRASHED, StateType.CRASHED)) == 1


def test_the_order_in_which_states_are_listed_does_not_matter() -> None:
    history = states(StateType.RUNNING, StateType.CRASHED, StateType.CRASHED, StateType.SCHEDULED)
    assert crash_count(history[::-1]) == 1
