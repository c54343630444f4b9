"""The checks of a session host: what it must show, and when.

Before a person is asked about an image, its canary goes through everything (`check_canary`). Each host that a rollout makes goes through
what can differ from one host to the next (`check_new_host`); whether the image lacks updates is asked of the first one in each pool. A host
that serves is looked at without running anything in it (`check_serving_host`), at any time.
"""

from __future__ import annotations

from functools import partial

from evergold.azure import Azure
from evergold.config.models import ImageSet
from evergold.validation.agent import AGENT, PLACE, check_agent, check_place
from evergold.validation.applications import (
    FSLOGIX,
    SMOKE,
    SOFTWARE,
    check_fslogix,
    check_smoke,
    check_software,
)
from evergold.validation.arriving import (
    AGENT_LOG,
    COLLECTION,
    DELAY,
    EVENT_TABLE,
    EVENTS,
    HEARTBEAT,
    PERF,
    PERF_TABLE,
    check_agent_log,
    check_collection,
    check_delay,
    check_heartbeat,
    check_table,
)
from evergold.validation.looking import Look, look_at_all
from evergold.validation.own import check_own
from evergold.validation.patched import BUILD, PATCHES, check_build, check_patches
from evergold.validation.sign_in import SIGN_IN, check_sign_in
from evergold.validation.subject import Subject
from evergold.validation.verdicts import Check


async def check_canary(azure: Azure, image_set: ImageSet, subject: Subject) -> tuple[Check, ...]:
    """Everything, inside the host too. Takes as long as the slowest of it, some minutes at most."""
    inside = [
        *_first_of_its_image(azure, image_set, subject),
        *_seen_from_outside(azure, image_set, subject),
        *_inside(azure, image_set, subject),
        Look(SIGN_IN, partial(check_sign_in, azure, image_set, subject.pool, (subject.host,), whole_pool=False)),
    ]
    return await look_at_all(azure.clock, inside, image_set.checks.timeout_minutes)


async def check_new_host(
    azure: Azure, image_set: ImageSet, subject: Subject, *, updates_too: bool
) -> tuple[Check, ...]:
    """What a host that a rollout has made must show before it serves.

    `updates_too`: also that it lacks no update. That takes minutes to say, and is the same on every host of an image.
    """
    looks = _first_of_its_image(azure, image_set, subject) if updates_too else _any_host(azure, image_set, subject)
    return await look_at_all(azure.clock, looks, image_set.checks.timeout_minutes)


async def check_serving_host(azure: Azure, image_set: ImageSet, subject: Subject) -> tuple[Check, ...]:
    """What can be seen of a host while people work on it; nothing is run in it but an assessment of updates."""
    looks = [*_first_of_its_image(azure, image_set, subject), *_seen_from_outside(azure, image_set, subject)]
    return await look_at_all(azure.clock, looks, image_set.checks.timeout_minutes)


def _any_host(azure: Azure, image_set: ImageSet, subject: Subject) -> list[Look]:
    return [
        Look(AGENT, partial(check_agent, azure, image_set, subject)),
        Look(HEARTBEAT, partial(check_heartbeat, azure, image_set, subject)),
        Look(AGENT_LOG, partial(check_agent_log, azure, image_set, subject)),
    ]


def _first_of_its_image(azure: Azure, image_set: ImageSet, subject: Subject) -> list[Look]:
    return [*_any_host(azure, image_set, subject), Look(PATCHES, partial(check_patches, azure, image_set, subject))]


def _seen_from_outside(azure: Azure, image_set: ImageSet, subject: Subject) -> list[Look]:
    return [
        Look(PLACE, partial(check_place, azure, subject)),
        Look(BUILD, partial(check_build, azure, image_set, subject)),
        Look(COLLECTION, partial(check_collection, azure, subject)),
        Look(DELAY, partial(check_delay, azure, image_set, subject)),
        Look(PERF, partial(check_table, azure, subject, PERF_TABLE)),
        Look(EVENTS, partial(check_table, azure, subject, EVENT_TABLE)),
    ]


def _inside(azure: Azure, image_set: ImageSet, subject: Subject) -> list[Look]:
    checks = image_set.checks
    looks = [Look(SOFTWARE, partial(check_software, azure, image_set, subject))]
    if checks.programs:
        looks.append(Look(SMOKE, partial(check_smoke, azure, image_set, subject)))
    if checks.fslogix:
        looks.append(Look(FSLOGIX, partial(check_fslogix, azure, image_set, subject)))
    return [*looks, *(Look(own.name, partial(check_own, azure, image_set, subject, own)) for own in checks.own)]
