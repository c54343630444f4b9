"""The command line: what is quicker typed than clicked.

Every command ends with exit code 0 when what it was asked for is so, 1 when it is not, 2 when it was asked wrongly.
"""

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from evergold.config.errors import ConfigError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def demo(
    yes: Annotated[bool, typer.Option("--yes", help="Approve without asking, and end when it is done.")] = False,
    speed: Annotated[float, typer.Option(min=1, max=2000, help="Simulated seconds per real second.")] = 800,
) -> None:
    """Run a whole refresh on this machine: a simulated Azure, a real Prefect server, two host pools of six hosts."""
    # Prefect's client sends usage data home unless it is told not to, and nothing of a demo leaves this machine.
    os.environ["DO_NOT_TRACK"] = "1"
    from evergold.demo import main

    raise typer.Exit(main(approve=yes or not sys.stdin.isatty(), speed=speed))


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def simulate(context: typer.Context) -> None:
    """Run the simulated Azure alone. `evergold simulate --help` lists its options."""
    os.execv(sys.executable, [sys.executable, "-m", "simulator", *context.args])


@app.command()
def approve(
    run: Annotated[str, typer.Argument(help="The run's id, the beginning of it, or its name; may be left out.")] = "",
    name: Annotated[str, typer.Option(help="Your name; it is written to the image version.")] = "",
    reason: Annotated[str, typer.Option(help="Kept with the decision; needed to reject.")] = "",
    reject: Annotated[bool, typer.Option("--reject", help="Nobody gets the version.")] = False,
    not_before: Annotated[str, typer.Option(help="Approve for later, such as '2026-11-28 22:00' (UTC).")] = "",
    release_method: Annotated[str, typer.Option(help="Instead of what the image set says.")] = "as planned",
    yes: Annotated[bool, typer.Option("--yes", help="Answer without showing the evidence and asking.")] = False,
) -> None:
    """Answer a refresh that waits for an approval, as in the Prefect UI: shows its evidence and asks."""
    from prefect.client.orchestration import get_client

    from evergold import approve as approving

    decision = "reject" if reject else "approve for later" if not_before else "approve"

    async def give_answer() -> None:
        async with get_client() as client:
            waiting = approving.choose(await approving.waiting_runs(client), run)
            if not yes:
                print(waiting.question)
            who = name or typer.prompt("Your name")
            why = reason or ("" if yes else typer.prompt("Reason", default="", show_default=False))
            if not yes and not typer.confirm(f"{decision.capitalize()} {waiting.name}, as {who}?"):
                raise approving.ApproveError(f"Nothing was answered: {waiting.name} waits on.")
            form = {"decision": decision, "name": who, "reason": why}
            more = {} if release_method == "as planned" else {"release_method": release_method}
            more |= {"not_before": not_before} if not_before else {}
            await approving.answer(client, waiting, form | more, approving.from_here("evergold approve"))
        print(f"Answered: {waiting.name} goes on. If the answer does not count, it asks again and says why.")

    try:
        asyncio.run(give_answer())
    except approving.ApproveError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error


@app.command()
def hold(
    pool: Annotated[str, typer.Argument(help="Name of the host pool.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Every host pool of every image set.")] = False,
    reason: Annotated[str, typer.Option(help="Why; shown wherever something waits for it.")] = "",
    release: Annotated[bool, typer.Option("--release", help="Lift the hold.")] = False,
) -> None:
    """Stop rollouts of a host pool, or of all, within a minute: nothing more is created, drained, signed out or deleted.

    Without a pool and without --all it lists the holds that stand.
    """
    from evergold import holds
    from evergold.clock import RealClock

    if (pool and every) or ((reason or release) and not (pool or every)):
        print("Name one host pool, or --all. Nothing was changed.", file=sys.stderr)
        raise typer.Exit(2)
    name = pool or "every host pool"

    async def do() -> str:
        if not (pool or every):
            return "\n".join(f"{each.pool or 'every host pool'}: {each.reason}" for each in await holds.all_standing())
        if release:
            return f"{name} is released." if await holds.lift(pool) else f"There was no hold on {name}."
        return f"Held, within a minute: {await holds.hold(pool, reason, RealClock().now())}"

    try:
        print(asyncio.run(do()) or "No hold stands.")
    except holds.HoldError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error


@app.command()
def automations() -> None:
    """Bring deployments/automations to the Prefect server: who is told what, and what Prefect does by itself."""
    from evergold.automations import AutomationError, apply

    try:
        applied = asyncio.run(apply())
    except (AutomationError, ConfigError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from error
    print(f"Automations: {', '.join(applied.automations)}.")
    print(f"Channels told: {', '.join(applied.channels) or 'none'}.")
    if applied.left_out:
        print(f"Left out, since their variable is not set: {', '.join(applied.left_out)}.")


@app.command()
def status(image_set: Annotated[str, typer.Argument(help="Name of an image set; all, if left out.")] = "") -> None:
    """Show every host pool: versions, outdated hosts and their age, rollouts and holds, hosts kept as the way back."""
    from evergold import holds
    from evergold.config.load import list_image_sets, load_image_set
    from evergold.rollout.fleet import fleet
    from evergold.validation.preflight import connect_for

    async def show() -> None:
        for name in [image_set] if image_set else list_image_sets():
            loaded = load_image_set(name)
            async with connect_for(loaded) as azure:
                for each in await fleet(azure, loaded, holds.standing):
                    row = each.row()
                    print(f"{name}, ring {row.pop('ring')}: {row.pop('host pool')}")
                    print("\n".join(f"  {title:10}{value}" for title, value in row.items()))

    _asked(show())


@app.command()
def plan(
    image_set: Annotated[str, typer.Argument(help="Name of the image set.")],
    pool: Annotated[str, typer.Option(help="Only this host pool.")] = "",
    version: Annotated[str, typer.Option(help="The version, x.y.z; the latest, if left out.")] = "",
) -> None:
    """Show what a rollout would do: hosts and their order, users that would be moved. Changes nothing."""
    from evergold.config.load import list_host_pools, load_image_set
    from evergold.images.refresh import definition_of, latest_in
    from evergold.rollout.preview import describe_plan
    from evergold.validation.preflight import connect_for

    async def show() -> None:
        loaded = load_image_set(image_set)
        if pool and pool not in (each.name for ring in loaded.rings for each in ring.pools):
            print(f"{image_set} has no host pool {pool}; there are {', '.join(list_host_pools())}.", file=sys.stderr)
            raise typer.Exit(2)
        async with connect_for(loaded) as azure:
            wanted = version or await latest_in(azure, definition_of(loaded), loaded.location)
            if not wanted:
                print(f"{image_set} has no version yet: name one with --version.", file=sys.stderr)
                raise typer.Exit(1)
            print(await describe_plan(azure, loaded, "plan", wanted, pool))

    _asked(show())


def _asked(work: Coroutine[Any, Any, None]) -> None:
    """Does what was asked for; what cannot be done is told in words, and by the exit code."""
    from evergold.azure import AzureFailure

    try:
        asyncio.run(work)
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from error
    except AzureFailure as failure:
        print(failure, file=sys.stderr)
        raise typer.Exit(1) from failure


@app.command()
def doctor(image_set: Annotated[str, typer.Argument(help="Name of the image set, as its file is called.")]) -> None:
    """Check everything that a refresh of an image set needs, and change nothing."""
    from evergold.azure import AzureFailure
    from evergold.config.load import load_image_set
    from evergold.validation.preflight import check_image_set, connect_for

    async def check() -> bool:
        loaded = load_image_set(image_set)
        async with connect_for(loaded) as azure:
            checks = await check_image_set(azure, loaded)
        for each in checks:
            print(f"{each.verdict.upper():8}{each.name}: {each.measured}")
            if each.verdict != "pass":
                print(f"        What to do: {each.remedy}")
        return all(each.verdict in ("pass", "warn") for each in checks)

    try:
        fine = asyncio.run(check())
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from error
    except AzureFailure as failure:
        print(failure, file=sys.stderr)
        raise typer.Exit(1) from failure
    raise typer.Exit(0 if fine else 1)
