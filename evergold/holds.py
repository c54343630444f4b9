"""Holds: the stop that a person sets, for one host pool or for all.

A hold is a Prefect variable, so that it can be set from the Prefect UI, from the command line and from anywhere else in the same
moment, and outlives every run. Its value is the reason. While one stands, a rollout of the pool goes on looking and does nothing; so does
what deletes retained hosts. Rollouts read it at every tick.

A hold that cannot be read counts as one that stands: nothing destructive follows from a failed read.
"""

import getpass
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.client.schemas.objects import Variable

from evergold.config.load import list_host_pools

ALL = "evergold_hold"
# What somebody may type into the UI's form instead of deleting the variable.
NOT_HELD = ("", "false", "no", "off", "none", "null")


class HoldError(Exception):
    """The hold was not set or lifted; says why, and what to do."""


@dataclass(frozen=True)
class Hold:
    """A hold that stands. `pool` is its host pool's name, or "" where it holds every pool."""

    pool: str
    reason: str

    def __str__(self) -> str:
        lift = f"`evergold hold {self.pool or '--all'} --release`"
        return f"{self.reason} (a hold on {self.pool or 'every host pool'}; {lift} lifts it)"


def variable_of(pool: str) -> str:
    """The Prefect variable that holds a pool, or every pool for "". Prefect takes lower case, digits, dashes and underscores."""
    return f"{ALL}_{re.sub(r'[^a-z0-9_-]', '_', pool.lower())}" if pool else ALL


async def standing(pool: str) -> str | None:
    """Why rollouts of a pool are held, in words; None where no hold stands. One that cannot be read stands."""
    try:
        async with get_client() as client:
            for held in (pool, ""):
                hold = _hold(held, await client.read_variable_by_name(variable_of(held)))
                if hold is not None:
                    return str(hold)
    except httpx.HTTPError as error:
        return f"whether somebody holds {pool} could not be read from the Prefect server ({type(error).__name__})"
    return None


async def all_standing() -> tuple[Hold, ...]:
    """Every hold that stands, the one on all pools first. Raises HoldError where the Prefect server does not answer."""
    found = []
    async with _answering() as client:
        for pool in ("", *list_host_pools()):
            hold = _hold(pool, await client.read_variable_by_name(variable_of(pool)))
            found += [hold] if hold else []
    return tuple(found)


async def hold(pool: str, reason: str, now: datetime) -> Hold:
    """Sets a hold on a pool, or on every pool for "". Raises HoldError."""
    _refuse_unknown(pool)
    if len(reason.strip()) < 2:
        raise HoldError("A hold needs a reason, for whoever finds it: --reason TEXT. Nothing was held.")
    text = f"{reason.strip()} ({getpass.getuser()}, {now:%Y-%m-%d %H:%M} UTC)"
    name = variable_of(pool)
    async with _answering() as client:
        if await client.read_variable_by_name(name) is None:
            await client.create_variable(VariableCreate(name=name, value=text, tags=["evergold"]))
        else:
            await client.update_variable(VariableUpdate(name=name, value=text, tags=["evergold"]))
    return Hold(pool, text)


async def lift(pool: str) -> bool:
    """Lifts a pool's hold, or the one on every pool for ""; False where there was none. Raises HoldError."""
    _refuse_unknown(pool)
    async with _answering() as client:
        if await client.read_variable_by_name(variable_of(pool)) is None:
            return False
        await client.delete_variable_by_name(variable_of(pool))
        return True


@asynccontextmanager
async def _answering() -> AsyncIterator[PrefectClient]:
    """A client of the Prefect server, whose silence is told as a HoldError."""
    try:
        async with get_client() as client:
            yield client
    except httpx.HTTPError as error:
        raise HoldError(
            f"The Prefect server did not answer ({error or type(error).__name__}). Nothing was changed. Look at PREFECT_API_URL, and at "
            "the server."
        ) from error


def _hold(pool: str, variable: Variable | None) -> Hold | None:
    value = variable.value if variable is not None else None
    text = "" if value is None or value is False else str(value).strip()
    return None if text.lower() in NOT_HELD else Hold(pool, text)


def _refuse_unknown(pool: str) -> None:
    if pool and pool not in list_host_pools():
        raise HoldError(
            f"No image set has a host pool {pool}; there are {', '.join(list_host_pools()) or 'none'}. Nothing was changed."
        )
