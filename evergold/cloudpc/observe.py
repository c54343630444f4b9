"""A look at the Cloud PCs of a campaign: what Graph, Intune and our own bulk actions tell of each.

A list that cannot be read whole raises: nothing follows from half a look. What cannot be told of one Cloud PC stays None, and the planner
takes None as a reason against it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from evergold.azure import Azure, AzureFailure
from evergold.azure.cloudpcs import BulkAction, CloudPc, ProvisioningPolicy
from evergold.cloudpc.model import Campaign, Desk, Rules
from evergold.cloudpc.plan import CAN_BE_REPROVISIONED, RUNS
from evergold.cloudpc.policies import policies_of
from evergold.config.models import CloudPcs
from evergold.rollout.engine import window_of

log = logging.getLogger("evergold.cloudpc")

SIDE_BY_SIDE = 8  # reads of single Cloud PCs at the same time
RESTORE_POINTS = "restore points"
WARNED = f"{RESTORE_POINTS}, users warned"  # of users who were signed in when they were asked for


class PolicyChangedError(Exception):
    """A policy names another image than the campaign leads to: somebody has changed it; says which, and what to do."""


@dataclass(frozen=True)
class Rings:
    """Who is in which ring: user to its name; `rest` is the ring of everyone else, or ""."""

    users: Mapping[str, str]
    rest: str

    def of(self, user: str) -> str:
        """The ring of a user; "" for none."""
        return self.users.get(user.casefold(), self.rest)


def bulk_name(campaign: Campaign, what: str = "") -> str:
    """What the campaign's bulk actions are called: reprovisions by its id, requests for restore points by that and `what`."""
    return f"{campaign.id} {what}".strip()


def first_part(policy: ProvisioningPolicy) -> str:
    """How notes name a policy."""
    return policy.id.partition("-")[0]


async def rings_of(azure: Azure, settings: CloudPcs) -> Rings:
    """Who is in which ring now. Whoever stands in two belongs to the first."""
    users: dict[str, str] = {}
    for ring in settings.rings:
        members = {user.casefold() for user in ring.users}
        for group in ring.groups:
            members |= await azure.cloud_pcs.group_members(group)
        users = {**dict.fromkeys(members, ring.name), **users}
    return Rings(users, next((ring.name for ring in settings.rings if ring.is_rest), ""))


async def observe(azure: Azure, settings: CloudPcs, campaign: Campaign, rings: Rings) -> list[Desk]:
    """Every Cloud PC of the policies, without what only a closer look tells of each (`look_closely`).

    Raises PolicyChangedError where a policy does not lead where the campaign does. As long as nobody has approved, it need not yet.
    """
    policies = await policies_of(azure, settings.provisioning_policies)
    for policy in policies:
        wanted = campaign.targets.get(first_part(policy))
        if wanted is None or (campaign.approved_by and policy.image_name != wanted):
            raise PolicyChangedError(
                f"The provisioning policy {policy.name} names the image {policy.image_name}, and {campaign.id} is to bring its Cloud PCs "
                f"to {wanted}. Nothing was reprovisioned after that was seen. What to do: set the policy back and start this run again, "
                f"or start reprovision-cloud-pcs with give_up: {campaign.id}."
            )
    targets = {policy.id: campaign.targets[first_part(policy)] for policy in policies}
    found = [pc for pc in await azure.cloud_pcs.list_all() if pc.policy_id in targets]
    actions = await azure.cloud_pcs.bulk_actions(campaign.id)
    sent, asked = _times(actions, "reprovision"), _times(actions, "snapshot")
    warned = _times([each for each in actions if each.name == bulk_name(campaign, WARNED)], "snapshot")
    folders = await _folders(azure, settings)
    return [
        _desk(
            pc,
            campaign,
            settings,
            rings,
            targets[pc.policy_id],
            sent.get(pc.id),
            asked.get(pc.id),
            warned.get(pc.id),
            folders,
        )
        for pc in found
    ]


async def look_closely(azure: Azure, settings: CloudPcs, desks: Iterable[Desk]) -> list[Desk]:
    """The same Cloud PCs with who is signed in and which restore points can be seen, where that matters.

    Where copies go to a storage account, only restore points that were asked for count: of Windows 365's own, nobody has a copy.
    """
    kinds = ("manual",) if settings.safety.share_snapshots_to else ("manual", "automatic")
    limit = asyncio.Semaphore(SIDE_BY_SIDE)

    async def look(desk: Desk) -> Desk:
        over = desk.sent_at is not None or desk.status not in CAN_BE_REPROVISIONED
        if over or not desk.ring or (desk.image == desk.target and desk.status in RUNS):
            return desk
        async with limit:
            return await _closer(azure, desk, kinds)

    return list(await asyncio.gather(*(look(desk) for desk in desks)))


async def _closer(azure: Azure, desk: Desk, kinds: Sequence[str]) -> Desk:
    try:
        connection = await azure.cloud_pcs.connection(desk.id)
        points = await azure.cloud_pcs.restore_points(desk.id)
    except AzureFailure as failure:
        log.warning("%s: it is left for now. %s", desk.name, failure)
        return replace(desk, signed_in=None, restore_points=())
    return replace(
        desk,
        signed_in=connection.signed_in,
        days_since_sign_in=connection.days_since_sign_in,
        restore_points=tuple(sorted(point.created for point in points if point.ready and point.kind in kinds)),
    )


def _desk(
    pc: CloudPc,
    campaign: Campaign,
    settings: CloudPcs,
    rings: Rings,
    target: str,
    sent: datetime | None,
    asked: datetime | None,
    warned: datetime | None,
    folders: Mapping[str, bool],
) -> Desk:
    begun = pc.action_started if pc.action.casefold() == "reprovision" else None
    if sent is None and settings.api == "single" and begun is not None and begun >= campaign.started_at:
        sent = begun
    return Desk(
        id=pc.id,
        name=pc.name,
        user=pc.user,
        ring=rings.of(pc.user),
        status=pc.status,
        image=pc.image,
        target=target,
        changed=pc.changed,
        last_login=pc.last_login,
        grace_until=pc.grace_until,
        reprovision_begun=begun,
        sent_at=sent,
        asked_at=asked,
        warned_at=warned,
        known_folders=folders.get(pc.managed_id),
    )


def _times(actions: Iterable[BulkAction], kind: str) -> dict[str, datetime]:
    """When each Cloud PC was last in a bulk action of this kind."""
    return {
        each: action.created
        for action in actions
        if action.kind == kind and action.created is not None
        for each in action.cloud_pc_ids
    }


async def _folders(azure: Azure, settings: CloudPcs) -> dict[str, bool]:
    script = settings.safety.known_folders_script
    if script is None or (settings.safety.known_folders == "ignore" and settings.release_method == "opportunistic"):
        return {}
    return await azure.cloud_pcs.known_folders(script)


def rules_of(settings: CloudPcs) -> Rules:
    """The image set's policy in the planner's terms."""
    safety = settings.safety
    return Rules(
        rings=tuple((ring.name, ring.bake_minutes) for ring in settings.rings),
        waves=settings.waves,
        windows=tuple(window_of(each) for each in settings.windows),
        max_at_once=settings.max_at_once,
        failure_budget=settings.failure_budget,
        notice_days=safety.notice_days,
        restore_point_max_age_hours=safety.restore_point_max_age_hours,
        restore_point_timeout_minutes=safety.restore_point_timeout_minutes,
        reprovision_timeout_minutes=settings.reprovision_timeout_minutes,
        max_days_since_sign_in=safety.max_days_since_sign_in,
        give_up_days=settings.give_up_days,
        known_folders_required=safety.known_folders == "required",
        warn_minutes=None if settings.release_method == "opportunistic" else settings.warn_minutes,
    )
