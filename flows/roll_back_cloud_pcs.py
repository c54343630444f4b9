"""The way back of Windows 365: policies get the image again that they had, and Cloud PCs are reprovisioned with it, guarded as before."""

from prefect import flow

from evergold.config.load import load_image_set
from evergold.validation.preflight import connect_for
from flows.parameters import ImageSetName, Words
from tasks import cloud_pc_restore, cloud_pcs
from tasks.approval import requester


@flow(
    name="roll-back-cloud-pcs",
    flow_run_name="roll Cloud PCs back from {image_set} {image_version}",
    persist_result=False,
)
async def roll_back_cloud_pcs(
    image_set: ImageSetName, image_version: str, give_up: Words = "", started_by: Words = "", restore: str = ""
) -> None:
    """Set the policies back to the image before this version, and reprovision the Cloud PCs that have it. Asks for an approval.

    Args:
        image_set: Name of an image set that has cloud_pcs.
        image_version: The version to leave, x.y.z.
        give_up: Id of a campaign that is unfinished, such as the one to this version: it ends first.
        started_by: Your name; needed where the image set wants two people (approval.four_eyes).
        restore: Users, with commas between, whose Cloud PCs alone are put back to their restore point of before the reprovision: what they
            did since is lost, and the run asks before. No policy is changed, and nobody else is touched. Empty: the way back for all.

    """
    loaded = load_image_set(image_set)
    async with connect_for(loaded) as azure:
        if give_up:
            await cloud_pcs.give_up(azure, loaded, give_up)
        if restore:
            users = cloud_pc_restore.users_in(restore)
            if await cloud_pc_restore.decide(azure, loaded, users, await requester(started_by)):
                await cloud_pc_restore.restore(azure, loaded, users)
            return
        begun = await cloud_pcs.set_policies_back(azure, loaded, image_version)
        campaign = await cloud_pcs.decide(azure, loaded, begun, await requester(started_by))
        if campaign is not None:
            await cloud_pcs.carry_out(azure, loaded, campaign)
            await cloud_pcs.end_campaign(azure, loaded)
