"""Building an image: one machine, from its creation to the proof that it is generalised. Each step is an `ensure`.

The machine's name comes from the refresh, and it is tagged with it; no step touches a machine that is another's. Each step that was
seen to end well is noted on the machine as a tag with its time, so that a run which is killed anywhere and started again from
the top goes on where it was, also when the machine is switched off and its scripts' results can no longer be read. Before
the note there is the script's own result, under a name made from the step: a script that has run is not run again.

What a failed step leaves: the machine, as it is, to look at, until the time in its tag `evergold-keep-until`. `ensure_build_cleaned`
removes it; `evergold.images.leftovers` does so for builds that nobody came back to.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from azure.mgmt.compute.models import VirtualMachine
from pydantic import SecretStr

from evergold import tags
from evergold.azure import Azure
from evergold.azure.compute import (
    AttachedDisk,
    GalleryImage,
    MarketplaceImage,
    PurchasePlan,
    VmSpec,
    VmStatus,
    status_of,
)
from evergold.azure.galleries import Definition
from evergold.azure.ids import ResourceId
from evergold.azure.pipeline import wait_until
from evergold.config.models import ImageSet
from evergold.images.guest import (
    ADMINISTRATOR,
    RUN_AGAIN,
    Facts,
    Machine,
    Step,
    StepFailure,
    command_of,
    ensure_fresh_step,
    ensure_step,
    facts_or_failure,
    new_password,
    standing,
)
from evergold.images.manifest import Manifest, ManifestError, Page, from_tags, tag_names, to_tags, unpaged
from evergold.images.readiness import ensure_fit_for_sysprep
from evergold.images.refresh import Refresh, definition_of, definition_tags
from evergold.images.source import SourceHost
from evergold.images.source_host import ensure_copy_disk, snapshot_name
from evergold.images.sysprep import cause_of
from evergold.images.template import (
    ensure_copy_swapped_in,
    ensure_scripts_forgotten,
    ensure_template_returned,
    os_disk_id,
)

log = logging.getLogger("evergold.images")

GENERALISED: Final = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
DONE: Final = "evergold-done-"  # and the step's name: when the step was seen to end well
PROOF: Final = "image-state"
RESTARTS_BEFORE_SYSPREP: Final = 2
SYSPREP_MINUTES: Final = 30
MOST_PAGES: Final = 30
MANIFEST_TRIES: Final = 3
NETWORK_API: Final = "2023-09-01"


# The machine


async def ensure_build_vm(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The machine on which the image is built exists, runs, and its agent answers. One that could not be made is made anew.

    Where a template VM lends its hardware, that is the machine: the copied disk is swapped in.
    """
    if refresh.template:
        until = azure.clock.now() + lifetime(image_set)
        await ensure_copy_swapped_in(azure, image_set, refresh, until)
    vm = await azure.compute.get_vm(image_set.build.resource_group, refresh.vm_name)
    if vm is not None:
        _assert_ours(vm, refresh)
        if is_done(vm, PROOF):
            return
        if status_of(vm).provisioning == "failed":
            log.warning("%s could not be made at an earlier try (%s): made anew", refresh.vm_name, status_of(vm).error)
            await azure.compute.delete_vm(image_set.build.resource_group, refresh.vm_name)
            vm = None
    if vm is None:
        await azure.compute.create_vm(await _build_spec(azure, image_set, refresh))
    elif status_of(vm).power in ("deallocated", "stopped"):
        await azure.compute.start(image_set.build.resource_group, refresh.vm_name)
    await azure.compute.wait_until_provisioned(image_set.build.resource_group, refresh.vm_name, 3600)
    await _until_agent_answers(azure, image_set, refresh)
    if refresh.template:
        await ensure_scripts_forgotten(azure, image_set, refresh)


async def ensure_build_cleaned(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """Nothing of the build is left: machine, disk and network card are seen to be gone. Whatever became of the build.

    A template VM is not the build's to delete: it has its own disk again.
    """
    if refresh.template:
        await ensure_template_returned(azure, image_set, refresh)
    await ensure_machine_removed(azure, image_set, refresh, refresh.build_name)
    await azure.disks.delete_snapshot(image_set.build.resource_group, snapshot_name(refresh))  # of a source host's disk


async def ensure_machine_removed(azure: Azure, image_set: ImageSet, refresh: Refresh, name: str) -> None:
    """A machine that this refresh made in the build's resource group is seen to be gone, with its disk and its network card."""
    group = image_set.build.resource_group
    vm = await azure.compute.get_vm(group, name, instance_view=False)
    if vm is not None:
        _assert_ours(vm, refresh)
        await azure.compute.delete_vm(group, name)
    await azure.disks.delete_disk(group, f"{name}-os")  # goes with the machine; is left over only where that failed
    card = ResourceId(
        str(azure.environment.subscription_id), group, "Microsoft.Network/networkInterfaces", (f"{name}-nic",)
    )

    async def nothing_left() -> bool | None:
        if await azure.compute.get_vm(group, name, instance_view=False) is not None:
            return None
        return True if await azure.arm.get(str(card), NETWORK_API) is None else None

    await wait_until(nothing_left, "remove what the build left", f"{group}/{name}", azure.clock, 900, 15)


async def ensure_kept_for_a_look(azure: Azure, image_set: ImageSet, refresh: Refresh) -> datetime | None:
    """The machine of a failed build stays for `build.keep_failed_hours`; returns until when, or None where nothing stays."""
    if not image_set.build.keep_failed_hours:
        await ensure_build_cleaned(azure, image_set, refresh)
        return None
    return await note_kept(azure, image_set, refresh, refresh.vm_name)


async def note_kept(azure: Azure, image_set: ImageSet, refresh: Refresh, name: str) -> datetime | None:
    """It stands on a machine of this refresh until when it is kept for a look; None where there is no such machine."""
    group = image_set.build.resource_group
    vm = await azure.compute.get_vm(group, name, instance_view=False)
    if vm is None or (vm.tags or {}).get(tags.REFRESH) != refresh.id:
        return None
    until = azure.clock.now() + timedelta(hours=image_set.build.keep_failed_hours)
    await azure.compute.update_vm_tags(group, name, {tags.KEEP_UNTIL: tags.format_time(until)})
    return until


def lifetime(image_set: ImageSet) -> timedelta:
    """How long a build machine may stay that nobody has said anything else about: a build, its publishing, and the time to look at it."""
    build = image_set.build
    return timedelta(minutes=build.timeout_minutes + image_set.publish.timeout_minutes, hours=build.keep_failed_hours)


# Inside the machine


async def ensure_snapshot_taken(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """There is a snapshot of the customised machine, from before it is cleaned and generalised: the way back where sysprep breaks it.

    Taken once. It is not the build's to remove: retention keeps it, and `ensure_snapshot_removed` is for a refresh that is given up.
    """

    async def run(machine: Machine) -> None:
        name = snapshot_before_sysprep(refresh)
        vm = await own_vm(azure, image_set, refresh)
        disk = os_disk_id(vm)
        if not disk:
            raise StepFailure("snapshot", machine.name, "It has no managed OS disk.", "Please report this.")
        named = {**refresh.tags, tags.PURPOSE: "before-sysprep", tags.IMAGE_VERSION: refresh.version}
        await azure.disks.create_snapshot(machine.resource_group, name, image_set.location, disk, named)

    await once(azure, image_set, refresh, "snapshot", run)


async def ensure_snapshot_removed(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The snapshot from before sysprep is gone: of a refresh that is given up, nothing stays."""
    group, name = image_set.build.resource_group, snapshot_before_sysprep(refresh)
    present = await azure.disks.get_snapshot(group, name)
    if present is not None and (present.tags or {}).get(tags.REFRESH) == refresh.id:
        await azure.disks.delete_snapshot(group, name)


def snapshot_before_sysprep(refresh: Refresh) -> str:
    """The name of the snapshot from before sysprep."""
    return f"{refresh.build_name}-before-sysprep"


async def ensure_prepared(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The machine is fit for sysprep, and what must not be in an image is gone from it; Windows gets the restarts that it waits for."""
    step = Step("prepare", "guest/prepare.ps1", tags=refresh.tags)

    async def run(machine: Machine) -> None:
        await ensure_fit_for_sysprep(azure, machine, refresh.tags)
        for left in reversed(range(RESTARTS_BEFORE_SYSPREP + 1)):
            try:
                await ensure_step(azure, machine, step)
                return
            except StepFailure as failure:
                if not failure.facts.get("reboot_pending") or not left:
                    raise
            log.info("%s: Windows waits for a restart, and gets it", machine.name)
            await restart(azure, image_set, refresh)

    await once(azure, image_set, refresh, step.name, run)


async def ensure_manifest(azure: Azure, image_set: ImageSet, refresh: Refresh) -> Manifest:
    """What is in the image is known: read from the machine, and kept with the refresh on the image definition."""
    present = await definition_tags(azure, image_set, refresh)
    kept = from_tags(present)
    if kept is not None:
        return kept
    await own_vm(azure, image_set, refresh)
    manifest = await read_manifest(azure, build_machine(image_set, refresh), refresh.tags)
    fresh = to_tags(manifest)
    stale = tuple(name for name in tag_names(present) if name not in fresh)
    await azure.galleries.update_definition_tags(definition_of(image_set), fresh, remove=stale)
    return manifest


async def read_manifest(azure: Azure, machine: Machine, command_tags: dict[str, str]) -> Manifest:
    """The manifest of any running machine, page by page; read again from the first page where it changed meanwhile."""
    for left in reversed(range(MANIFEST_TRIES)):
        try:
            return unpaged(await _pages(azure, machine, command_tags))
        except ManifestError as problem:
            if not left:
                raise StepFailure("manifest", machine.name, str(problem), RUN_AGAIN) from problem
            log.warning("%s: %s Reading it again.", machine.name, problem)
    raise AssertionError("the last try either returns or raises")


async def ensure_sysprepped(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """Sysprep has ended well under a local administrator.

    The administrator's password exists in this process alone, for the time it takes to send two scripts. Where a sysprep has to be
    started and the password is not known (always, after a crash), another one is set first.
    """
    name = "sysprep"

    async def run(machine: Machine) -> None:
        if await standing(azure, machine, name) != "counts":
            password = new_password()
            await _set_administrator(azure, machine, refresh, password)
            await azure.compute.delete_script(machine.resource_group, machine.name, name)
            step = _sysprep(refresh, name, password)
            await azure.compute.begin_script(machine.resource_group, machine.name, command_of(machine, step))
        result = await azure.compute.wait_for_script(
            machine.resource_group, machine.name, name, (SYSPREP_MINUTES + 30) * 60
        )
        try:
            facts_or_failure(machine, name, result)
        except StepFailure as failure:
            raise _explained(failure) from failure

    await once(azure, image_set, refresh, name, run)


async def ensure_state_proven(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The running machine itself has said that its Windows is generalised. Nothing is published without this."""

    async def run(machine: Machine) -> None:
        facts = await ensure_step(azure, machine, Step(PROOF, "guest/image-state.ps1", tags=refresh.tags))
        if facts.get("image_state") != GENERALISED:
            problem = f"Its image state is {facts.get('image_state') or 'not known'}, and must be {GENERALISED}."
            raise StepFailure(PROOF, machine.name, problem, "Do not publish this machine; remove it and build again.")

    await once(azure, image_set, refresh, PROOF, run)


# Out of the machine again


async def ensure_deallocated(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The proven machine is switched off and its hardware released."""
    group, name = image_set.build.resource_group, refresh.vm_name
    vm = await _proven_vm(azure, image_set, refresh)
    if status_of(vm).power not in ("deallocated", "deallocating"):
        await azure.compute.deallocate(group, name)

    async def deallocated() -> bool | None:
        seen = await own_vm(azure, image_set, refresh)
        return True if status_of(seen).power == "deallocated" else None

    await wait_until(deallocated, "deallocate the virtual machine", f"{group}/{name}", azure.clock, 1800, 15)


async def ensure_generalized(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """Azure knows that the machine is generalised. Only ever the machine that this refresh made, and only after the proof.

    A template VM is not marked: its disk is published.
    """
    vm = await _proven_vm(azure, image_set, refresh)
    source = SourceHost.parse(refresh.source)
    if source is not None and vm.properties is not None and vm.properties.vm_id == source.vm_id:
        raise StepFailure(
            "generalise", refresh.vm_name, "It is the session host itself, and not its copy.", "Please report this."
        )
    if refresh.template:
        return  # Windows on its disk is generalised; a VM that Azure has marked so could never start again
    if not status_of(vm).generalized:
        await azure.compute.generalize(image_set.build.resource_group, refresh.vm_name)


async def publishable_vm_id(azure: Azure, image_set: ImageSet, refresh: Refresh) -> str:
    """The id of the machine to publish; raises StepFailure unless it was proven, switched off and marked as generalised."""
    vm = await _proven_vm(azure, image_set, refresh)
    status = status_of(vm)
    if status.power != "deallocated" or not status.generalized or not vm.id:
        raise StepFailure(
            "publish", refresh.vm_name, f"It is {status.power}, generalised: {status.generalized}.", RUN_AGAIN
        )
    return vm.id


async def publishable_disk_id(azure: Azure, image_set: ImageSet, refresh: Refresh) -> str | None:
    """The id of the disk to publish instead of a machine: a template's, proven and switched off. None where there is no template."""
    if not refresh.template:
        return None
    vm = await _proven_vm(azure, image_set, refresh)
    if status_of(vm).power != "deallocated":
        raise StepFailure("publish", refresh.vm_name, f"It is {status_of(vm).power}.", RUN_AGAIN)
    return os_disk_id(vm)


# Parts


async def once(
    azure: Azure,
    image_set: ImageSet,
    refresh: Refresh,
    step: str,
    run: Callable[[Machine], Awaitable[None]],
) -> None:
    """Run a step unless the machine carries the note that it is done; note it afterwards."""
    if is_done(await own_vm(azure, image_set, refresh), step):
        return
    await run(build_machine(image_set, refresh))
    group, name = image_set.build.resource_group, refresh.vm_name
    now = azure.clock.now()
    noted = {DONE + step: tags.format_time(now), tags.KEEP_UNTIL: tags.format_time(now + lifetime(image_set))}
    await azure.compute.update_vm_tags(group, name, noted)
    # A tag is a write to the machine, and would be in the way of the next one.
    await azure.compute.wait_until_provisioned(group, name, 600, interval=5)
    log.info("%s: %s done", name, step)


async def own_vm(azure: Azure, image_set: ImageSet, refresh: Refresh) -> VirtualMachine:
    """The build machine. Raises StepFailure where it is gone, or is another's."""
    vm = await azure.compute.get_vm(image_set.build.resource_group, refresh.vm_name)
    if vm is None:
        raise StepFailure(
            "build",
            refresh.vm_name,
            "The build machine is not there any more.",
            "Start the run again: it makes another.",
        )
    _assert_ours(vm, refresh)
    return vm


async def _proven_vm(azure: Azure, image_set: ImageSet, refresh: Refresh) -> VirtualMachine:
    vm = await own_vm(azure, image_set, refresh)
    if not is_done(vm, PROOF):
        raise StepFailure(
            PROOF, refresh.vm_name, "It was not proven that its Windows is generalised.", "Start the run again."
        )
    return vm


def _assert_ours(vm: VirtualMachine, refresh: Refresh) -> None:
    owner = (vm.tags or {}).get(tags.REFRESH)
    if owner != refresh.id:
        raise StepFailure(
            "build",
            refresh.vm_name,
            f"A machine of that name belongs to {owner or 'nobody we know'}, not to {refresh.id}.",
            "It was left alone. Rename or remove it if it is yours, and start the run again.",
        )


def is_done(vm: VirtualMachine, step: str) -> bool:
    """Whether the machine carries the note that a step was seen to end well."""
    return DONE + step in (vm.tags or {})


def build_machine(image_set: ImageSet, refresh: Refresh) -> Machine:
    """Where the steps of a build run."""
    return Machine(image_set.build.resource_group, refresh.vm_name, image_set.location)


async def _build_spec(azure: Azure, image_set: ImageSet, refresh: Refresh) -> VmSpec:
    image, plan = await _source(azure, image_set, refresh)
    until = azure.clock.now() + lifetime(image_set)
    return VmSpec(
        name=refresh.vm_name,
        resource_group=image_set.build.resource_group,
        location=image_set.location,
        size=image_set.build.vm_size,
        subnet_id=image_set.build.subnet_id,
        image=image,
        admin_username=ADMINISTRATOR,
        admin_password=new_password(),
        security_type=image_set.build.security_type,
        tags={**refresh.tags, tags.KEEP_UNTIL: tags.format_time(until)},
        plan=plan,
        identity=False,
        automatic_updates=False,
    )


async def _source(
    azure: Azure, image_set: ImageSet, refresh: Refresh
) -> tuple[MarketplaceImage | GalleryImage | AttachedDisk, PurchasePlan | None]:
    source = refresh.source
    if SourceHost.parse(source) is not None:
        return await ensure_copy_disk(azure, image_set, refresh)
    if source.startswith("/"):
        version = ResourceId.parse(source)
        definition = Definition(version.resource_group, version.names[0], version.names[1])
        return GalleryImage(source), await azure.galleries.purchase_plan(definition)
    image = MarketplaceImage(*source.split(":"))
    found = await azure.compute.get_marketplace_image(image_set.location, image)
    plan = found.properties.plan if found is not None and found.properties else None
    return image, _plan(plan.publisher, plan.product, plan.name) if plan else None


def _plan(publisher: str | None, product: str | None, name: str | None) -> PurchasePlan | None:
    return PurchasePlan(publisher, product, name) if publisher and product and name else None


async def _until_agent_answers(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    group, name = image_set.build.resource_group, refresh.vm_name

    async def answers() -> VmStatus | None:
        vm = await azure.compute.get_vm(group, name)
        status = status_of(vm) if vm is not None else None
        return status if status is not None and status.power == "running" and status.agent_ready else None

    await wait_until(answers, "see the machine's agent answer", f"{group}/{name}", azure.clock, 1800, 15)


async def restart(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The machine was restarted, and its agent answers again."""
    await azure.compute.restart(image_set.build.resource_group, refresh.vm_name)
    await _until_agent_answers(azure, image_set, refresh)


async def _pages(azure: Azure, machine: Machine, command_tags: dict[str, str]) -> list[Page]:
    pages: list[Page] = []
    while not pages or len(pages) < min(pages[0].pages, MOST_PAGES):
        number = len(pages) + 1
        step = Step(f"manifest-{number}", "guest/manifest.ps1", {"Page": str(number)}, tags=command_tags)
        pages.append(_page(await ensure_fresh_step(azure, machine, step)))
    return pages


def _page(facts: Facts) -> Page:
    try:
        return Page.model_validate(facts)
    except ValueError as problem:
        raise ManifestError("What the machine answered is no page of a manifest.") from problem


async def _set_administrator(azure: Azure, machine: Machine, refresh: Refresh, password: SecretStr) -> None:
    step = Step(
        "local-administrator",
        "guest/local-administrator.ps1",
        {"UserName": ADMINISTRATOR},
        {"Password": password},
        timeout_minutes=10,
        tags=refresh.tags,
    )
    await ensure_fresh_step(azure, machine, step)


def _sysprep(refresh: Refresh, name: str, password: SecretStr) -> Step:
    return Step(
        name,
        "guest/sysprep.ps1",
        {"TimeoutMinutes": str(SYSPREP_MINUTES)},
        run_as=(ADMINISTRATOR, password),
        timeout_minutes=SYSPREP_MINUTES + 15,
        tags=refresh.tags,
    )


def _explained(failure: StepFailure) -> StepFailure:
    """The failure with the cause that its logs give away, where it is a known one."""
    cause = cause_of(f"{failure.problem}\n{failure.log}")
    if cause is None:
        return failure
    return StepFailure(
        failure.step,
        failure.machine,
        f"{cause.problem} ({failure.problem})",
        cause.remedy,
        failure.log,
        failure.facts,
    )
