"""The image's way from a source to a published candidate, and what becomes of it: one task each step, each an ensure."""

import logging

from prefect import task
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.cache_policies import NO_CACHE

from evergold import holds
from evergold.azure import Azure, AzureFailure
from evergold.azure.galleries import Replication
from evergold.clock import within
from evergold.config.models import FilesStep, ImageSet, ManualStep, ScriptStep, SessionHostSource, WindowsUpdateStep
from evergold.images import build, publish
from evergold.images.boot_test import ensure_boots
from evergold.images.customise import ensure_customise_step
from evergold.images.guest import StepFailure
from evergold.images.managed_image import ensure_managed_image, ensure_managed_image_removed
from evergold.images.publish import Candidate, Decision
from evergold.images.refresh import Refresh, begin_refresh, current_refresh, end_refresh
from evergold.images.replication import progress_table
from evergold.images.source_host import ensure_source_copied, ensure_source_returned
from evergold.validation.preflight import PreflightError, check_image_set, refuse_unless_passed
from tasks.manual_step import ask_for_hands
from tasks.record import show_failed_step, show_preflight
from tasks.rollout import remove_canary
from tasks.versions import show_difference, show_versions

log = logging.getLogger("evergold.images")


@task(name="preflight", cache_policy=NO_CACHE)
async def preflight(azure: Azure, image_set: ImageSet) -> None:
    """Refuses the refresh, before anything is changed, where something it needs is missing."""
    checks = await check_image_set(azure, image_set)
    await show_preflight(image_set, checks)
    refuse_unless_passed(checks, f"The refresh of {image_set.name}")
    for check in checks:
        if check.verdict == "warn":
            log.warning("Preflight: %s: %s What to do: %s", check.name, check.measured, check.remedy)
    log.info("Preflight: nothing stands in the way, after %d checks", len(checks))


@task(name="begin refresh", cache_policy=NO_CACHE)
async def begin(azure: Azure, image_set: ImageSet, started_by: str = "", version: str = "", notes: str = "") -> Refresh:
    """The refresh that is under way, or a new one with its version and exact source."""
    refresh = await begin_refresh(azure, image_set, azure.clock.now(), started_by, version, notes)
    how = "goes on" if refresh.resumed else "begins"
    log.info("Refresh %s %s: version %s from %s", refresh.id, how, refresh.version, refresh.source)
    return refresh


async def build_and_publish(azure: Azure, image_set: ImageSet, refresh: Refresh, notes: str) -> Candidate:
    """The candidate: found where it is whole already, built and published otherwise. Leaves no build machine behind.

    A build that fails leaves its machine for `build.keep_failed_hours`, so that a person can look and the next run goes on from the step
    that failed.
    """
    await build_unless_published(azure, image_set, refresh)
    return await publish_built(azure, image_set, refresh, notes)


async def build_unless_published(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The build machine is off and generalised, with proof; or its version is in the gallery already, and there is nothing to build."""
    if await publish.is_captured(azure, image_set, refresh):
        return
    if isinstance(image_set.source, SessionHostSource):
        await copy_source_host(azure, image_set, refresh)
    try:
        await build_in_time(azure, image_set, refresh)
    except Exception as failure:
        if isinstance(failure, StepFailure):
            await show_failed_step(image_set, failure)
        await keep_build_machine(azure, image_set, refresh)
        raise


async def publish_built(azure: Azure, image_set: ImageSet, refresh: Refresh, notes: str) -> Candidate:
    """The candidate, from the machine that was built; found where it is whole already. Leaves no build machine behind."""
    candidate = await publish.find_candidate(azure, image_set, refresh)
    if candidate is None:
        try:
            if image_set.publish.managed_image is not None:
                await make_managed_image(azure, image_set, refresh)
            candidate = await publish_candidate(azure, image_set, refresh, notes)
        except Exception:
            await keep_build_machine(azure, image_set, refresh)
            raise
    await remove_build_machine(azure, image_set, refresh)
    if image_set.publish.boot_test:
        await boot_test(azure, image_set, refresh, candidate)
    await show_difference(azure, image_set, refresh, candidate)
    await show_versions(azure, image_set)
    return candidate


@task(name="boot test", cache_policy=NO_CACHE)
async def boot_test(azure: Azure, image_set: ImageSet, refresh: Refresh, candidate: Candidate) -> None:
    """A machine made from the candidate has come up, and is gone again; the log of one that did not is an artifact."""
    try:
        await ensure_boots(azure, image_set, refresh, candidate)
    except StepFailure as failure:
        await show_failed_step(image_set, failure)
        raise


async def build_in_time(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The image is built within `build.timeout_minutes`; raises BuildTimeoutError otherwise."""
    minutes = image_set.build.timeout_minutes
    try:
        await within(azure.clock, minutes * 60, build_image(azure, image_set, refresh))
    except TimeoutError:
        raise BuildTimeoutError(
            f"The image was not built within {minutes} minutes (build.timeout_minutes). The machine {refresh.vm_name} in "
            f"{image_set.build.resource_group} is left as it is. What to do: look at its run commands; start this run again, "
            "and it goes on from the step that was not done."
        ) from None


async def keep_build_machine(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """Notes until when the machine of a failed build stays. The failure itself is what the operator must see, so this never hides it."""
    try:
        until = await build.ensure_kept_for_a_look(azure, image_set, refresh)
    except (AzureFailure, StepFailure) as problem:
        log.warning("The build machine %s stays, and could not be marked: %s", refresh.vm_name, problem)
        return
    if until is not None:
        log.warning(
            "The build machine %s stays until %s UTC, to be looked at", refresh.vm_name, f"{until:%Y-%m-%d %H:%M}"
        )


@task(name="make managed image", cache_policy=NO_CACHE)
async def make_managed_image(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The managed image that the image set asks for is there."""
    await ensure_managed_image(azure, image_set, refresh)


@task(name="copy session host", cache_policy=NO_CACHE)
async def copy_source_host(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The disk of a session host is copied, and the host serves as it did before."""
    await ensure_source_copied(azure, image_set, refresh, holds.standing)


class BuildTimeoutError(Exception):
    """A build took longer than its image set allows; says what is left of it."""


async def build_image(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The build machine is customised, generalised with proof, and off."""
    await create_build_machine(azure, image_set, refresh)
    for step in image_set.customise:
        if isinstance(step, ManualStep):
            await ask_for_hands(azure, image_set, refresh, step)
        else:
            await customise(azure, image_set, refresh, step)
    await take_snapshot(azure, image_set, refresh)
    await prepare(azure, image_set, refresh)
    await read_manifest(azure, image_set, refresh)
    await sysprep(azure, image_set, refresh)
    await generalize(azure, image_set, refresh)


@task(name="create build machine", cache_policy=NO_CACHE)
async def create_build_machine(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The machine that the image is made on runs."""
    await build.ensure_build_vm(azure, image_set, refresh)


@task(name="customise", task_run_name="customise: {step.name}", cache_policy=NO_CACHE)
async def customise(
    azure: Azure, image_set: ImageSet, refresh: Refresh, step: ScriptStep | FilesStep | WindowsUpdateStep
) -> None:
    """One step of the image set has come to a good end on the machine."""
    await ensure_customise_step(azure, image_set, refresh, step)


@task(name="take snapshot", cache_policy=NO_CACHE)
async def take_snapshot(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The customised machine's disk is copied, before anything is taken out of it: retention keeps the copy."""
    await build.ensure_snapshot_taken(azure, image_set, refresh)


@task(name="prepare", cache_policy=NO_CACHE)
async def prepare(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The machine is clean: no AVD agent, no pending reboot, no leftovers."""
    await build.ensure_prepared(azure, image_set, refresh)


@task(name="read manifest", cache_policy=NO_CACHE)
async def read_manifest(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """What is in the image is noted: Windows build, hotfixes, software."""
    manifest = await build.ensure_manifest(azure, image_set, refresh)
    log.info("In the image: %s, build %s, %d programs", manifest.os.name, manifest.os.build, len(manifest.software))


@task(name="sysprep", cache_policy=NO_CACHE)
async def sysprep(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """Windows is generalised, and the proof of it was read while the machine still ran."""
    await build.ensure_sysprepped(azure, image_set, refresh)
    await build.ensure_state_proven(azure, image_set, refresh)
    log.info("Generalised, with proof")


@task(name="generalize", cache_policy=NO_CACHE)
async def generalize(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The machine is off, and Azure knows that it is generalised."""
    await build.ensure_deallocated(azure, image_set, refresh)
    await build.ensure_generalized(azure, image_set, refresh)


@task(name="publish candidate", cache_policy=NO_CACHE)
async def publish_candidate(azure: Azure, image_set: ImageSet, refresh: Refresh, notes: str) -> Candidate:
    """The version is in the gallery, excluded from latest, and every target region has it."""
    title = f"Replication of {image_set.name} {refresh.version}"
    artifact = await acreate_progress_artifact(progress=0, key=f"publish-{image_set.name}", description=title)
    shown = ""

    async def show(replication: Replication) -> None:
        nonlocal shown
        table = f"{title}\n\n{progress_table(replication)}"
        if table != shown:
            await aupdate_progress_artifact(artifact, replication.percent, description=table)
            shown = table

    log.info(
        "Publishing %s %s to %s", image_set.name, refresh.version, ", ".join(r.name for r in image_set.publish.regions)
    )
    candidate = await publish.ensure_version_published(azure, image_set, refresh, notes, show)
    log.info("Published as a candidate: %s, excluded from latest", candidate.version)
    return candidate


@task(name="remove build machine", cache_policy=NO_CACHE)
async def remove_build_machine(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The build machine, its disk and its network card are gone."""
    await build.ensure_build_cleaned(azure, image_set, refresh)


@task(name="record decision", cache_policy=NO_CACHE)
async def record_decision(azure: Azure, image_set: ImageSet, refresh: Refresh, decision: Decision) -> Decision:
    """The decision stands on the image version: who, when, on which evidence, why."""
    candidate = await publish.ensure_decided(azure, image_set, refresh, decision)
    recorded = candidate.decision or decision
    word = "Approved" if recorded.approved else "Rejected"
    log.info(
        "%s by %s (from %s) on evidence %s: %s",
        *(word, recorded.by, recorded.given_from, recorded.digest[:12], recorded.reason or "no reason given"),
    )
    return recorded


@task(name="promote", cache_policy=NO_CACHE)
async def promote(azure: Azure, image_set: ImageSet, refresh: Refresh, digest: str) -> None:
    """The candidate is now the version that everyone gets."""
    await publish.ensure_promoted(azure, image_set, refresh, digest)
    log.info("Promoted: %s %s is the latest version", image_set.name, refresh.version)


@task(name="reject", cache_policy=NO_CACHE)
async def reject(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The candidate is marked rejected and stays excluded from latest."""
    await publish.ensure_rejected(azure, image_set, refresh)
    log.info("Rejected: nobody gets %s %s", image_set.name, refresh.version)


async def give_up(azure: Azure, image_set: ImageSet, refresh_id: str) -> None:
    """Nothing of this unfinished refresh is in the way of a new one: its version is rejected, its machines are gone.

    Does nothing where another refresh is under way, or none: so a run that gave one up and is started again does not give up its
    own. One that was approved is not given up, since its hosts may serve. Raises PreflightError.
    """
    refresh = await current_refresh(azure, image_set)
    if refresh is None or refresh.id != refresh_id:
        return
    candidate = await publish.find_version(azure, image_set, refresh.version)
    if candidate is not None and candidate.state in ("approved", "promoted"):
        raise PreflightError(
            f"Refresh {refresh.id} was approved by {candidate.decision.by if candidate.decision else 'somebody'}: hosts may serve on it "
            "already, so it is not given up. Nothing was changed. What to do: start this run without `give up`: it goes on."
        )
    log.info("Refresh %s is given up", refresh.id)
    await ensure_source_returned(azure, image_set, refresh)
    await remove_canary(azure, image_set, refresh)
    await remove_build_machine(azure, image_set, refresh)
    await build.ensure_machine_removed(azure, image_set, refresh, refresh.boot_name)
    await build.ensure_snapshot_removed(azure, image_set, refresh)
    await ensure_managed_image_removed(azure, image_set, refresh)
    if candidate is not None:
        await reject(azure, image_set, refresh)
    await end(azure, image_set, refresh)


@task(name="end refresh", cache_policy=NO_CACHE)
async def end(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The next refresh of this image set can begin."""
    await end_refresh(azure, image_set, refresh)


async def under_way(azure: Azure, image_set: ImageSet) -> Refresh:
    """The refresh that is unfinished. Raises PreflightError where there is none."""
    refresh = await current_refresh(azure, image_set)
    if refresh is None:
        raise PreflightError(
            f"No refresh of {image_set.name} is under way, so there is nothing to publish. Nothing was changed. "
            "What to do: run build-image, or refresh-image, which does all of it."
        )
    return refresh


@task(name="promote by hand", cache_policy=NO_CACHE)
async def promote_by_hand(azure: Azure, image_set: ImageSet, version: str, by: str, reason: str) -> None:
    """An approved version is the one that everyone gets, and says who made it so. Raises PromotionRefused for any other."""
    await publish.ensure_promoted_by_hand(azure, image_set, version, by, reason)
    log.info("Promoted by %s: %s %s is not excluded from latest any more", by, image_set.name, version)


async def approved_version(azure: Azure, image_set: ImageSet, version: str) -> Candidate:
    """The version, if somebody has approved it. Raises PreflightError where not: only approved versions reach users."""
    found = await publish.find_version(azure, image_set, version)
    if found is None or found.state not in ("approved", "promoted"):
        state = found.state if found else "missing"
        raise PreflightError(
            f"{image_set.name} {version} is {state}, and only an approved version is rolled out. Nothing was changed. "
            "What to do: run refresh-image, which asks for the approval; or choose an approved version."
        )
    return found
