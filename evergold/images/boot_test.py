"""Whether a machine that is made from a candidate comes up: tried on one that nobody uses, before anything else is made from it.

The machine stands on the build's subnet with the tags of a build machine: whatever removes what a build has left removes it too, after a
death of the process and after `build.keep_failed_hours` of one that did not come up. That it did is noted on the version, so that it is
tried once.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from evergold import tags
from evergold.azure import Azure, AzureFailure
from evergold.azure.compute import GalleryImage, VmSpec, status_of
from evergold.azure.pipeline import wait_until
from evergold.config.models import ImageSet
from evergold.images.build import ensure_machine_removed, lifetime, note_kept
from evergold.images.guest import ADMINISTRATOR, Machine, Step, StepFailure, ensure_fresh_step, new_password
from evergold.images.publish import Candidate
from evergold.images.refresh import Refresh, definition_of

log = logging.getLogger("evergold.images")

STEP = "boot test"
BOOT_MINUTES = 30


async def ensure_boots(azure: Azure, image_set: ImageSet, refresh: Refresh, candidate: Candidate) -> None:
    """A machine made from the candidate has come up, with the Windows that was built, and is gone again. Raises StepFailure.

    One that did not come up is left for a look. The candidate stays excluded from latest.
    """
    if tags.BOOTED in candidate.tags:
        return
    machine = Machine(image_set.build.resource_group, refresh.boot_name, image_set.location)
    await ensure_machine_removed(azure, image_set, refresh, machine.name)
    try:
        plan = await azure.galleries.purchase_plan(definition_of(image_set))
        await azure.compute.create_vm(replace(_spec(azure, image_set, refresh, candidate), plan=plan))
        await _until_agent_answers(azure, machine)
        facts = await ensure_fresh_step(
            azure, machine, Step("boot", "guest/boot.ps1", timeout_minutes=BOOT_MINUTES, tags=refresh.tags)
        )
        _refuse_another_windows(machine, candidate, str(facts.get("build", "")))
    except (AzureFailure, StepFailure) as problem:
        await _keep_or_remove(azure, image_set, refresh, machine.name)
        raise _failure(refresh, machine, candidate, problem) from problem
    log.info("%s: a machine made from %s has come up", machine.name, candidate.version)
    # Noted last: a run that dies before it tries once more, and none leaves the machine behind.
    await ensure_machine_removed(azure, image_set, refresh, machine.name)
    await azure.galleries.update_version(
        definition_of(image_set), candidate.version, set_tags={tags.BOOTED: tags.format_time(azure.clock.now())}
    )


async def _keep_or_remove(azure: Azure, image_set: ImageSet, refresh: Refresh, name: str) -> None:
    if image_set.build.keep_failed_hours:
        await note_kept(azure, image_set, refresh, name)
    else:
        await ensure_machine_removed(azure, image_set, refresh, name)


def _spec(azure: Azure, image_set: ImageSet, refresh: Refresh, candidate: Candidate) -> VmSpec:
    build = image_set.build
    until = azure.clock.now() + lifetime(image_set)
    return VmSpec(
        name=refresh.boot_name,
        resource_group=build.resource_group,
        location=image_set.location,
        size=build.vm_size,
        subnet_id=build.subnet_id,
        image=GalleryImage(candidate.version_id),
        admin_username=ADMINISTRATOR,
        admin_password=new_password(),
        security_type=build.security_type,
        tags={**refresh.tags, tags.KEEP_UNTIL: tags.format_time(until)},
        identity=False,
        automatic_updates=False,
    )


async def _until_agent_answers(azure: Azure, machine: Machine) -> None:
    async def answers() -> bool | None:
        vm = await azure.compute.get_vm(machine.resource_group, machine.name)
        return True if vm is not None and status_of(vm).agent_ready else None

    label = f"{machine.resource_group}/{machine.name}"
    await wait_until(answers, "see the machine's agent answer", label, azure.clock, BOOT_MINUTES * 60, 15)


def _refuse_another_windows(machine: Machine, candidate: Candidate, build: str) -> None:
    wanted = candidate.manifest.os.build if candidate.manifest is not None else build
    if build != wanted:
        raise StepFailure(
            STEP, machine.name, f"Windows is at {build or 'no build that it tells'}, and {wanted} was built.", ""
        )


def _failure(
    refresh: Refresh, machine: Machine, candidate: Candidate, problem: AzureFailure | StepFailure
) -> StepFailure:
    """What did not work, for whoever has to go on: the version is nobody's yet."""
    told = problem.problem if isinstance(problem, StepFailure) else f"{problem.code}: {problem.message}"
    remedy = (
        f"Version {candidate.version} stays a candidate that nobody gets, and no pool has met it. Look at the machine (boot diagnostics, "
        "serial console). If the cause is not the image, such as a lack of capacity, start this run again: it tries again. If it is, start "
        f"a new run that gives up {refresh.id}: it rejects this version and builds the next."
    )
    log_end = problem.log if isinstance(problem, StepFailure) else ""
    return StepFailure(
        STEP, machine.name, f"A machine made from {candidate.version} did not come up. {told}", remedy, log_end
    )
