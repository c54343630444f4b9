"""A scaling plan for the small world's pool."""

from typing import Any

from azure.mgmt.desktopvirtualization.models import ScalingPlan

from tests.support.simulated import Simulated

GROUP, PLAN, TAG = "rg-avd-pilot", "office-hours", "no-autoscale"


def properties_of(pool_id: str, *, enabled: bool = True, tag: str | None = TAG, least: int = 50) -> dict[str, Any]:
    """Everybody's hosts from seven to six, half of them at night, or another share."""
    at = {
        name: {"hour": hour, "minute": 0}
        for name, hour in (("rampUp", 7), ("peak", 9), ("rampDown", 18), ("offPeak", 20))
    }
    schedule = {
        "name": "every-day",
        "daysOfWeek": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
        **{f"{name}StartTime": moment for name, moment in at.items()},
        "rampDownMinimumHostsPct": least,
    }
    return {
        "timeZone": "W. Europe Standard Time",
        "hostPoolType": "Pooled",
        "exclusionTag": tag,
        "schedules": [schedule],
        "hostPoolReferences": [{"hostPoolArmPath": pool_id, "scalingPlanEnabled": enabled}],
    }


async def assign_plan(world: Simulated, pool_id: str, tag: str | None = TAG, **changes: Any) -> None:
    """Makes a plan, and enables it for the pool."""
    plan = ScalingPlan.from_dict({"location": "westeurope", "properties": properties_of(pool_id, tag=tag, **changes)})
    await world.azure._desktops.scaling_plans.create(GROUP, PLAN, plan)  # the product makes none


async def is_enabled(world: Simulated) -> bool:
    """Whether the plan looks after its pool."""
    plan = await world.azure._desktops.scaling_plans.get(GROUP, PLAN)
    (reference,) = plan.host_pool_references or []
    return bool(reference.scaling_plan_enabled)
