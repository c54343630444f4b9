"""The monthly refresh of one image set: from a new image to every host replaced.

Every step is an ensure. The run may be killed at any instant, or lie suspended for days, and be started again from the top: it finds what
is done and goes on. The decision of a person stands on the image version, and nobody is asked twice.
"""

import logging

from prefect import Flow, State, flow
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import flow_run as this_run

from evergold.azure import Azure
from evergold.clock import sleep_until
from evergold.cloudpc.engine import ReprovisionHaltedError
from evergold.cloudpc.observe import PolicyChangedError
from evergold.config.load import load_image_set
from evergold.config.models import ImageSet
from evergold.images.publish import Candidate, Decision
from evergold.images.refresh import Refresh, current_refresh
from evergold.images.source_host import ensure_source_returned
from evergold.validation.preflight import connect_for
from flows.parameters import ImageSetName, NewVersion, Words
from tasks import cloud_pcs, image, report, rollout
from tasks.approval import Question, ask, requester
from tasks.rings import roll_out_rings
from tasks.rollout import RingError
from tasks.versions import show_versions

log = logging.getLogger("evergold.refresh")


async def put_back(flow: "Flow[..., None]", flow_run: FlowRun, state: State) -> None:  # noqa: ARG001  (Prefect's names)
    """After a cancellation: a session host that was being copied serves again as before. Runs in another process."""
    loaded = load_image_set(flow_run.parameters["image_set"])
    async with connect_for(loaded) as azure:
        refresh = await current_refresh(azure, loaded)
        if refresh is not None:
            await ensure_source_returned(azure, loaded, refresh)


@flow(
    name="refresh-image",
    flow_run_name="refresh {image_set}",
    persist_result=False,
    on_cancellation=[put_back],
)
async def refresh_image(
    image_set: ImageSetName,
    started_by: Words = "",
    notes: Words = "",
    image_version: NewVersion = "",
    give_up: Words = "",
) -> None:
    """Build, prove, approve and roll out a new image version.

    Args:
        image_set: Name of the image set: a file in deployments/image_sets, without .yaml.
        started_by: Your name. Kept on the image version; needed where the image set wants two people (approval.four_eyes).
        notes: Why this refresh, for whoever looks at the image version later. Kept on it.
        image_version: Number of the new version, x.y.z, above every one there is. Left empty, the image set says how it is made.
        give_up: Id of a refresh that is unfinished and not approved, such as office-20261112-2000: it is rejected and removed, and a
            new one begins. Left empty, an unfinished refresh is gone on with.

    """
    loaded = load_image_set(image_set)
    async with connect_for(loaded) as azure:
        await image.preflight(azure, loaded)
        if give_up:
            await image.give_up(azure, loaded, give_up)
        refresh = await image.begin(azure, loaded, await requester(started_by), image_version, notes)
        candidate = await image.build_and_publish(azure, loaded, refresh, notes)
        decision = candidate.decision or await decide(azure, loaded, refresh, candidate)
        if decision.approved:
            await wait_for_chosen_time(azure, decision)
            try:
                await roll_out_rings(azure, loaded, refresh, decision.release_method or None)
                await image.promote(azure, loaded, refresh, decision.digest)
                if loaded.cloud_pcs is not None:
                    if loaded.rings:
                        await report.write_report(azure, loaded, refresh, decision)  # the Cloud PCs may take days
                    await cloud_pcs.serve(azure, loaded, refresh)
            except (RingError, ReprovisionHaltedError, PolicyChangedError) as stopped:
                await report.write_report(azure, loaded, refresh, decision, str(stopped))
                raise
            await report.write_report(azure, loaded, refresh, decision)
            if loaded.cloud_pcs is not None:
                await cloud_pcs.end_campaign(azure, loaded)
        else:
            await rollout.remove_canary(azure, loaded, refresh)
            await image.reject(azure, loaded, refresh)
            if loaded.cloud_pcs is not None:
                await cloud_pcs.forget_image(azure, loaded, refresh.version)
        await show_versions(azure, loaded)
        await image.end(azure, loaded, refresh)


async def decide(azure: Azure, image_set: ImageSet, refresh: Refresh, candidate: Candidate) -> Decision:
    """A person's decision on what was found; written to the image version before anything follows from it."""
    if not image_set.rings:
        on_image = await cloud_pcs.decide_on_image(azure, image_set, refresh, candidate)
        return await image.record_decision(azure, image_set, refresh, on_image)
    canary = await rollout.boot_canary(azure, image_set, refresh, str(this_run.id))
    evidence = await rollout.gather_evidence(azure, image_set, refresh, candidate, canary)
    if not evidence.passed:
        raise EvidenceError(
            f"{image_set.name} {candidate.version} did not pass its checks on {canary}, so nobody was asked to approve it.\n\n"
            f"{evidence.to_markdown()}\nWhat to do: where the cause is not in the image, mend it and start this run again, and it "
            f"checks again; otherwise start a new run that gives up {refresh.id}, which rejects this version and builds the next."
        )
    log.info("Waiting for an approval of %s %s on evidence %s", image_set.name, candidate.version, evidence.digest[:12])
    question = Question(evidence.digest, evidence.to_markdown(), image_set.approval, requested_by=refresh.started_by)
    answer = await ask(question, azure.clock.now())
    made = Decision(
        approved=answer.approved,
        by=answer.name,
        at=azure.clock.now(),
        digest=evidence.digest,
        reason=answer.reason,
        not_before=answer.not_before,
        release_method=answer.release_method,
        given_from=answer.given_from,
    )
    return await image.record_decision(azure, image_set, refresh, made)


async def wait_for_chosen_time(azure: Azure, decision: Decision) -> None:
    """The time that the approver chose has come. It stands on the image version: a run that is started again waits on."""
    if decision.not_before is not None and decision.not_before > azure.clock.now():
        log.info("Approved for later: the rollout begins at %s UTC", f"{decision.not_before:%Y-%m-%d %H:%M}")
        await sleep_until(azure.clock, decision.not_before)


class EvidenceError(Exception):
    """The candidate did not pass its checks; says which, and what to do."""
