"""The command line: what is quicker typed than clicked.

Every command ends with exit code 0 when what it was asked for is so, 1 when it is not, 2 when it was asked wrongly.
"""

import asyncio
import os
import sys
from typing import Annotated

import typer

from evergold.config.errors import ConfigError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def demo(
    yes: Annotated[bool, typer.Option("--yes", help="Approve without asking, and end when it is done.")] = False,
    speed: Annotated[float, typer.Option(min=1, max=2000, help="Simulated seconds per real second.")] = 800,
) -> None:
    """Run a whole refresh on this machine: a simulated Azure, a real Prefect server, two host pools of six hosts."""
    from evergold.demo import main

    raise typer.Exit(main(approve=yes or not sys.stdin.isatty(), speed=speed))


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def simulate(context: typer.Context) -> None:
    """Run the simulated Azure alone. `evergold simulate --help` lists its options."""
    os.execv(sys.executable, [sys.executable, "-m", "simulator", *context.args])


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
