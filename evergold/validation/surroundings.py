"""Preflight: what is around a rollout and could disturb it: this machine's clock, resource providers, scaling plans, other tools."""

from __future__ import annotations

import asyncio

from evergold.azure import Azure
from evergold.azure.ids import key
from evergold.config.models import Pool
from evergold.rollout.other_tools import WHAT_TO_DO, told_of
from evergold.validation.looking import failed, passed, unknown, warned
from evergold.validation.verdicts import Check

CLOCK = "clock"
# Entra refuses tokens of clients whose clocks are more than five minutes off (learn.microsoft.com, "Access tokens").
MOST_SKEW_S = 300
SKEW_TO_SEE_S = 60
PROVIDERS = "resource providers"
# All that Evergold makes or reads belongs to these. Azure refuses every call to one that the subscription has not registered:
# learn.microsoft.com, "Azure resource providers and types".
NEEDED_PROVIDERS = (
    "Microsoft.Compute",
    "Microsoft.DesktopVirtualization",
    "Microsoft.Insights",
    "Microsoft.Network",
    "Microsoft.OperationalInsights",
)
_REMEDY = "Set this machine's clock by a time server (w32tm, chrony): tokens, warnings and heartbeats go by it."


async def check_clock(azure: Azure) -> Check:
    """The time of this machine is Azure's, as an answer's Date header tells it."""
    threshold = f"within {SKEW_TO_SEE_S} s of Azure's time"
    before = azure.clock.now()
    theirs = await azure.arm.server_time()
    after = azure.clock.now()
    if theirs is None:
        return unknown(CLOCK, "Azure's answer says no time.", threshold, "Look at the proxy between here and Azure.")
    # Azure's time was taken somewhere between the two, and is told in whole seconds.
    skew = max((before - theirs).total_seconds() - 1, (theirs - after).total_seconds(), 0.0)
    measured = f"{skew:.0f} s off." if skew else "As Azure's."
    if skew > MOST_SKEW_S:
        return failed(CLOCK, measured, threshold, _REMEDY)
    return warned(CLOCK, measured, threshold, _REMEDY) if skew > SKEW_TO_SEE_S else passed(CLOCK, measured, threshold)


async def check_providers(azure: Azure) -> Check:
    """The subscription has registered every resource provider that Evergold uses."""
    threshold = f"{', '.join(NEEDED_PROVIDERS)} registered"
    states = await asyncio.gather(*(azure.arm.registration_of(provider) for provider in NEEDED_PROVIDERS))
    others = {name: state for name, state in zip(NEEDED_PROVIDERS, states, strict=True) if state != "Registered"}
    if not others:
        return passed(PROVIDERS, f"All {len(NEEDED_PROVIDERS)} are registered.", threshold)
    measured = f"{', '.join(f'{name} is {state}' for name, state in others.items())}."
    if set(others.values()) == {"Registering"}:
        return warned(
            PROVIDERS, measured, threshold, "Wait some minutes: a call to a region may be refused until then."
        )
    commands = " && ".join(f"az provider register --namespace {name}" for name in others)
    return failed(
        PROVIDERS, measured, threshold, f"An owner or contributor of the subscription registers them: {commands}"
    )


async def check_scaling_plan(azure: Azure, pool: Pool) -> Check:
    """Which scaling plan looks after the pool. A rollout suspends it; before that, it may open hosts that are to stay closed."""
    name, threshold = f"scaling plan of {pool.name}", "none, or one with an exclusion tag"
    plans = await azure.desktops.list_scaling_plans(pool.resource_group, pool.name)
    names = ", ".join(sorted(plan.name or "" for plan in plans))
    if not plans:
        return passed(name, "None.", threshold)
    if any(not plan.exclusion_tag for plan in plans):
        told = f"{names} looks after it, without an exclusion tag: it may open a canary that waits for its approval."
        return warned(
            name, told, threshold, "Set an exclusion tag on the scaling plan; Evergold puts it on the canary."
        )
    return passed(name, f"{names} looks after it; a rollout suspends it.", threshold)


async def check_other_tools(azure: Azure, pool: Pool) -> Check:
    """Whether another tool that replaces hosts has marked the pool's as its own: the two would undo each other's work."""
    name, threshold = f"other tools on {pool.name}", "no host that another tool replaces too"
    hosts, vms = await asyncio.gather(
        azure.desktops.list_session_hosts(pool.resource_group, pool.name),
        azure.compute.list_vms(pool.hosts.resource_group),
    )
    in_pool = {key(host.resource_id or "") for host in hosts}
    marked = told_of({vm.name: vm.tags for vm in vms if key(vm.id) in in_pool})
    if not marked:
        return passed(name, "No host bears the tag of one.", threshold)
    return warned(name, f"{'; '.join(marked)}.", threshold, WHAT_TO_DO)
