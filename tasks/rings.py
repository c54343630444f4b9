"""Ring after ring: the pools of one side by side, then time to notice trouble and a fresh look, then the next."""

import asyncio
import logging
from datetime import datetime, timedelta
from hashlib import sha256

from prefect import task
from prefect.cache_policies import NO_CACHE

from evergold import tags
from evergold.azure import Azure
from evergold.clock import sleep_until
from evergold.config.models import RELEASE_METHODS, ImageSet, Pool, ReleaseMethod, Ring
from evergold.images.publish import ensure_ring_approved, find_version
from evergold.images.refresh import Refresh
from evergold.rollout.hosts import is_asleep, is_serving
from evergold.rollout.model import Snapshot
from evergold.rollout.preview import describe_plan, place_of, target_of
from evergold.validation.looking import Look, look_at_all
from evergold.validation.sign_in import SIGN_IN, check_sign_in
from tasks.approval import Question, ask
from tasks.rollout import RingError, roll_out_pool, snapshot_of

log = logging.getLogger("evergold.rollout")


async def roll_out_rings(
    azure: Azure, image_set: ImageSet, refresh: Refresh, release_method: ReleaseMethod | None = None
) -> None:
    """Every ring is on the version; `release_method`, if given, counts instead of the image set's. Without rings there is nothing to do.

    Raises RingError where one is not, and goes no further.
    """
    for ring in image_set.rings:
        chosen = release_method
        if ring.approve and ring is not image_set.rings[0]:
            chosen = await let_in(azure, image_set, refresh, ring) or release_method
        log.info("Ring %s: %s", ring.name, ", ".join(pool.name for pool in ring.pools))
        # All of them are let run to their end: a pool that fails does not stop its neighbours half-way.
        outcomes = await asyncio.gather(
            *(roll_out_pool(image_set, pool, refresh, chosen) for pool in ring.pools), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        if ring is not image_set.rings[-1]:
            await bake(azure, image_set, refresh, ring)


async def let_in(azure: Azure, image_set: ImageSet, refresh: Refresh, ring: Ring) -> ReleaseMethod | None:
    """Somebody has let the version into this ring; returns the release method that they chose, if any.

    Suspends the run until they have, unless it stands on the version already: to be called from the flow itself, not from a task.
    Raises RingError where they reject it.
    """
    version = await find_version(azure, image_set, refresh.version)
    if version is not None and tags.RING + ring.name in version.tags:
        word = version.tags[tags.RING + ring.name].split("|")[1]
        return next((method for method in RELEASE_METHODS if method == word), None)
    plans = [await describe_plan(azure, image_set, refresh.id, refresh.version, pool.name) for pool in ring.pools]
    digest = version.decision.digest if version is not None and version.decision is not None else ""
    text = f"## {image_set.name} {refresh.version}: let it into ring {ring.name}?\n\n" + "\n\n".join(plans)
    log.info("Waiting for an approval of ring %s", ring.name)
    question = Question(ring_digest(digest, ring.name), text, image_set.approval, requested_by=refresh.started_by)
    answer = await ask(question, azure.clock.now())
    if not answer.approved:
        raise RingError(
            f"{answer.name} rejected ring {ring.name}: {answer.reason} Rings before it stay on {refresh.version}; this one was not begun. "
            "What to do: roll those back, if they should not stay; or start a new run of refresh-image, which asks again."
        )
    if answer.not_before is not None:
        await sleep_until(azure.clock, answer.not_before)
    await ensure_ring_approved(azure, image_set, refresh, ring.name, answer.name, answer.release_method)
    return answer.release_method or None


def ring_digest(digest: str, ring: str) -> str:
    """Names the question about one ring: another for each ring, and for other evidence."""
    return sha256(f"{digest}:{ring}".encode()).hexdigest()


@task(name="bake", task_run_name="bake ring {ring.name}", cache_policy=NO_CACHE)
async def bake(azure: Azure, image_set: ImageSet, refresh: Refresh, ring: Ring) -> None:
    """The ring has been in use for its bake time, and serves. Raises RingError where hosts of it do not serve any more."""
    ended = max(
        [await _ended(azure, image_set, refresh, ring), azure.clock.now() - timedelta(minutes=ring.bake_minutes)]
    )
    until = ended + timedelta(minutes=ring.bake_minutes)
    if until > azure.clock.now():
        log.info("Ring %s: in use until %s UTC before the next ring begins", ring.name, f"{until:%Y-%m-%d %H:%M}")
    await sleep_until(azure.clock, until)
    for pool in ring.pools:
        place = await place_of(azure, image_set, pool, target_of(azure, image_set, refresh.id, refresh.version, pool))
        snapshot = await snapshot_of(place)
        now = azure.clock.now()
        silent = [
            h.name for h in snapshot.hosts if h.registered and not is_asleep(h) and not is_serving(h, place.policy, now)
        ]
        if not snapshot.complete or silent:
            raise RingError(
                f"After its bake time, {pool.name} is not as it should be ({snapshot.problem or ', '.join(silent) + ' do not serve'}). "
                "The next ring was not begun. What to do: look at these hosts; start this run again, and it looks again."
            )
        await _refuse_worse_sign_in(azure, image_set, pool, snapshot, refresh)
        log.info("Ring %s: all %d hosts of %s serve", ring.name, sum(h.registered for h in snapshot.hosts), pool.name)


async def _refuse_worse_sign_in(
    azure: Azure, image_set: ImageSet, pool: Pool, snapshot: Snapshot, refresh: Refresh
) -> None:
    """Raises RingError where sign-in fails more often on the new hosts than it did on the old ones, or nobody can see."""
    new = [h.name for h in snapshot.hosts if (h.image_version_id or "").rpartition("/")[2] == refresh.version]
    look = Look(SIGN_IN, lambda: check_sign_in(azure, image_set, pool, new))
    (found,) = await look_at_all(azure.clock, [look], image_set.checks.timeout_minutes)
    log.info("%s: sign-in: %s: %s", pool.name, found.verdict, found.measured)
    if found.verdict in ("fail", "unknown"):
        raise RingError(
            f"After its bake time, sign-in to {pool.name} is {found.verdict}: {found.measured} The next ring was not begun. What to do: "
            f"{found.remedy} When the cause is gone, start this run again: it looks again at the last 24 hours. Where those failures are "
            "not the image's, raise checks.sign_in_margin_percent in the image set for this once."
        )


async def _ended(azure: Azure, image_set: ImageSet, refresh: Refresh, ring: Ring) -> datetime:
    """When the last host of the ring was retired: noted in Azure, so that a run started again does not bake anew."""
    moments = []
    for pool in ring.pools:
        snapshot = await snapshot_of(
            await place_of(azure, image_set, pool, target_of(azure, image_set, refresh.id, refresh.version, pool))
        )
        moments += _retirements(snapshot, refresh)
    return max(moments, default=azure.clock.now())


def _retirements(snapshot: Snapshot, refresh: Refresh) -> list[datetime]:
    ours = [host for host in snapshot.hosts if host.tags.get(tags.REPLACE, "").startswith(f"{refresh.id}/")]
    found = [tags.parse_time(host.tags.get(tags.RETIRED_AT)) for host in ours]
    return [moment for moment in found if moment is not None]
