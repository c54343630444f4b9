"""Holds: which variable holds what, and that one that cannot be read stands."""

import httpx
import pytest
from prefect.client.schemas.objects import Variable
from typer.testing import CliRunner

from evergold import holds
from evergold.cli import app


class Server:
    """A Prefect server that knows some variables, or does not answer."""

    def __init__(self, variables: dict[str, object] | None) -> None:
        self._variables = variables

    async def __aenter__(self) -> "Server":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open."""

    async def read_variable_by_name(self, name: str) -> Variable | None:
        """The variable, or None."""
        if self._variables is None:
            raise httpx.ConnectError("All connection attempts failed")
        return Variable(name=name, value=self._variables[name]) if name in self._variables else None


async def standing(monkeypatch: pytest.MonkeyPatch, variables: dict[str, object] | None) -> str | None:
    """Why hp-finance-a is held while the server knows these variables."""
    monkeypatch.setattr(holds, "get_client", lambda: Server(variables))
    return await holds.standing("hp-finance-a")


async def test_a_pool_that_nobody_holds_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await standing(monkeypatch, {"evergold_hold_hp-other": "exam week"}) is None


async def test_the_pools_own_hold_and_the_one_on_all_stand_with_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    own = await standing(monkeypatch, {"evergold_hold_hp-finance-a": "exam week"})
    assert own is not None
    assert own.startswith("exam week (a hold on hp-finance-a;")
    every = await standing(monkeypatch, {"evergold_hold": "outage"})
    assert every is not None
    assert "`evergold hold --all --release` lifts it" in every


@pytest.mark.parametrize("value", ["", " ", "false", "No", False])
async def test_a_variable_that_says_no_is_no_hold(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    assert await standing(monkeypatch, {"evergold_hold": value}) is None


async def test_a_hold_that_cannot_be_read_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = await standing(monkeypatch, None)
    assert reason is not None
    assert "could not be read" in reason


def test_a_pools_variable_has_a_name_that_prefect_takes() -> None:
    assert holds.variable_of("HP Finance.A") == "evergold_hold_hp_finance_a"
    assert holds.variable_of("") == "evergold_hold"


@pytest.mark.parametrize(
    ("typed", "code", "says"),
    [
        (["hold", "hp-nowhere", "--reason", "exam week"], 1, "No image set has a host pool hp-nowhere"),
        (["hold", "--all"], 1, "A hold needs a reason"),
        (["hold", "--release"], 2, "Name one host pool, or --all"),
        (["hold", "hp-a", "--all", "--reason", "exam week"], 2, "Name one host pool, or --all"),
    ],
)
def test_a_hold_that_is_asked_for_wrongly_is_refused_with_the_reason(typed: list[str], code: int, says: str) -> None:
    ended = CliRunner().invoke(app, typed)
    assert (ended.exit_code, says in ended.stderr) == (code, True)
