"""The one place where a Cloud PC's fate is decided: `plan(desks, campaign, rules, now)`, a pure function.

A reprovision wipes the disk. So a Cloud PC is reprovisioned only when all of this holds, and each point that does not is said in words:

1. the campaign was approved, its users were told `notice_days` before, and again within the last day;
2. it is inside a maintenance window, and the Cloud PC's ring and wave have their turn;
3. nobody has signed in since the restore point was asked for; nobody is signed in, or they were warned since (where the release method says
   so), `warn_minutes` are over, and their known folders are in OneDrive;
4. a restore point is *seen* that was made after it was asked for and is young enough, or the user is named in a waiver;
5. known folders are in OneDrive, where that is required; the user was here lately; both can be waived;
6. this campaign has not sent it before, and nobody else has begun a reprovision of it since the campaign began.

What a read did not tell counts against it. Whatever speaks against a Cloud PC, the others go on without it; it is left, and reported, when
`give_up_days` are over. Failed ones are counted: above the failure budget everything stops but what is under way.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from evergold.cloudpc.model import SETTLED, Campaign, Desk, Fate, Plan, Rules, Verdict
from evergold.rollout.windows import next_opening, open_until

CAN_BE_REPROVISIONED = ("provisioned", "provisionedWithWarnings", "failed")
RUNS = ("provisioned", "provisionedWithWarnings")
# How long the status may lag behind an accepted reprovision.
STATUS_LAGS = timedelta(minutes=20)
TOLD_TODAY = timedelta(days=1)


def plan(desks: Sequence[Desk], campaign: Campaign, rules: Rules, now: datetime) -> Plan:
    """What is to be done now, and what becomes of each Cloud PC."""
    verdicts = [_first_look(desk, campaign, rules, now) for desk in desks]
    failed = [verdict for verdict in verdicts if verdict.fate == "failed"]
    if len(failed) > rules.failure_budget:
        return Plan(tuple(verdicts), halted=_halted(failed, rules))
    open_ones = [verdict for verdict in verdicts if verdict.fate not in SETTLED]
    if not open_ones:
        return Plan(tuple(verdicts), done=True)
    if not campaign.approved_by:
        return Plan(tuple(_later(verdict, "nobody has approved it yet") for verdict in verdicts))
    if campaign.told_at is None:
        return Plan(tuple(_later(verdict, "its user is told first") for verdict in verdicts), tell="ahead")
    earliest = campaign.told_at + timedelta(days=rules.notice_days)
    if now < earliest:
        why = f"its user was told, and has until {earliest:%Y-%m-%d %H:%M} UTC"
        return Plan(tuple(_later(verdict, why) for verdict in verdicts), nothing_before=earliest)
    return _in_turn(verdicts, campaign, rules, now)


def _first_look(desk: Desk, campaign: Campaign, rules: Rules, now: datetime) -> Verdict:
    """What is so whatever the others do; what is to be decided in turn is "waiting"."""
    if desk.image == desk.target and desk.status in RUNS:
        return Verdict(desk, "done", f"it runs {desk.target}")
    if desk.sent_at is not None:
        return _sent(desk, rules, now)
    if desk.status == "inGracePeriod":
        until = f" until {desk.grace_until:%Y-%m-%d %H:%M} UTC" if desk.grace_until else ""
        return Verdict(desk, "left", f"it is in its grace period{until}: its licence or assignment is gone")
    if not desk.ring:
        return Verdict(desk, "left", "its user is in no ring")
    begun = desk.reprovision_begun
    if begun is not None and begun >= campaign.started_at:
        return _begun_by_somebody(desk, begun, rules, now)
    if campaign.told_at is not None and now > campaign.told_at + timedelta(days=rules.notice_days + rules.give_up_days):
        why = _objection(desk, campaign, rules, now) or "its turn did not come"
        return Verdict(desk, "left", f"{why}; {rules.give_up_days} days are over")
    return Verdict(desk, "waiting", "")


def _sent(desk: Desk, rules: Rules, now: datetime) -> Verdict:
    assert desk.sent_at is not None
    took = now - desk.sent_at
    since = f"since {desk.sent_at:%H:%M} UTC"
    if desk.status == "failed" and took > STATUS_LAGS:
        return Verdict(desk, "failed", "Windows 365 says that its provisioning failed")
    if took > timedelta(minutes=rules.reprovision_timeout_minutes):
        what = f"it is {desk.status} with {desk.image}" if desk.status in RUNS else f"it is {desk.status}"
        return Verdict(
            desk,
            "failed",
            f"{what}, {rules.reprovision_timeout_minutes} minutes after it was told to become {desk.target}",
        )
    return Verdict(desk, "under way", f"it is being reprovisioned {since}")


def _begun_by_somebody(desk: Desk, begun: datetime, rules: Rules, now: datetime) -> Verdict:
    """A reprovision that no note of ours speaks of: one of ours whose note was lost, or a person's. Never sent again."""
    if now - begun <= timedelta(minutes=rules.reprovision_timeout_minutes) and desk.status not in RUNS:
        return Verdict(desk, "under way", f"a reprovision of it was begun at {begun:%H:%M} UTC")
    if now - begun <= STATUS_LAGS:
        return Verdict(desk, "under way", f"a reprovision of it was begun at {begun:%H:%M} UTC")
    return Verdict(
        desk,
        "failed",
        f"a reprovision was begun at {begun:%Y-%m-%d %H:%M} UTC, and it is {desk.status} with {desk.image}",
    )


def _objection(desk: Desk, campaign: Campaign, rules: Rules, now: datetime) -> str | None:
    """What speaks against reprovisioning it now, apart from its turn; None for nothing."""
    if desk.status not in CAN_BE_REPROVISIONED:
        return f"it is {desk.status or 'of an unknown status'}"
    if desk.signed_in is None and desk.status != "failed":
        return "nobody can say whether its user is signed in"
    if desk.signed_in:
        working = _still_at_work(desk, rules, now)
        if working is not None:
            return working
    if desk.user in campaign.waivers:
        return None
    return _unsafe(desk, rules) or _without_restore_point(desk, rules, now)


def _still_at_work(desk: Desk, rules: Rules, now: datetime) -> str | None:
    """Why somebody who is signed in keeps the Cloud PC; None where they were warned, had their time, and their files are in OneDrive."""
    if rules.warn_minutes is None:
        return "its user is signed in"
    if not desk.known_folders:
        return "its user is signed in, and nothing reports that the known folders are in OneDrive"
    if not _is_warned(desk, rules, now):
        return "its user is signed in, and was not warned since"
    assert desk.warned_at is not None
    until = desk.warned_at + timedelta(minutes=rules.warn_minutes)
    return f"its user is signed in, was warned, and has until {until:%H:%M} UTC" if now < until else None


def _is_warned(desk: Desk, rules: Rules, now: datetime) -> bool:
    """Whether its user was warned since they signed in, and not too long ago."""
    if desk.warned_at is None or (desk.last_login is not None and desk.last_login >= desk.warned_at):
        return False
    return now - desk.warned_at <= timedelta(hours=rules.restore_point_max_age_hours)


def _wants_warning(desk: Desk, campaign: Campaign, rules: Rules, now: datetime) -> bool:
    """Whether its user is at work, and a warning is the next step."""
    if rules.warn_minutes is None or not desk.signed_in or not desk.known_folders or desk.status not in RUNS:
        return False
    waived = desk.user in campaign.waivers
    if not waived and _unsafe(desk, rules) is not None:
        return False
    return not _is_warned(desk, rules, now) or not (waived or _still_counts(desk, rules, now))


def _unsafe(desk: Desk, rules: Rules) -> str | None:
    if desk.days_since_sign_in is None:
        return "nobody can say when its user last signed in"
    if desk.days_since_sign_in > rules.max_days_since_sign_in:
        return f"its user was last here {desk.days_since_sign_in} days ago: a person decides (a waiver), or its licence is given back"
    if rules.known_folders_required and not desk.known_folders:
        how = "are not in OneDrive" if desk.known_folders is False else "are reported by nobody"
        return f"its user's known folders {how}"
    return None


def _without_restore_point(desk: Desk, rules: Rules, now: datetime) -> str | None:
    if desk.status == "failed":
        return "it has failed before, so no restore point can be made of it: a person decides (a waiver)"
    if desk.asked_at is None or not _still_counts(desk, rules, now):
        return "no restore point was asked for since its user was last here"
    if not any(made >= desk.asked_at for made in desk.restore_points):
        return f"the restore point that was asked for at {desk.asked_at:%H:%M} UTC is not seen yet"
    return None


def _still_counts(desk: Desk, rules: Rules, now: datetime) -> bool:
    """Whether what was asked for would hold all that its user has done, and is young enough to be used now."""
    assert desk.asked_at is not None
    if desk.last_login is not None and desk.last_login >= desk.asked_at:
        return False
    seen = any(made >= desk.asked_at for made in desk.restore_points)
    hours = timedelta(hours=rules.restore_point_max_age_hours)
    minutes = timedelta(minutes=rules.restore_point_timeout_minutes)
    return now - desk.asked_at <= (hours if seen else minutes)


def _wants_restore_point(desk: Desk, campaign: Campaign, rules: Rules, now: datetime) -> bool:
    """Whether a new restore point is all that it waits for."""
    if desk.user in campaign.waivers or desk.signed_in is not False or desk.status not in RUNS:
        return False
    return _unsafe(desk, rules) is None and (desk.asked_at is None or not _still_counts(desk, rules, now))


def in_turn(seen: Plan, rules: Rules) -> set[str]:
    """Ids of the Cloud PCs that a closer look may change something for: those of the ring whose turn it is, and those that were left."""
    current = _current_ring(seen.verdicts, rules)
    return {v.desk.id for v in seen.verdicts if v.desk.ring == current or v.fate == "left"}


def _current_ring(verdicts: Sequence[Verdict], rules: Rules) -> str | None:
    unsettled = {verdict.desk.ring for verdict in verdicts if verdict.fate not in SETTLED}
    return next((name for name, _ in rules.rings if name in unsettled), None)


def _in_turn(verdicts: Sequence[Verdict], campaign: Campaign, rules: Rules, now: datetime) -> Plan:
    """Rings in order, waves in each, and in them whoever can be sent."""
    named = [name for name, _ in rules.rings]
    current = _current_ring(verdicts, rules)
    assert current is not None, "somebody is not settled, and everybody who is not has a ring"
    before = named[: named.index(current)]
    rests_until = _bakes_until(verdicts, rules, before)
    if rests_until is not None and now < rests_until:
        why = f"the ring before it is in use until {rests_until:%Y-%m-%d %H:%M} UTC, to notice trouble"
        return Plan(tuple(_later(verdict, why) for verdict in verdicts), nothing_before=rests_until)
    if rules.windows and open_until(rules.windows, now) is None:
        coming = next_opening(rules.windows, now)
        why = (
            f"the next maintenance window begins at {coming:%Y-%m-%d %H:%M} UTC"
            if coming
            else "no maintenance window is near"
        )
        flying = any(verdict.fate == "under way" for verdict in verdicts)
        return Plan(tuple(_later(verdict, why) for verdict in verdicts), nothing_before=None if flying else coming)
    if campaign.told_again_at is None or (now - campaign.told_again_at > TOLD_TODAY):
        return Plan(tuple(_later(verdict, "its user is told again, on the day") for verdict in verdicts), tell="today")
    ring = [verdict for verdict in verdicts if verdict.desk.ring == current]
    chosen = _wave(ring, campaign, rules, now)
    after = "its ring's turn comes later"
    decided = tuple(chosen.get(v.desk.id, v) if v.desk.ring == current else _later(v, after) for v in verdicts)
    return Plan(
        decided,
        snapshot=tuple(v.desk.id for v in decided if v.fate == "snapshot" and not v.desk.signed_in),
        warn=tuple(v.desk.id for v in decided if v.fate == "snapshot" and v.desk.signed_in),
        reprovision=tuple(v.desk.id for v in decided if v.fate == "next"),
    )


def _wave(ring: Sequence[Verdict], campaign: Campaign, rules: Rules, now: datetime) -> dict[str, Verdict]:
    """What becomes of those of a ring that wait: sent, asked for a restore point, or waiting still, and for what."""
    spent = [v for v in ring if v.fate in ("done", "failed", "under way")]
    flying = sum(v.fate == "under way" for v in ring)
    room = min(_share(ring, spent, flying, rules), rules.max_at_once - flying)
    chosen: dict[str, Verdict] = {}
    for verdict in sorted((v for v in ring if v.fate == "waiting"), key=lambda v: _order(v.desk, rules, now)):
        desk = verdict.desk
        objection = _objection(desk, campaign, rules, now)
        warns = _wants_warning(desk, campaign, rules, now)
        wants = warns or _wants_restore_point(desk, campaign, rules, now)
        waits = desk.signed_in is False or _is_warned(desk, rules, now)
        fate: Fate
        if objection is not None and not wants:
            fate, why = "waiting", objection
            # A restore point on its way keeps its place in the wave, or more would be asked for than the wave can use.
            room -= desk.asked_at is not None and waits and _still_counts(desk, rules, now)
        elif room <= 0:
            fate, why = "later", "its wave's turn comes later"
        elif wants:
            why = (
                "its user is warned, and a restore point of it is asked for"
                if warns
                else "a restore point of it is asked for"
            )
            fate, room = "snapshot", room - 1
        else:
            fate, why, room = "next", _because(desk, campaign), room - 1
        chosen[desk.id] = Verdict(desk, fate, why)
    return chosen


def _order(desk: Desk, rules: Rules, now: datetime) -> tuple[int, str]:
    """Who comes first: whose restore point is on its way or there, then who has none; whose never came must not hold up the others."""
    if desk.asked_at is None or (desk.last_login is not None and desk.last_login >= desk.asked_at):
        return 1, desk.user
    return (0 if _still_counts(desk, rules, now) else 2), desk.user


def _share(ring: Sequence[Verdict], spent: Sequence[Verdict], flying: int, rules: Rules) -> int:
    """How many more of the ring may be sent: the next share once all of the last one have ended."""
    for percent in rules.waves:
        whole = -(-len(ring) * percent // 100)
        if len(spent) < whole or (len(spent) == whole and flying):
            return whole - len(spent)
    return 0


def _because(desk: Desk, campaign: Campaign) -> str:
    if desk.user in campaign.waivers:
        return f"waived: {campaign.waivers[desk.user]}"
    made = max(made for made in desk.restore_points)
    who = "its user was warned and had their time" if desk.signed_in else "nobody is signed in"
    return f"{who}, and its restore point of {made:%Y-%m-%d %H:%M} UTC is seen"


def _bakes_until(verdicts: Sequence[Verdict], rules: Rules, before: Sequence[str]) -> datetime | None:
    """Until when the rings before this one are in use before the next begins; None where nothing was done in them."""
    minutes = dict(rules.rings)
    ends = [
        v.desk.changed + timedelta(minutes=minutes[v.desk.ring])
        for v in verdicts
        if v.desk.ring in before and v.fate == "done" and v.desk.sent_at is not None and v.desk.changed is not None
    ]
    return max(ends, default=None)


def _later(verdict: Verdict, why: str) -> Verdict:
    return Verdict(verdict.desk, "later", why) if verdict.fate == "waiting" else verdict


def _halted(failed: Sequence[Verdict], rules: Rules) -> str:
    listed = "; ".join(f"{v.desk.user} ({v.desk.name}): {v.why}" for v in failed)
    return (
        f"{len(failed)} Cloud PCs have failed and the failure budget is {rules.failure_budget}, so no other one is reprovisioned. "
        f"{listed}. "
        "What to do: open the Cloud PCs in Intune and read their provisioning status. Where the image is to blame, "
        "start roll-back-cloud-pcs. Where it is not, reprovision the failed ones by hand, raise cloud_pcs.failure_budget, and start this "
        "run again."
    )
