"""The steps of a build that a person does: the run is suspended, they connect to the machine, change it, and say what they did.

As with an approval, the process ends and nothing is held meanwhile but the machine. What they did stands on the machine as a tag, and from
there on the image version: a run that is started again does not ask twice.
"""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from pydantic import Field, ValidationError

from evergold.azure import Azure
from evergold.config.models import ImageSet, ManualStep
from evergold.images import customise
from evergold.images.refresh import Refresh

log = logging.getLogger("evergold.images")

SECONDS_A_DAY = 86_400


class ManualForm(RunInput):
    """Says that the step is done."""

    name: str = Field(title="Your name", min_length=2, max_length=60, description="It is written to the image version.")
    note: str = Field(
        title="What you did",
        min_length=3,
        max_length=150,
        description="For whoever approves this image, and whoever builds the next one.",
    )


async def ask_for_hands(azure: Azure, image_set: ImageSet, refresh: Refresh, step: ManualStep) -> None:
    """The step was done by a person. To be called from the flow itself, not from a task."""
    if await customise.is_step_done(azure, image_set, refresh, step):
        return
    where = await hold_machine(azure, image_set, refresh, step)
    problem, attempt = "", 0
    while True:
        try:
            form: ManualForm = await asuspend_flow_run(
                wait_for_input=ManualForm.with_initial_data(description=f"{problem}{question(step, where)}"),
                timeout=step.expires_days * SECONDS_A_DAY,
                key=f"manual-{refresh.id}-{step.name}-{attempt}",
            )
            break
        except ValidationError as wrong:
            problem = f"**The last answer could not be read ({wrong.errors()[0]['msg']}).**\n\n"
            attempt += 1
    await note(azure, image_set, refresh, step, form)


def question(step: ManualStep, where: str) -> str:
    """What is shown above the form."""
    return (
        f"## By hand: {step.name}\n\n{step.instructions}\n\n{where}\n\nLeave no account, profile or secret behind: everybody gets what is "
        "on this machine. Sign out when you are done (do not shut it down, do not run sysprep), then fill in this form."
    )


@task(name="hold machine", task_run_name="hold machine: {step.name}", cache_policy=NO_CACHE)
async def hold_machine(azure: Azure, image_set: ImageSet, refresh: Refresh, step: ManualStep) -> str:
    """The machine stays until somebody has had the time; returns how to get on to it."""
    await customise.hold_machine(azure, image_set, refresh, step)
    return await customise.way_to_machine(azure, image_set, refresh)


@task(name="note manual step", task_run_name="note manual step: {step.name}", cache_policy=NO_CACHE)
async def note(azure: Azure, image_set: ImageSet, refresh: Refresh, step: ManualStep, form: ManualForm) -> None:
    """What was done by hand stands on the machine."""
    await customise.note_manual_step(azure, image_set, refresh, step, form.name.strip(), form.note.strip())
