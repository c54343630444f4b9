"""Whether a host is patched: updates that are missing, a restart that is due, and the Windows build itself."""

from __future__ import annotations

from datetime import datetime

from azure.mgmt.compute.models import AvailablePatchSummary, VirtualMachineAssessPatchesResult

from evergold.azure import Azure
from evergold.config.models import ImageSet
from evergold.images.manifest import as_numbers
from evergold.validation.looking import age_minutes, failed, listed, minutes, passed, text, unknown, warned
from evergold.validation.subject import Subject
from evergold.validation.verdicts import Check

WORST_PATCHES = ("Critical", "Security")
PATCHES = "critical and security updates"
BUILD = "Windows build"

_RESTART_REMEDY = (
    "Restart the host and check again. If every new host asks for it, set reboot_after on a customise step."
)
_PATCH_REMEDY = "Build from a newer source, or install the updates in a customise script; then refresh again."
_ASSESS_REMEDY = "Look at Updates on the machine in the portal, then start the run again."


async def check_patches(azure: Azure, image_set: ImageSet, subject: Subject) -> Check:
    """No critical or security update is missing, and none waits for a restart to take effect.

    A recent assessment that found so counts; otherwise one is made now.
    """
    group, limit = subject.pool.hosts.resource_group, image_set.checks.patch_assessment_max_age_minutes
    threshold = f"none missing, no restart pending, assessed within {limit} minutes"
    vm = await azure.compute.get_vm(group, subject.host)
    view = vm.properties.instance_view if vm is not None and vm.properties else None
    summary = view.patch_status.available_patch_summary if view and view.patch_status else None
    now = azure.clock.now()
    if summary is not None and _is_clean(summary, now, limit):
        age = age_minutes(now, summary.last_modified_time) or 0
        return passed(PATCHES, f"None missing, as assessed {minutes(age)} ago.", threshold)
    return _judge(await azure.compute.assess_patches(group, subject.host), subject.host, threshold)


def _judge(result: VirtualMachineAssessPatchesResult, host: str, threshold: str) -> Check:
    missing = result.critical_and_security_patch_count
    if text(result.status) != "Succeeded" or missing is None:
        reason = f"The assessment ended as {text(result.status) or 'not known'}."
        return unknown(PATCHES, reason, threshold, _ASSESS_REMEDY)
    if missing:
        names = _missing(result)
        return failed(PATCHES, f"{missing} missing: {listed(names) or 'not named'}.", threshold, _PATCH_REMEDY, names)
    if result.reboot_pending:
        pending = f"None missing, but Windows on {host} waits for a restart."
        return failed(PATCHES, pending, threshold, _RESTART_REMEDY, ("restart pending",))
    others = f"; {result.other_patch_count} of other kinds are on offer" if result.other_patch_count else ""
    return passed(PATCHES, f"None missing{others}.", threshold)


async def check_build(azure: Azure, image_set: ImageSet, subject: Subject) -> Check:
    """Windows on the host is the image's build or newer, and not below the image set's floor (build and update revision)."""
    floor = image_set.checks.minimum_os_build
    image = subject.manifest.os.build if subject.manifest else None
    asked = [*([f"{floor} (checks.minimum_os_build)"] if floor else []), *([f"{image} (the image's)"] if image else [])]
    threshold = f"at least {' and '.join(asked)}" if asked else "a floor is set"
    vm = await azure.compute.get_vm(subject.pool.hosts.resource_group, subject.host)
    view = vm.properties.instance_view if vm is not None and vm.properties else None
    build = (view.os_version or "").removeprefix("10.0.") if view else ""
    if not build:
        reason = f"The VM agent of {subject.host} does not report a build: it is off, or not up yet."
        return unknown(BUILD, reason, threshold, "Look at the VM in the portal; start it if it should run.")
    if not floor and not image:
        remedy = "Set checks.minimum_os_build in the image set to the build of the last Patch Tuesday."
        return warned(BUILD, f"{build}; nothing to hold it against.", threshold, remedy)
    if "." not in build:
        revision = f"{build}; the VM agent reports no update revision."
        return warned(BUILD, revision, threshold, "Run winver on the host, and compare by hand.")
    below = [each for each in (floor, image) if each and as_numbers(build) < as_numbers(each)]
    if below:
        return failed(BUILD, f"{build}, below {' and '.join(below)}.", threshold, _PATCH_REMEDY, (build,))
    return passed(BUILD, f"{build}.", threshold)


def _is_clean(summary: AvailablePatchSummary, now: datetime, max_age_minutes: int) -> bool:
    age = age_minutes(now, summary.last_modified_time)
    return (
        text(summary.status) == "Succeeded"
        and summary.critical_and_security_patch_count == 0
        and not summary.reboot_pending
        and age is not None
        and age <= max_age_minutes
    )


def _missing(result: VirtualMachineAssessPatchesResult) -> tuple[str, ...]:
    return tuple(
        sorted(
            patch.name or patch.kb_id or "?"
            for patch in result.available_patches or []
            if set(patch.classifications or []) & set(WORST_PATCHES)
        )
    )
