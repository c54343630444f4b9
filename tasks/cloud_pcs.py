"""Windows 365 in the Prefect UI: the import, the policies, the approval, and Cloud PCs reprovisioned with a table that is live."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from prefect import task
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.input import RunInput
from prefect.runtime import flow_run as this_run
from pydantic import Field

from evergold.azure import Azure
from evergold.azure.cloudpcs import DeviceImage
from evergold.azure.errors import raise_failed
from evergold.cloudpc import campaign as notes
from evergold.cloudpc import lease
from evergold.cloudpc.checks import check_version
from evergold.cloudpc.directions import begin_back, begin_forward, end_by_id, ready_image
from evergold.cloudpc.engine import Place, look, reprovision
from evergold.cloudpc.images import ensure_imported, name_for, retire_images, settings_of
from evergold.cloudpc.model import Campaign, Plan, Verdict
from evergold.cloudpc.observe import first_part
from evergold.cloudpc.policies import UNCHANGED, Change, Image, ensure_policy_image, policies_of
from evergold.cloudpc.refresh import ensure_image_forgotten, gather_evidence
from evergold.config.models import ImageSet
from evergold.images.publish import Candidate, Decision, find_version
from evergold.images.refresh import Refresh
from evergold.validation.preflight import refuse_unless_passed
from tasks.approval import Question, fill_in, objection_to_name
from tasks.record import keep_evidence

log = logging.getLogger("evergold.cloudpc")

EVENT = "evergold.cloud-pc"
HOUR_OF_IMPORT = 60.0
SHOWN = 30  # Cloud PCs that the form lists by name

RISK = (
    "**A reprovision wipes the Cloud PC's disk.** What is not in OneDrive or elsewhere is gone, except in a restore point, and Microsoft "
    "does not promise that restore points outlive a reprovision. Only Cloud PCs with a fresh restore point that can be seen are "
    "reprovisioned, or whose users you waive by name below."
)


# The image


@task(name="check Windows 365 prerequisites", cache_policy=NO_CACHE)
async def check_prerequisites(azure: Azure, image_set: ImageSet, version: str) -> None:
    """Refuses the import, before an hour is spent on it, where Windows 365 would not take the image."""
    found = await find_version(azure, image_set, version)
    if found is None or found.state == "rejected":
        says = "There is no such version." if found is None else "It was rejected."
        raise_failed("import the image into Windows 365", f"{image_set.name} {version}", "ResourceNotFound", says)
    checks = await check_version(azure, image_set, version)
    refuse_unless_passed(checks, f"The import of {image_set.name} {version}")
    log.info("Windows 365 prerequisites: all %d checks passed", len(checks))


@task(name="import Cloud PC image", task_run_name="import {image_set.name} {version}", cache_policy=NO_CACHE)
async def import_image(azure: Azure, image_set: ImageSet, version: str) -> DeviceImage:
    """The version is a custom image of Windows 365, and ready. About an hour."""
    artifact = await acreate_progress_artifact(
        progress=0,
        key=f"import-{image_set.name}",
        description=f"Import of {name_for(image_set, version)} into Windows 365",
    )

    async def show(minutes: float) -> None:
        # Graph tells no progress: it is the time that such an import usually takes.
        await aupdate_progress_artifact(artifact, min(99.0, 100 * minutes / HOUR_OF_IMPORT))

    image = await ensure_imported(azure, image_set, version, show)
    await aupdate_progress_artifact(artifact, 100)
    return image


@task(name="retire Cloud PC images", cache_policy=NO_CACHE)
async def retire_old_images(azure: Azure, image_set: ImageSet) -> None:
    """Old images that nothing needs are gone."""
    gone = await retire_images(azure, image_set)
    log.info("Old images deleted from Windows 365: %s", ", ".join(gone) or "none")


# The policies


@task(name="update provisioning policies", cache_policy=NO_CACHE)
async def update_policies(azure: Azure, image_set: ImageSet, version: str) -> list[Change]:
    """Every policy makes new Cloud PCs from the version; what each had before is noted."""
    image = await ready_image(azure, image_set, version)
    wanted = Image("custom", image.id, image.name)
    policies = await policies_of(azure, settings_of(image_set).provisioning_policies)
    await lease.refuse_held(azure, image_set, [first_part(policy) for policy in policies], str(this_run.id))
    changes = [await ensure_policy_image(azure, image_set, policy, wanted) for policy in policies]
    await _tell_changes(image_set, changes)
    return changes


async def _tell_changes(image_set: ImageSet, changes: Sequence[Change]) -> None:
    for change in changes:
        log.info("%s", change.words)
    await acreate_markdown_artifact(
        "\n".join(f"- {change.words}" for change in changes),
        key=f"policies-{image_set.name}",
        description="Provisioning policies and their images",
    )


# The campaign


@task(name="set provisioning policies back", cache_policy=NO_CACHE)
async def set_policies_back(azure: Azure, image_set: ImageSet, version: str) -> Campaign:
    """Every policy has the image again that it had before this version, and a campaign back to those is under way."""
    policies = await policies_of(azure, settings_of(image_set).provisioning_policies)
    await lease.refuse_held(azure, image_set, [first_part(policy) for policy in policies], str(this_run.id))
    campaign, changes = await begin_back(azure, image_set, version)
    await _tell_changes(image_set, changes)
    return campaign


@task(name="begin campaign", cache_policy=NO_CACHE)
async def begin(azure: Azure, image_set: ImageSet, version: str) -> Campaign:
    """The campaign to this version: the one that is under way, or a new one. Every policy must have the image already."""
    return await begin_forward(azure, image_set, version)


@task(name="give up campaign", cache_policy=NO_CACHE)
async def give_up(azure: Azure, image_set: ImageSet, campaign_id: str) -> None:
    """The campaign of this id is over. What it has sent is not called back."""
    await end_by_id(azure, image_set, campaign_id)


class CloudPcForm(RunInput):
    """Decides whether Cloud PCs are reprovisioned."""

    decision: Literal["approve", "reject"] = Field(
        title="Decision",
        description="approve: reprovision them, ring after ring. reject: none is touched; the policy stays as it is.",
    )
    name: str = Field(title="Your name", min_length=2, max_length=100, description="It is kept with the campaign.")
    reason: str = Field(default="", title="Reason", max_length=200, description="Needed to reject.")
    waivers: str = Field(
        default="",
        title="Waivers",
        max_length=1200,
        description="One a line, user: reason. These are reprovisioned without a restore point, and may lose what is on their disk.",
    )


async def decide(azure: Azure, image_set: ImageSet, campaign: Campaign, requested_by: str = "") -> Campaign | None:
    """The campaign with a person's approval, or None where it was rejected. To be called from the flow itself: it suspends the run.

    Where no Cloud PC is left to do, nobody is asked.
    """
    if campaign.approved_by:
        return campaign
    seen = await look(Place(azure, image_set, settings_of(image_set)), campaign)
    if seen.done:
        return campaign
    decision = await _decided(azure, image_set, campaign, seen, Question("", "", image_set.approval, requested_by))
    return await notes.current(azure, image_set) if decision.approved else None


async def decide_on_image(azure: Azure, image_set: ImageSet, refresh: Refresh, candidate: Candidate) -> Decision:
    """In a refresh for Cloud PCs alone: one decision on the image and on who gets it. Imports it first; suspends the run.

    An approval stands on the campaign before this returns, so a run that dies here finds it again.
    """
    image = await bring_image(azure, image_set, refresh.version)
    evidence = await gather_evidence(azure, image_set, refresh, candidate, image)
    await keep_evidence(evidence)
    refuse_unless_passed(list(evidence.checks), f"The approval of {image_set.name} {candidate.version}")
    campaign = await begin_forward(azure, image_set, refresh.version, policies_follow=True)
    if campaign.approved_by:
        return Decision(True, campaign.approved_by, campaign.approved_at or azure.clock.now(), evidence.digest)
    seen = await look(Place(azure, image_set, settings_of(image_set)), campaign)
    question = Question(evidence.digest, evidence.to_markdown(), image_set.approval, refresh.started_by)
    return await _decided(azure, image_set, campaign, seen, question)


async def _decided(azure: Azure, image_set: ImageSet, campaign: Campaign, seen: Plan, question: Question) -> Decision:
    """A person's decision on the campaign, noted with it; with the question's evidence above the list of Cloud PCs."""
    digest = digest_of(campaign, seen, question.digest)
    users = {verdict.desk.user for verdict in seen.verdicts}
    markdown = "\n\n".join(filter(None, (question.markdown, RISK, describe(campaign, seen))))
    log.info("Waiting for an approval to reprovision %d Cloud PCs with %s", seen.count("later"), campaign.image)
    asked = replace(question, digest=digest, markdown=markdown)
    form, given_from = await fill_in(CloudPcForm, asked, lambda form: objection_to(form, question, users), "cloud-pcs-")
    decision = Decision(
        approved=form.decision == "approve",
        by=form.name.strip(),
        at=azure.clock.now(),
        digest=question.digest,
        reason=form.reason.strip(),
        given_from=given_from,
    )
    if decision.approved:
        waivers = waivers_in(form.waivers)
        await notes.note(azure, image_set, notes.approved(campaign, decision.by, decision.at, digest[:12], waivers))
        log.info("%s approved it, with %d waivers", decision.by, len(waivers))
    else:
        await notes.end(azure, image_set, campaign)
        log.info("%s rejected it: %s", decision.by, decision.reason)
    return decision


def objection_to(form: CloudPcForm, question: Question, users: set[str]) -> str | None:
    """Why an answer cannot count, in words for the person who gave it; None when it can."""
    to_name = objection_to_name(form.name, form.decision, question)
    if to_name is not None:
        return to_name
    if form.decision == "reject":
        return None if form.reason.strip() else "to reject, please give the reason."
    for line in filter(None, map(str.strip, form.waivers.splitlines())):
        user, _, reason = line.partition(":")
        if user.strip().casefold() not in users:
            return f'the waiver "{line}" names nobody with one of these Cloud PCs; write it as ada@contoso.com: reason.'
        if not reason.strip():
            return f"the waiver for {user.strip()} has no reason."
    return None


def waivers_in(text: str) -> dict[str, str]:
    """User to reason, from lines "user: reason"."""
    parts = (line.partition(":") for line in filter(None, map(str.strip, text.splitlines())))
    return {user.strip().casefold(): reason.strip() for user, _, reason in parts}


def digest_of(campaign: Campaign, seen: Plan, evidence: str = "") -> str:
    """Names what is decided about: the campaign, the Cloud PCs that are not done, and the digest of evidence on the image."""
    ids = sorted(verdict.desk.id for verdict in seen.verdicts if verdict.fate != "done")
    return hashlib.sha256("\n".join([campaign.id, campaign.image, evidence, *ids]).encode()).hexdigest()


def describe(campaign: Campaign, seen: Plan) -> str:
    """What an approval sets going, and for whom, as Markdown."""
    concerned = [verdict for verdict in seen.verdicts if verdict.fate != "done"]
    lines = [
        f"{len(concerned)} Cloud PCs are to get {campaign.image}; {seen.count('done')} have it. {UNCHANGED}",
        "",
        "| user | ring | on it now | last sign-in | restore points | signed in |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for verdict in concerned[:SHOWN]:
        desk = verdict.desk
        newest = f"{max(desk.restore_points):%Y-%m-%d %H:%M}" if desk.restore_points else "none"
        days = "unknown" if desk.days_since_sign_in is None else f"{desk.days_since_sign_in} days ago"
        present = {True: "yes", False: "no", None: "unknown"}[desk.signed_in]
        lines.append(f"| {desk.user} | {desk.ring or 'none'} | {desk.image} | {days} | {newest} | {present} |")
    if len(concerned) > SHOWN:
        lines.append(f"\n... and {len(concerned) - SHOWN} more.")
    return "\n".join(lines)


@task(name="reprovision Cloud PCs", task_run_name="reprovision: {campaign.id}", cache_policy=NO_CACHE)
async def carry_out(azure: Azure, image_set: ImageSet, campaign: Campaign) -> None:
    """Every Cloud PC of the campaign is done, has failed or is left; the table says which, and why."""
    board = Board(image_set)
    place = Place(azure, image_set, settings_of(image_set))
    last = await reprovision(place, campaign, Teller(image_set).tell, board.show, str(this_run.id))
    await board.report(campaign, last)
    log.info("Done: %d, failed: %d, left: %d", last.count("done"), last.count("failed"), last.count("left"))


@dataclass(frozen=True)
class Teller:
    """Emits an event for each user who is to be told; automations bring it to them (docs/windows-365.md)."""

    image_set: ImageSet

    async def tell(self, what: Literal["ahead", "today", "now"], campaign: Campaign, about: Sequence[Verdict]) -> None:
        """Tells of a reprovision that comes: `ahead`, days before, `today`, or `now`, to somebody who is signed in."""
        settings = settings_of(self.image_set)
        when = {
            "ahead": f"in {settings.safety.notice_days} days or later",
            "today": "today or in the next days, when you are signed out",
            "now": f"in {settings.warn_minutes} minutes, whether you are signed in or not",
        }[what]
        for verdict in about:
            emit_event(
                event=f"{EVENT}.{what}",
                resource={
                    "prefect.resource.id": f"{EVENT}.{verdict.desk.id}",
                    "prefect.resource.name": verdict.desk.name,
                },
                payload={
                    "user": verdict.desk.user,
                    "cloud_pc": verdict.desk.name,
                    "image": campaign.image,
                    "text": f"Your Cloud PC is set up anew {when}. Please see that all of your files are in OneDrive: what is only on the "
                    "Cloud PC's disk will be gone.",
                },
            )
        log.info("%d users are told: %s", len(about), when)


class Board:
    """The live table of a campaign in the Prefect UI, written when something has changed."""

    def __init__(self, image_set: ImageSet) -> None:
        self._image_set = image_set
        self._shown: list[dict[str, Any]] = []

    async def show(self, campaign: Campaign, decided: Plan) -> None:
        """Brings the table up to date."""
        rows = rows_of(decided)
        if rows != self._shown:
            self._shown = rows
            await acreate_table_artifact(
                rows, key=f"cloud-pcs-{self._image_set.name}", description=f"{campaign.id}: to {campaign.image}"
            )

    async def report(self, campaign: Campaign, last: Plan) -> None:
        """The report at the end: figures, waivers, and each user's line."""
        waived = "\n".join(f"- {user}: {reason}" for user, reason in campaign.waivers.items()) or "- none"
        told = "\n".join(f"| {row['user']} | {row['fate']} | {row['why']} |" for row in rows_of(last))
        await acreate_markdown_artifact(
            f"# Cloud PCs on {campaign.image}\n\n{last.count('done')} done, {last.count('failed')} failed, {last.count('left')} left. "
            f"Approved by {campaign.approved_by}.\n\nWaivers:\n{waived}\n\n| user | what became of it | why |\n| --- | --- | --- |\n{told}",
            key=f"cloud-pc-report-{self._image_set.name}",
            description=f"Report of {campaign.id}",
        )


@task(name="end campaign", cache_policy=NO_CACHE)
async def end_campaign(azure: Azure, image_set: ImageSet) -> None:
    """Another campaign of the image set can begin."""
    standing = await notes.current(azure, image_set)
    if standing is not None:
        await notes.end(azure, image_set, standing)


def rows_of(decided: Plan) -> list[dict[str, Any]]:
    """One row a Cloud PC."""
    return [
        {
            "user": v.desk.user,
            "ring": v.desk.ring,
            "cloud PC": v.desk.name,
            "image": v.desk.image,
            "fate": v.fate,
            "why": v.why,
        }
        for v in sorted(decided.verdicts, key=lambda v: (v.desk.ring, v.desk.user))
    ]


# In a refresh


async def bring_image(azure: Azure, image_set: ImageSet, version: str) -> DeviceImage:
    """The version meets the prerequisites, and is a custom image that is ready."""
    await check_prerequisites(azure, image_set, version)
    return await import_image(azure, image_set, version)


async def serve(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The Cloud PCs have the version, as far as a person has approved and nothing speaks against it.

    Suspends the run where nobody has decided yet: to be called from the flow itself. The campaign stays noted, for the report.
    """
    await bring_image(azure, image_set, refresh.version)
    begun = await begin_forward(azure, image_set, refresh.version, policies_follow=True)
    campaign = await decide(azure, image_set, begun, refresh.started_by)
    if campaign is None:
        log.info("No Cloud PC is touched, and the policies keep their image")
        return
    await update_policies(azure, image_set, refresh.version)
    await carry_out(azure, image_set, campaign)
    await retire_old_images(azure, image_set)


@task(name="forget Cloud PC image", cache_policy=NO_CACHE)
async def forget_image(azure: Azure, image_set: ImageSet, version: str) -> None:
    """A rejected version is no custom image of Windows 365 any more."""
    if not await ensure_image_forgotten(azure, image_set, version):
        log.warning("%s stays in Windows 365: a policy or a Cloud PC uses it", name_for(image_set, version))
