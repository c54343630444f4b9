"""Throttling: ARM's token buckets per caller, and Compute's per subscription and per resource.

Figures: ARM's limits since 2024 (per subscription, caller and kind of call) and Compute's published limits of 2024-05, refill a
minute and capacity.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from simulator.kernel.arm import ArmError
from simulator.kernel.world import World


@dataclass
class Bucket:
    """A token bucket in virtual time."""

    capacity: float
    refill_per_s: float
    tokens: float
    filled_at: datetime

    def take(self, now: datetime) -> float:
        """Takes a token and returns 0, or returns the seconds until there will be one."""
        passed = max((now - self.filled_at).total_seconds(), 0)
        self.tokens = min(self.capacity, self.tokens + passed * self.refill_per_s)
        self.filled_at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0
        return (1 - self.tokens) / self.refill_per_s


# capacity, refill a second: learn.microsoft.com, "request limits and throttling"
ARM = {"reads": (250, 25.0), "writes": (200, 10.0), "deletes": (200, 10.0)}
# refill a minute and capacity, per resource (None: not counted) and per subscription: "Compute throttling limits"
COMPUTE: dict[str, tuple[tuple[float, float] | None, tuple[float, float]]] = {
    "PutVM": ((4, 12), (500, 1500)),
    "UpdateVM": ((4, 12), (500, 1500)),
    "DeleteVM": ((4, 12), (500, 1500)),
    "LowCostGet": ((12, 36), (8000, 24000)),
    "HighCostGet": (None, (300, 900)),
    "GetOperation": ((15, 45), (5000, 15000)),
    "GetOperationStatus": (None, (400, 1200)),
    "PatchOperation": ((2, 6), (200, 600)),
}


class Throttle:
    """Every bucket of the world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._buckets: dict[tuple[str, ...], Bucket] = {}

    def spend(
        self, method: str, subscription: str, caller: str, compute_bucket: str | None, resource: str
    ) -> dict[str, str]:
        """Spends what one call costs and returns the headers that tell what is left, or raises the 429."""
        kind = "reads" if method in ("GET", "HEAD") else "deletes" if method == "DELETE" else "writes"
        capacity, refill = ARM[kind]
        wait = self._take(("arm", subscription, caller, kind), capacity, refill)
        if wait:
            raise _too_many(wait, f"subscription-{kind}", wrapped=True)
        headers = {f"x-ms-ratelimit-remaining-subscription-{kind}": self._left(("arm", subscription, caller, kind))}
        if compute_bucket is None:
            return headers
        return headers | self._spend_compute(subscription, compute_bucket, resource)

    def _spend_compute(self, subscription: str, name: str, resource: str) -> dict[str, str]:
        per_resource, per_subscription = COMPUTE[name]
        left = []
        for scope, figures in (
            (("resource", resource), per_resource),
            (("subscription", subscription), per_subscription),
        ):
            if figures is None:
                continue
            key = ("compute", name, *scope)
            if wait := self._take(key, figures[1], figures[0] / 60):
                raise _too_many(wait, name, wrapped=False)
            suffix = "Resource" if scope[0] == "resource" else "SubscriptionMaximum"
            left.append(f"Microsoft.Compute/{name}{suffix};{self._left(key)}")
        return {"x-ms-ratelimit-remaining-resource": ",".join(left), "x-ms-request-charge": "1"}

    def _take(self, key: tuple[str, ...], capacity: float, refill_per_s: float) -> float:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(capacity, refill_per_s, capacity, self.world.now)
        return bucket.take(self.world.now)

    def _left(self, key: tuple[str, ...]) -> str:
        return str(int(self._buckets[key].tokens))


def _too_many(wait_s: float, policy: str, *, wrapped: bool) -> ArmError:
    measured = json.dumps({"operationGroup": policy, "allowedRequestCount": 0, "measuredRequestCount": 1})
    return ArmError(
        429,
        "OperationNotAllowed" if not wrapped else "TooManyRequests",
        "The server rejected the request because too many requests have been received for this subscription.",
        headers={"retry-after": str(max(1, int(wait_s + 0.999)))},
        details=[{"code": "TooManyRequests", "target": policy, "message": measured}],
        wrapped=wrapped,
    )
