"""Making a session host: the machine, its joining of Entra, its registration in the pool.

Each step takes one look and sends at most one request; it never waits. Whoever asks calls it again later, and calls the next step once the
one before is done. So a hundred hosts can come up side by side, and a run that was killed goes on with the ones that it finds.

A new host takes sessions from the moment the broker sees it as available, until drain mode is set: whoever wants it closed sets that as
soon as the host is registered. The agent updates itself first, which leaves the time for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from azure.mgmt.compute.models import VirtualMachineExtension

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
)
from evergold.rollout.model import Host

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


async def _begin_to_register(azure: Azure, image_set: ImageSet, pool: Pool, host: Host, step: Step) -> None:
    """Has the agent installed, with a token of the pool. Raises StepFailure where another machine is listed under the name."""
    if await _is_listed(azure, pool, host):
        return
    token = await azure.desktops.registration_token(pool.resource_group, pool.name)
    sent = replace(step, protected={"RegistrationToken": token.token})
    machine = _machine(image_set, pool, host)
    await azure.compute.begin_script(machine.resource_group, host.name, command_of(machine, sent))


def _registration(refresh: str, *, again: bool) -> Step:
    """The step that registers a host. `again`: it was in the pool before, and its agent still believes that it is."""
    return Step(
        f"{REGISTER}-{refresh}" if again else REGISTER,
        "guest/register-host.ps1",
        parameters={"Again": "yes"} if again else {},
        timeout_minutes=REGISTER_MINUTES,
        tags={tags.REFRESH: refresh},
    )


async def _registers(azure: Azure, image_set: ImageSet, pool: Pool, host: Host, step: Step) -> bool:
    """Whether the step was sent. Raises StepFailure if the agent could not be installed."""
    machine = _machine(image_set, pool, host)
    try:
        result = await azure.compute.get_script_result(machine.resource_group, host.name, step.name)
    except AzureFailure as failure:
        if failure.code != SCRIPT_NOT_STARTED:
            raise
        problem = f"Azure could not start the script: {failure.message}"
        raise StepFailure(REGISTER, host.name, problem, REMOVE_HOST) from failure
    if result is not None and result.over:
        facts_or_failure(machine, step.name, result)
    return result is not None


async def _is_listed(azure: Azure, pool: Pool, host: Host) -> bool:
    """Whether the broker has a host of that name. Raises StepFailure where it is another machine."""
    listed = await azure.desktops.get_session_host(pool.resource_group, pool.name, host.name)
    if listed is None:
        return False
    registered = (listed.virtual_machine_id or "").casefold()
    if registered and registered != host.vm_id.casefold():
        raise StepFailure(
            REGISTER,
            host.name,
            f"The pool {pool.name} lists another machine under that name, one that is gone.",
            f"Remove the session host {host.name} from {pool.name}; the machine then registers itself.",
        )
    return True


def _machine(image_set: ImageSet, pool: Pool, host: Host) -> Machine:
    return Machine(pool.hosts.resource_group, host.name, image_set.location)


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


async def advance_host(azure: Azure, image_set: ImageSet, pool: Pool, host: Host, refresh: str) -> None:
    """Takes a host that a look shows outside its pool one step further. Raises StepFailure where it will not come up."""
    if not await _can_be_reached(azure, pool, host):
        return
    step = _registration(refresh, again=False)
    if await _registers(azure, image_set, pool, host, step):
        return
    if await ensure_host_joined(azure, pool, host.name, image_set.location, refresh) == "done":
        await _begin_to_register(azure, image_set, pool, host, step)


async def bring_back_host(azure: Azure, image_set: ImageSet, pool: Pool, host: Host, refresh: str) -> None:
    """Takes a host that was retained, and runs again, one step further into its pool. Raises StepFailure where it will not come."""
    step = _registration(refresh, again=True)
    if await _can_be_reached(azure, pool, host) and not await _registers(azure, image_set, pool, host, step):
        await _begin_to_register(azure, image_set, pool, host, step)


async def _can_be_reached(azure: Azure, pool: Pool, host: Host) -> bool:
    """Whether the machine runs and its agent answers; asked of the machine itself where the list of all says nothing of its agent."""
    if host.power != "running" or host.agent_ready is not None:
        return host.power == "running" and bool(host.agent_ready)
    vm = await azure.compute.get_vm(pool.hosts.resource_group, host.name)
    return vm is not None and bool(status_of(vm).agent_ready)
