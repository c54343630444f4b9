"""Between two waves of a pool: sign-in on the new hosts held against the old ones, before more people meet them.

Nothing of it is noted in Azure: the sign-ins themselves stand in Log Analytics, and a run that is started again looks anew.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from evergold.rollout.act import Place
from evergold.rollout.model import Target
from evergold.validation.looking import Look, look_at_all
from evergold.validation.sign_in import SIGN_IN, check_sign_in

log = logging.getLogger("evergold.rollout")

# Beyond the bake time. Whoever mends the cause and starts the rollout again is not held up for a day by what went wrong before.
LOOK_BACK = timedelta(hours=2)
# A tick waits no longer for the answer; the next one asks again.
PATIENCE_MINUTES = 1


async def judge_wave(place: Place, new_hosts: Iterable[str]) -> Target:
    """The target with what sign-in on these hosts says of it: the next wave may open, the rollout halts, or nobody can say."""
    names = frozenset(new_hosts)
    within = LOOK_BACK + timedelta(minutes=place.policy.wave_bake_minutes)
    look = Look(SIGN_IN, lambda: check_sign_in(place.azure, place.image_set, place.pool, names, within=within))
    (found,) = await look_at_all(place.azure.clock, [look], PATIENCE_MINUTES, repeat_unknown=False)
    log.info("%s: sign-in on %d new hosts: %s: %s", place.pool.name, len(names), found.verdict, found.measured)
    if found.verdict == "unknown":
        return replace(place.target, sign_in_unseen=found.measured)
    if found.verdict == "fail":
        return replace(place.target, sign_in_worse=found.measured)
    return replace(place.target, sign_in_seen=names, sign_in_unseen="")
