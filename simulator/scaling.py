"""Autoscale of Azure Virtual Desktop: scaling plans, and what they do to the hosts of the pools that they are enabled for.

Every five minutes a plan looks at its pools, by the schedule of the day, in its own time zone. From ramp-up to ramp-down every host is on
and open. From ramp-down to the next ramp-up as many hosts stay on as the schedule's minimum asks for; the others, once nobody is on them,
are put into drain mode and deallocated. A plan overwrites drain mode. It leaves a machine alone that bears the plan's exclusion tag,
whatever its value; such a machine counts as one that is on. Facts from the Azure Virtual Desktop documentation ("Autoscale scaling plans
and example scenarios").

Assumed, because no source documents it: how often it looks; that ramp-up wants every host; that over days without a schedule the night
before them goes on. Simplified: capacity thresholds are not played, and nobody is signed out by it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from tzlocal.windows_tz import win_tz

from simulator.kernel.arm import (
    ArmError,
    ArmRequest,
    Json,
    Reply,
    Route,
    group_path,
    not_found,
    page,
    resource_id,
    same,
)
from simulator.session_hosts import Pool, SessionHost

if TYPE_CHECKING:
    from simulator.cloud import Cloud

PLANS = "Microsoft.DesktopVirtualization/scalingPlans"
POOLS = "Microsoft.DesktopVirtualization/hostPools"
LOOKS_EVERY_S = 300


@dataclass(eq=False)
class ScalingPlan:
    """A scaling plan, its properties as they were last written."""

    id: str
    name: str
    location: str
    tags: dict[str, str] = field(default_factory=dict)
    properties: Json = field(default_factory=dict)

    def body(self) -> Json:
        """The resource as a GET shows it."""
        return {
            "id": self.id.lower(),
            "name": self.name,
            "type": "Microsoft.DesktopVirtualization/scalingplans",
            "location": self.location,
            "tags": dict(self.tags) or None,
            "properties": self.properties,
        }

    def is_enabled_for(self, pool: Pool) -> bool:
        """Whether it looks after this pool now."""
        return any(
            same(each.get("hostPoolArmPath"), pool.id) and each.get("scalingPlanEnabled") for each in self.references
        )

    @property
    def references(self) -> list[Json]:
        """The pools that it is assigned to."""
        return list(self.properties.get("hostPoolReferences") or [])

    def share_at(self, now: datetime) -> int:
        """The percentage of hosts that are to be on: 100 by day, and where it has no schedule at all."""
        local = now.astimezone(zone_of(str(self.properties["timeZone"]))).replace(tzinfo=None)
        _, share = max((turn for turn in self._turns(local) if turn[0] <= local), default=(local, 100))
        return share

    def _turns(self, local: datetime) -> Iterable[tuple[datetime, int]]:
        """When the share changed in the last days, and to what: on the wall clock, whatever was done to it meanwhile."""
        for schedule in self.properties.get("schedules") or []:
            up, down = _time(schedule["rampUpStartTime"]), _time(schedule["rampDownStartTime"])
            for days_ago in range(9):
                day = (local - timedelta(days=days_ago)).date()
                if f"{day:%A}" in schedule.get("daysOfWeek", []):
                    yield datetime.combine(day, up), 100
                    ends = datetime.combine(day, down) + timedelta(days=down <= up)
                    yield ends, int(schedule.get("rampDownMinimumHostsPct", 0))


class Scaling:
    """Every scaling plan, and its hand on the hosts."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self.plans: dict[str, ScalingPlan] = {}

    def routes(self) -> list[Route]:
        """The management API of plans with their schedules inline."""
        plan = group_path(PLANS + "/{plan}")
        return [
            Route("GET", group_path(PLANS), self._list),
            Route("GET", plan, self._get),
            Route("PUT", plan, self._put),
            Route("PATCH", plan, self._patch),
            Route("DELETE", plan, self._delete),
            Route("GET", group_path(POOLS + "/{pool}/scalingPlans"), self._list_of_pool),
        ]

    # Requests

    def _list(self, request: ArmRequest) -> Reply:
        start = resource_id(request["subscription"], request["group"], PLANS).lower()
        return page(request, [plan.body() for key, plan in self.plans.items() if key.startswith(f"{start}/")])

    def _list_of_pool(self, request: ArmRequest) -> Reply:
        pool = resource_id(request["subscription"], request["group"], f"{POOLS}/{request['pool']}")
        assigned = [
            plan.body()
            for plan in self.plans.values()
            if any(same(each.get("hostPoolArmPath"), pool) for each in plan.references)
        ]
        return page(request, assigned)

    def _get(self, request: ArmRequest) -> Reply:
        return Reply(200, self._need(request).body())

    def _put(self, request: ArmRequest) -> Reply:
        if zone_of((request.body.get("properties") or {}).get("timeZone") or "") is None:
            raise ArmError(400, "400", "timeZone is required, by its Windows name")
        plan, status = self.plans.get(_id(request).lower()), 200
        if plan is None:
            plan, status = ScalingPlan(_id(request), request["plan"], request.body.get("location", "")), 201
            self.add(plan)
        plan.properties, plan.tags = dict(request.body["properties"]), dict(request.body.get("tags") or {})
        body = plan.body()
        return Reply(status, body, {"location": body["id"]} if status == 201 else {})

    def _patch(self, request: ArmRequest) -> Reply:
        plan = self._need(request)
        plan.properties |= request.body.get("properties") or {}
        if "tags" in request.body:
            plan.tags = dict(request.body["tags"] or {})
        return Reply(200, plan.body())

    def _delete(self, request: ArmRequest) -> Reply:
        return Reply(200 if self.plans.pop(_id(request).lower(), None) else 204)

    def _need(self, request: ArmRequest) -> ScalingPlan:
        found = self.plans.get(_id(request).lower())
        if found is None:
            raise not_found(f"{PLANS}/{request['plan']}", request["group"])
        return found

    # What plans do

    def add(self, plan: ScalingPlan) -> None:
        """A plan begins to see to its pools."""
        self.plans[plan.id.lower()] = plan
        if len(self.plans) == 1:
            self._cloud.world.after(LOOKS_EVERY_S, self._look)

    def share_for(self, pool: Pool) -> int | None:
        """The percentage of the pool's hosts that its plan would have on now, whether it is enabled or not; None where it has no plan."""
        for plan in self.plans.values():
            if any(same(each.get("hostPoolArmPath"), pool.id) for each in plan.references):
                return plan.share_at(self._cloud.world.now)
        return None

    def _look(self) -> None:
        self.look()
        if self.plans:
            self._cloud.world.after(LOOKS_EVERY_S, self._look)

    def look(self) -> None:
        """Every plan sees to its pools now."""
        for plan in self.plans.values():
            share = plan.share_at(self._cloud.world.now)
            for pool in self._cloud.desktop.pools.values():
                if plan.is_enabled_for(pool):
                    self._scale(pool, share, plan.properties.get("exclusionTag") or "")

    def _scale(self, pool: Pool, share: int, exclusion_tag: str) -> None:
        wanted = -(-len(pool.hosts) * share // 100)
        excluded = {host.name for host in pool.hosts.values() if exclusion_tag in self._tags(host)}
        ours = [host for host in pool.hosts.values() if host.name not in excluded]
        # Those that somebody is on stay on first.
        for host in sorted(ours, key=lambda each: (-len(each.sessions), each.name)):
            if wanted > len(excluded) or host.sessions:
                wanted -= 1
                self._turn(host, on=True)
            else:
                self._turn(host, on=False)
        self._cloud.desktop.tell_changed(pool)

    def _turn(self, host: SessionHost, *, on: bool) -> None:
        machine = self._cloud.compute.find(host.vm)
        host.allow_new_session = on
        if machine is not None and on:
            self._cloud.compute.switches.turn_on(machine)
        elif machine is not None:
            self._cloud.compute.switches.turn_off(machine)

    def _tags(self, host: SessionHost) -> Iterable[str]:
        machine = self._cloud.compute.find(host.vm)
        return machine.tags if machine is not None else ()


def zone_of(windows_name: str) -> ZoneInfo | None:
    """The time zone of a Windows name; None where there is none of that name. The names are Unicode's (CLDR), as tzlocal has them."""
    known = win_tz.get(windows_name)
    return ZoneInfo(known) if known else None


def _id(request: ArmRequest) -> str:
    return resource_id(request["subscription"], request["group"], f"{PLANS}/{request['plan']}")


def _time(given: Json) -> time:
    return time(int(given["hour"]), int(given["minute"]))
