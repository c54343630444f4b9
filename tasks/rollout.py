"""Rolling a version out, as the Prefect UI shows it: a task run for each host, a live table, and the progress of the pool.

What happens to a host is decided by the planner and done by the engine; the tasks here only follow it. A host's task run begins when the
rollout first has to do with the host, logs every step with its reason, and ends when the host is where it should be.
"""

import asyncio
import logging
import re
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import UUID

from prefect import task
from prefect.artifacts import acreate_progress_artifact, acreate_table_artifact, aupdate_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.deployments import arun_deployment
from pydantic import TypeAdapter

from evergold import holds
from evergold.azure import Azure
from evergold.config.models import ImageSet, Pool, ReleaseMethod
from evergold.images.customise import by_hand
from evergold.images.manifest import difference
from evergold.images.publish import Candidate, find_previous
from evergold.images.refresh import Refresh
from evergold.rollout.act import Place, take_back
from evergold.rollout.deferred import Deferred
from evergold.rollout.engine import Tick, ring_of, roll_out, watch_of
from evergold.rollout.hosts import is_checked, is_new
from evergold.rollout.model import Note, Snapshot
from evergold.rollout.preview import describe_plan, place_of, target_of
from evergold.validation.checks import check_canary
from evergold.validation.image_checks import check_source
from evergold.validation.subject import Subject
from evergold.validation.verdicts import Evidence, judge_difference, judge_steps_by_hand
from tasks.approval import AS_PLANNED
from tasks.record import keep_evidence

log = logging.getLogger("evergold.rollout")
host_log = logging.getLogger("evergold.host")

DEPLOYMENT = "roll-out-image/roll-out-image"
AT_REST = ("retired", "serving")
# A rollout whose process died is started again, this many times in all, before a person is asked to look.
TRIES = 3
LOOK_EVERY_S = 2.0


async def snapshot_of(place: Place) -> Snapshot:
    """One look at a pool."""
    return await watch_of(place).look()


@task(name="boot canary", cache_policy=NO_CACHE)
async def boot_canary(azure: Azure, image_set: ImageSet, refresh: Refresh, holder: str) -> str:
    """One new host on the candidate is in the first ring's first pool, in drain mode, and healthy. Returns its name."""
    pool = image_set.rings[0].pools[0]
    target = replace(target_of(azure, image_set, refresh.id, refresh.version, pool), canary_only=True)
    place = await place_of(azure, image_set, pool, target)
    last = await roll_out(place, holder, _log_waits(), partial(holds.standing, pool.name))
    canary = next(host for host in last.snapshot.hosts if is_new(host, target) and is_checked(host))
    log.info("Canary %s in %s is healthy, in drain mode", canary.name, pool.name)
    return canary.name


@task(name="gather evidence", cache_policy=NO_CACHE)
async def gather_evidence(
    azure: Azure, image_set: ImageSet, refresh: Refresh, candidate: Candidate, canary: str
) -> Evidence:
    """What the checks found on the canary, and what has changed in the image: everything a person is to decide on."""
    pool = image_set.rings[0].pools[0]
    subject = Subject(pool, canary, candidate.version_id, closed=True, manifest=candidate.manifest)
    checks = await check_canary(azure, image_set, subject)
    before = await find_previous(azure, image_set, refresh)
    known = before is not None and before.manifest is not None and candidate.manifest is not None
    change = difference(before.manifest, candidate.manifest) if known else None  # type: ignore[union-attr,arg-type]  # known
    evidence = Evidence(
        refresh=refresh.id,
        image_set=image_set.name,
        version=candidate.version,
        image_version_id=candidate.version_id,
        source=refresh.source,
        checks=(
            *checks,
            await check_source(azure, refresh.source),
            *judge_steps_by_hand(by_hand(candidate.tags)),
            judge_difference(change),
        ),
        canary=canary,
        manifest=candidate.manifest,
        difference=change,
        compared_with=before.version if before else "",
        plan=await describe_plan(azure, image_set, refresh.id, refresh.version),
    )
    await keep_evidence(evidence)
    log.info("Evidence %s: %s", evidence.digest[:12], evidence.verdict)
    return evidence


@task(name="remove canary", cache_policy=NO_CACHE)
async def remove_canary(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """No host on a rejected candidate is left, but one that somebody may be on, or keeps. Raises CanaryLeftError."""
    if not image_set.rings:
        return
    pool = image_set.rings[0].pools[0]
    place = await place_of(azure, image_set, pool, target_of(azure, image_set, refresh.id, refresh.version, pool))
    snapshot = await snapshot_of(place)
    if not snapshot.complete:
        raise CanaryLeftError(
            f"{image_set.name} {refresh.version} was rejected, and Azure did not list every host of {pool.name}: its canary may be left. "
            "Nothing was deleted. What to do: start this run again; the decision stands, and it goes on from here."
        )
    for host in snapshot.hosts:
        if not is_new(host, place.target):
            continue
        try:
            await take_back(place, host)
        except Deferred as reason:
            log.warning("The canary is left: %s. What to do: delete it by hand once nobody needs it.", reason)


class CanaryLeftError(Exception):
    """Nobody can say whether a rejected candidate's canary is gone; says what to do."""


@dataclass
class Board:
    """What the UI is shown of one rollout: a task run a host, the table, the progress."""

    pool: str
    progress: UUID | None = None
    shown: dict[str, Note] = field(default_factory=dict)
    steps: dict[str, asyncio.Queue[Note | None]] = field(default_factory=dict)
    followers: list[asyncio.Task[str]] = field(default_factory=list)
    waiting: str = ""
    by_others: tuple[str, ...] = ()

    async def show(self, tick: Tick) -> None:
        """Brings everything up to date with a tick."""
        notes = dict(tick.plan.notes)
        if self.progress is None:
            self.progress = await acreate_progress_artifact(
                progress=0, key=f"progress-{self.pool}", description=f"Hosts of {self.pool} replaced"
            )
        # By state alone: a reason may count minutes, and is no news.
        changed = {
            name: note for name, note in notes.items() if name not in self.shown or self.shown[name].state != note.state
        }
        for name, note in changed.items():
            self._follow(name, note)
        waits_anew = is_news(tick.plan.waiting_for, self.waiting)
        others_anew, self.by_others = tick.by_others != self.by_others, tick.by_others
        if waits_anew:
            log.info("%s: waiting for %s", self.pool, tick.plan.waiting_for)
            self.waiting = tick.plan.waiting_for
        if changed or waits_anew or others_anew:
            self.shown = notes
            await aupdate_progress_artifact(self.progress, 100 * tick.plan.replaced / max(tick.plan.total, 1))
            await acreate_table_artifact(key=f"hosts-{self.pool}", table=_rows(tick), description=_description(tick))

    async def close(self) -> None:
        """Ends the task runs of hosts that are still followed."""
        for queue in self.steps.values():
            queue.put_nowait(None)
        await asyncio.gather(*self.followers)

    def _follow(self, name: str, note: Note) -> None:
        if name not in self.steps:
            if note.state in (
                *AT_REST,
                "kept",
                "up to date",
                "not part of this",
                "not in the pool",
            ) and not self._is_outdated(note):
                return
            self.steps[name] = asyncio.Queue()
            self.followers.append(asyncio.create_task(replace_host(name, self.steps[name])))
        self.steps[name].put_nowait(note)

    def _is_outdated(self, note: Note) -> bool:
        return note.state == "serving" and note.reason.startswith("outdated")


@task(name="host", task_run_name="{name}", cache_policy=NO_CACHE)
async def replace_host(name: str, steps: "asyncio.Queue[Note | None]") -> str:
    """Follows one host through the rollout. Returns the state in which it was last seen."""
    state = "unseen"
    while (note := await steps.get()) is not None:
        if note.state != state:
            host_log.info("%s: %s: %s", name, note.state, note.reason)
        state = note.state
        if state == "retired":
            break
    return state


def _rows(tick: Tick) -> list[dict[str, Any]]:
    return [
        {
            "host": host.name,
            "state": tick.plan.notes[host.name].state,
            "why": tick.plan.notes[host.name].reason,
            "version": (host.image_version_id or "").rpartition("/")[2],
            "sessions": host.session_count,
            "drain mode": "on" if host.registered and not host.allow_new_session else "",
            "broker": host.status or "",
            "power": host.power,
        }
        for host in tick.snapshot.hosts
        if host.name in tick.plan.notes
    ]


def _description(tick: Tick) -> str:
    plan = tick.plan
    waiting = f" Waiting for {plan.waiting_for}." if plan.waiting_for else ""
    others = f" By other hands: {'; '.join(tick.by_others)}." if tick.by_others else ""
    return (
        f"{tick.at:%Y-%m-%d %H:%M} UTC: {plan.replaced} of {plan.total} hosts replaced, capacity {plan.capacity_percent} %, "
        f"{plan.users_to_move} users on outdated hosts.{waiting}{others}"
    )


def is_news(waiting: str, before: str) -> bool:
    """Whether what a rollout waits for is worth another line in the log: not where only the numbers or the hosts in it changed."""
    return bool(waiting) and _kind_of_wait(waiting) != _kind_of_wait(before)


def _kind_of_wait(waiting: str) -> str:
    return re.sub(r"\S*\d\S*( and)?|,| more", "", waiting).replace("  ", " ")


def _log_waits() -> Any:
    last = ""

    async def report(tick: Tick) -> None:
        nonlocal last
        if is_news(tick.plan.waiting_for, last):
            log.info("Canary: waiting for %s", tick.plan.waiting_for)
            last = tick.plan.waiting_for

    return report


async def roll_out_pool(
    image_set: ImageSet, pool: Pool, refresh: Refresh, release_method: ReleaseMethod | None = None
) -> None:
    """One pool is on the version: its own flow run, found again by its key, and started anew where its process died.

    Raises RingError where the rollout ended otherwise.
    """
    parameters = {"image_set": image_set.name, "pool": pool.name, "image_version": refresh.version}
    if release_method is not None:
        parameters["release_method"] = release_method
    for attempt in range(1, TRIES + 1):
        run = await arun_deployment(
            DEPLOYMENT,
            parameters=parameters,
            flow_run_name=f"roll out {image_set.name} {refresh.version} to {pool.name}",
            idempotency_key=f"{refresh.id}:{pool.name}:{attempt}",
            poll_interval=LOOK_EVERY_S,
        )
        state = run.state
        if state is None or state.is_completed():
            return
        if not state.is_crashed():
            raise RingError(
                f"The rollout to {pool.name} ended as {state.name}: {state.message} Nothing is undone. When the cause is "
                "removed, start that run again, then this one."
            )
        log.warning(
            "The rollout to %s crashed (try %d of %d); it is started again where it was", pool.name, attempt, TRIES
        )
    raise RingError(f"The rollout to {pool.name} crashed {TRIES} times. Look at the worker; then start this run again.")


class RingError(Exception):
    """A ring did not get through; the refresh stops before the next one."""


def pool_of(image_set: ImageSet, name: str) -> tuple[Any, Pool]:
    """The pool with its ring's release method. Raises a ValueError that names the pools there are."""
    try:
        return ring_of(image_set, name)
    except KeyError:
        known = ", ".join(pool.name for ring in image_set.rings for pool in ring.pools)
        raise ValueError(
            f"{image_set.name} has no host pool {name}: deployments/image_sets/{image_set.name}.yaml names {known}. Nothing was changed."
        ) from None


def chosen_method(image_set: ImageSet, chosen: str) -> ReleaseMethod | None:
    """What a person chose in a form; None for "as planned". Raises ValueError where no time keeps it from going now."""
    if chosen == AS_PLANNED:
        return None
    rollout = image_set.rollout
    if chosen == "scheduled" and rollout.scheduled_start is None and not rollout.windows:
        raise ValueError(
            f"release_method is scheduled, and deployments/image_sets/{image_set.name}.yaml says no time for it. Nothing was changed. "
            "What to do: add windows or scheduled_start to rollout there, or choose another release_method."
        )
    return TypeAdapter(ReleaseMethod).validate_python(chosen)
