"""What is done to the build machine between its creation and its generalisation, step by step, as the image set lists it.

Each step is an `ensure`: it is noted on the machine when it has ended well, and a run that is started again goes on with the first that is
not noted. A step that fails leaves the machine as it is. Nothing secret stands anywhere but in a run command's protected parameters.

A manual step has no code here but its note: the flow asks a person (tasks/manual_step.py), and what they say they did is kept on the
machine, and from there on the image version.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import timedelta

from azure.mgmt.compute.models import VirtualMachineAssessPatchesResult
from pydantic import SecretStr

from evergold import tags
from evergold.azure import Azure
from evergold.azure.ids import ResourceId
from evergold.config.models import CustomiseStep, FilesStep, ImageSet, ManualStep, ScriptStep, WindowsUpdateStep
from evergold.images import files
from evergold.images.build import DONE, NETWORK_API, build_machine, is_done, once, own_vm, restart
from evergold.images.guest import RUN_AGAIN, Machine, Step, StepFailure, ensure_step
from evergold.images.refresh import Refresh

log = logging.getLogger("evergold.images")

RESTART_NEEDED = 3010  # ERROR_SUCCESS_REBOOT_REQUIRED, learn.microsoft.com, "System Error Codes"
RECHECK_S = 300
SHOWN = 5


def step_name(step: CustomiseStep) -> str:
    """The step's name on the machine: of its run command, and in the note that it is done."""
    return f"customise-{step.name}"


async def ensure_customise_step(
    azure: Azure, image_set: ImageSet, refresh: Refresh, step: ScriptStep | FilesStep | WindowsUpdateStep
) -> None:
    """The step has ended well, and the machine was restarted where that is asked for or needed. Raises StepFailure."""

    async def run(machine: Machine) -> None:
        if isinstance(step, ScriptStep):
            await _run_script(azure, image_set, refresh, step)
        elif isinstance(step, FilesStep):
            await ensure_step(azure, machine, _files(step, refresh))
        else:
            await _update_windows(azure, image_set, refresh, step, machine)

    await once(azure, image_set, refresh, step_name(step), run)


def missing_secrets(image_set: ImageSet) -> dict[str, str]:
    """Environment variables that steps need and that are not set here, with the step that needs each."""
    needed = {
        variable: step.name
        for step in image_set.customise
        if isinstance(step, ScriptStep)
        for variable in step.secrets.values()
    } | {
        step.query_secret: step.name
        for step in image_set.customise
        if isinstance(step, FilesStep) and step.query_secret is not None
    }
    return {variable: step for variable, step in needed.items() if not os.environ.get(variable)}


# Scripts


async def _run_script(azure: Azure, image_set: ImageSet, refresh: Refresh, step: ScriptStep) -> None:
    script = Step(
        step_name(step),
        step.script,
        step.parameters,
        {name: SecretStr(os.environ[variable]) for name, variable in step.secrets.items()},
        timeout_minutes=step.timeout_minutes,
        tags=refresh.tags,
        exit_codes=step.expected_exit_codes,
    )
    await ensure_step(azure, build_machine(image_set, refresh), script)
    if step.reboot_after or RESTART_NEEDED in step.expected_exit_codes:
        await restart(azure, image_set, refresh)


def _files(step: FilesStep, refresh: Refresh) -> Step:
    secret = {"QuerySecret": SecretStr(os.environ[step.query_secret])} if step.query_secret is not None else {}
    return Step(
        step_name(step),
        files.SCRIPT,
        protected=secret,
        timeout_minutes=step.timeout_minutes,
        tags=refresh.tags,
        source=files.script_for(step),
    )


# Windows updates


async def _update_windows(
    azure: Azure, image_set: ImageSet, refresh: Refresh, step: WindowsUpdateStep, machine: Machine
) -> None:
    """Round after round, until an assessment finds nothing of these classifications and no restart pending."""
    rounds = 0
    while True:
        found = await _assess(azure, machine, step)
        missing = _missing(found, step)
        if not missing and not found.reboot_pending:
            return
        if not missing:
            await restart(azure, image_set, refresh)
        elif await _may_be_installing(azure, image_set, refresh, step):
            await azure.clock.sleep(RECHECK_S)
        elif rounds == step.max_rounds:
            raise StepFailure(
                step_name(step),
                machine.name,
                f"After {rounds} rounds these updates are still missing: {'; '.join(missing[:SHOWN])}.",
                "Look at Windows Update on the machine, which is left as it is; raise max_rounds if each round brought new ones. "
                "Start the run again, and it goes on from this step.",
            )
        else:
            rounds += 1
            await _install(azure, image_set, refresh, step, missing)


async def _assess(azure: Azure, machine: Machine, step: WindowsUpdateStep) -> VirtualMachineAssessPatchesResult:
    found = await azure.compute.assess_patches(machine.resource_group, machine.name)
    if str(getattr(found.status, "value", found.status)) != "Succeeded":
        problem = f"Azure could not find out which updates are missing: {found.error.message if found.error else found.status}."
        raise StepFailure(step_name(step), machine.name, problem, RUN_AGAIN)
    return found


def _missing(found: VirtualMachineAssessPatchesResult, step: WindowsUpdateStep) -> list[str]:
    wanted = set(step.classifications)
    return sorted(
        patch.name or patch.kb_id or "?"
        for patch in found.available_patches or []
        if wanted & {str(getattr(each, "value", each)) for each in patch.classifications or []}
    )


async def _install(
    azure: Azure, image_set: ImageSet, refresh: Refresh, step: WindowsUpdateStep, missing: list[str]
) -> None:
    group, name = image_set.build.resource_group, refresh.vm_name
    log.info("%s: installing %d updates: %s", name, len(missing), "; ".join(missing[:SHOWN]))
    begun = {tags.INSTALLING: tags.format_time(azure.clock.now())}
    await azure.compute.update_vm_tags(group, name, begun)
    await azure.compute.wait_until_provisioned(group, name, 600, interval=5)
    result = await azure.compute.install_patches(group, name, step.classifications, step.round_hours)
    log.info("%s: %d installed, %d failed", name, result.installed_patch_count or 0, result.failed_patch_count or 0)
    await azure.compute.update_vm_tags(group, name, {}, remove=(tags.INSTALLING,))
    await azure.compute.wait_until_provisioned(group, name, 600, interval=5)
    if str(getattr(result.reboot_status, "value", result.reboot_status)) in ("Required", "Failed"):
        await restart(azure, image_set, refresh)


async def _may_be_installing(azure: Azure, image_set: ImageSet, refresh: Refresh, step: WindowsUpdateStep) -> bool:
    """Whether a run that died has begun a round that may not be over: Azure ends one after `round_hours` at the latest."""
    vm = await own_vm(azure, image_set, refresh)
    begun = tags.parse_time((vm.tags or {}).get(tags.INSTALLING))
    return begun is not None and azure.clock.now() < begun + timedelta(hours=step.round_hours)


# Steps by hand


def by_hand(named: Mapping[str, str]) -> dict[str, str]:
    """What was done by hand, by step, as the tags of a machine or an image version say."""
    return {name.removeprefix(tags.BY_HAND): note for name, note in named.items() if name.startswith(tags.BY_HAND)}


async def is_step_done(azure: Azure, image_set: ImageSet, refresh: Refresh, step: CustomiseStep) -> bool:
    """Whether the machine carries the note that the step is done."""
    return is_done(await own_vm(azure, image_set, refresh), step_name(step))


async def way_to_machine(azure: Azure, image_set: ImageSet, refresh: Refresh) -> str:
    """How a person gets on to the build machine, in a sentence. Its address is read from its network card."""
    card = ResourceId(
        str(azure.environment.subscription_id),
        image_set.build.resource_group,
        "Microsoft.Network/networkInterfaces",
        (f"{refresh.vm_name}-nic",),
    )
    found = await azure.arm.get(str(card), NETWORK_API)
    configurations = (found or {}).get("properties", {}).get("ipConfigurations") or [{}]
    address = configurations[0].get("properties", {}).get("privateIPAddress") or "not known"
    return (
        f"**{refresh.vm_name}** in resource group {image_set.build.resource_group}, address {address}. It has no public address: connect "
        "with Bastion (on the machine's page in the Azure portal: Connect, Bastion), or from a machine in its network. Set yourself a "
        "password first: on the same page, Reset password."
    )


async def hold_machine(azure: Azure, image_set: ImageSet, refresh: Refresh, step: ManualStep) -> None:
    """The machine stays for as long as the run waits for a person, and the time that a build takes after that."""
    until = azure.clock.now() + timedelta(days=step.expires_days + 1)
    await _note(azure, image_set, refresh, {tags.KEEP_UNTIL: tags.format_time(until)})


async def note_manual_step(
    azure: Azure, image_set: ImageSet, refresh: Refresh, step: ManualStep, by: str, note: str
) -> None:
    """The step is done, and what was done by whom stands on the machine."""
    noted = {
        tags.BY_HAND + step.name: f"{by}: {note}"[: tags.LONGEST_VALUE],
        DONE + step_name(step): tags.format_time(azure.clock.now()),
    }
    await _note(azure, image_set, refresh, noted)
    log.info("%s: %s done by %s: %s", refresh.vm_name, step.name, by, note)


async def _note(azure: Azure, image_set: ImageSet, refresh: Refresh, noted: Mapping[str, str]) -> None:
    """Tags on the machine. A tag is a write to it, and would be in the way of the next one: it is waited for."""
    group, name = image_set.build.resource_group, refresh.vm_name
    await azure.compute.update_vm_tags(group, name, noted)
    await azure.compute.wait_until_provisioned(group, name, 600, interval=5)
