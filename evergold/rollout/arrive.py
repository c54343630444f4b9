"""Making a session host: the machine, its joining of Entra, its registration in the pool.

Each step takes one look and sends at most one request; it never waits. Whoever asks calls it again later, and calls the next step once the
one before is done. So a hundred hosts can come up side by side, and a run that was killed goes on with the ones that it finds.

A new host takes sessions from the moment the broker sees it as available, until drain mode is set: whoever wants it closed sets that as
soon as the host is registered. The agent updates itself first, which leaves the time for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from azure.mgmt.compute.models import VirtualMachine, VirtualMachineExtension

from evergold import tags
from evergold.azure import Azure, AzureFailure
from evergold.azure.compute import ExtensionSpec, GalleryImage, VmSpec, status_of
from evergold.azure.ids import host_pool_id
from evergold.config.models import ImageSet, Pool
from evergold.images.guest import (
    ADMINISTRATOR,
    SCRIPT_NOT_STARTED,
    Machine,
    Step,
    StepFailure,
    command_of,
    facts_or_failure,
    new_password,
    standing,
)
from evergold.images.refresh import definition_of

HostStep = Literal["begun", "under way", "done"]

JOIN = "AADLoginForWindows"
REGISTER = "register-host"
REGISTER_MINUTES = 30
REMOVE_HOST = "Look at the machine if you want to know more; then delete it: the rollout makes another."


def host_spec(azure: Azure, image_set: ImageSet, pool: Pool, name: str, image_version_id: str, refresh: str) -> VmSpec:
    """The machine for a new session host. Its password is random and kept by nobody: people sign in with their own accounts."""
    hosts = pool.hosts
    return VmSpec(
        name=name,
        resource_group=hosts.resource_group,
        location=image_set.location,
        size=hosts.vm_size,
        subnet_id=hosts.subnet_id,
        image=GalleryImage(image_version_id),
        admin_username=ADMINISTRATOR,
        admin_password=new_password(),
        security_type=image_set.build.security_type,
        tags={
            tags.REFRESH: refresh,
            tags.IMAGE_SET: image_set.name,
            tags.POOL: host_pool_id(str(azure.environment.subscription_id), pool.resource_group, pool.name),
        },
        os_disk_type=hosts.os_disk_type,
        zones=_zone(hosts.zones, name),
    )


async def ensure_host_joined(azure: Azure, pool: Pool, name: str, location: str, refresh: str) -> HostStep:
    """The machine has joined Entra, so that people can sign in. Raises StepFailure if joining failed."""
    group = pool.hosts.resource_group
    extension = await azure.compute.get_extension(group, name, JOIN)
    if extension is None:
        await azure.compute.begin_put_extension(
            group,
            name,
            ExtensionSpec(
                name=JOIN,
                location=location,
                publisher="Microsoft.Azure.ActiveDirectory",
                kind=JOIN,
                version="2.0",
                tags={tags.REFRESH: refresh},
            ),
        )
        return "begun"
    state = (extension.properties and extension.properties.provisioning_state) or ""
    if state in ("Failed", "Canceled"):
        raise StepFailure("join", name, _reason(extension), REMOVE_HOST)
    return "done" if state == "Succeeded" else "under way"


async def ensure_host_registered(
    azure: Azure, image_set: ImageSet, pool: Pool, name: str, refresh: str, *, again: bool = False
) -> HostStep:
    """The broker lists this very machine. Raises StepFailure if the agent could not be installed, or the name is taken there.

    `again`: it was in the pool before, its record was deleted while it was off, and its agent still believes to be registered.
    """
    step_name = f"{REGISTER}-{refresh}" if again else REGISTER
    machine = Machine(pool.hosts.resource_group, name, image_set.location)
    listed = await _listed(azure, pool, machine)
    if listed is not None:
        return "done" if listed else "under way"
    if await standing(azure, machine, step_name) == "absent":
        token = await azure.desktops.registration_token(pool.resource_group, pool.name)
        step = Step(
            step_name,
            "guest/register-host.ps1",
            parameters={"Again": "yes"} if again else {},
            protected={"RegistrationToken": token.token},
            timeout_minutes=REGISTER_MINUTES,
            tags={tags.REFRESH: refresh},
        )
        await azure.compute.begin_script(machine.resource_group, name, command_of(machine, step))
        return "begun"
    try:
        result = await azure.compute.get_script_result(machine.resource_group, name, step_name)
    except AzureFailure as failure:
        if failure.code != SCRIPT_NOT_STARTED:
            raise
        raise StepFailure(
            REGISTER, name, f"Azure could not start the script: {failure.message}", REMOVE_HOST
        ) from failure
    if result is not None and result.over:
        facts_or_failure(machine, step_name, result)
    return "under way"


async def _listed(azure: Azure, pool: Pool, machine: Machine) -> bool | None:
    """None if the broker has no host of that name; True if it is this machine; False while it does not say which."""
    host = await azure.desktops.get_session_host(pool.resource_group, pool.name, machine.name)
    if host is None:
        return None
    registered = host.virtual_machine_id or ""
    vm = await azure.compute.get_vm(machine.resource_group, machine.name, instance_view=False)
    if registered and _vm_guid(vm) and registered.lower() != _vm_guid(vm):
        raise StepFailure(
            REGISTER,
            machine.name,
            f"The pool {pool.name} lists another machine under that name, one that is gone.",
            f"Remove the session host {machine.name} from {pool.name}; the machine then registers itself.",
        )
    return bool(registered)


def _vm_guid(vm: VirtualMachine | None) -> str:
    return ((vm.properties.vm_id if vm is not None and vm.properties else None) or "").lower()


def _reason(extension: VirtualMachineExtension) -> str:
    view = extension.properties.instance_view if extension.properties else None
    texts = [status.message for status in (view.statuses if view else None) or [] if status.message]
    return " ".join(texts) or "Azure gives no reason."


def _zone(zones: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The zone of a host: its number decides, so that hosts spread evenly and a name always means the same zone."""
    if not zones:
        return ()
    number = int("".join(letter for letter in name if letter.isdigit()) or "0")
    return (zones[number % len(zones)],)


async def create_host(
    azure: Azure,
    image_set: ImageSet,
    pool: Pool,
    refresh: str,
    version_id: str,
    name: str,
    more_tags: Mapping[str, str],
) -> bool:
    """Asks for the machine of a new host; False where one of that name is there already, which is left untouched."""
    spec = host_spec(azure, image_set, pool, name, version_id, refresh)
    plan = await azure.galleries.purchase_plan(definition_of(image_set))
    return await azure.compute.begin_create_vm(replace(spec, tags={**spec.tags, **more_tags}, plan=plan))


async def advance_host(azure: Azure, image_set: ImageSet, pool: Pool, name: str, refresh: str) -> None:
    """Takes a host that is not in its pool yet one step further. Raises StepFailure where it will not come up."""
    vm = await azure.compute.get_vm(pool.hosts.resource_group, name)
    if vm is None:
        return
    status = status_of(vm)
    if status.provisioning == "failed":
        raise StepFailure("create", name, status.error or "Azure gives no reason.", REMOVE_HOST)
    if status.power != "running" or not status.agent_ready:
        return
    if await ensure_host_joined(azure, pool, name, image_set.location, refresh) == "done":
        await ensure_host_registered(azure, image_set, pool, name, refresh)


async def bring_back_host(azure: Azure, image_set: ImageSet, pool: Pool, name: str, refresh: str) -> None:
    """Takes a host that was retained, and runs again, one step further into its pool. Raises StepFailure where it will not come."""
    vm = await azure.compute.get_vm(pool.hosts.resource_group, name)
    status = status_of(vm) if vm is not None else None
    if status is not None and status.power == "running" and status.agent_ready:
        await ensure_host_registered(azure, image_set, pool, name, refresh, again=True)
