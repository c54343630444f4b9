"""Azure Virtual Desktop: host pools, session hosts and user sessions.

All calls are synchronous in Azure: when one returns, it is done. Names of session hosts and sessions in Azure's answers
are paths ("pool/host", "pool/host/3"); `short_name` gives the last part, which is what the methods here take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from azure.mgmt.desktopvirtualization import models
from azure.mgmt.desktopvirtualization.aio import DesktopVirtualizationMgmtClient
from pydantic import SecretStr

from evergold.azure.compute import merged
from evergold.azure.errors import AzureFailure, explaining, found, gone, raise_failed
from evergold.azure.ids import ResourceId, same
from evergold.azure.models import make_quick
from evergold.clock import Clock

TOKEN_HOURS = 2
PAGE = 200


@dataclass(frozen=True)
class RegistrationToken:
    """What lets a VM join a host pool. A secret: `token` hides itself; hand it to protected settings only."""

    token: SecretStr
    expires: datetime


def short_name(resource_name: str | None) -> str:
    """The last part of a name such as "pool/host" or "pool/host/3"."""
    return (resource_name or "").rsplit("/", 1)[-1]


def host_of(session: models.UserSession) -> str:
    """The name of the session host that a user session is on."""
    parts = (session.name or "").split("/")
    return parts[-2] if len(parts) >= 2 else ""


class Desktops:
    """Azure Virtual Desktop in one subscription."""

    def __init__(self, client: DesktopVirtualizationMgmtClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        make_quick(client.host_pools, client.session_hosts, client.user_sessions, client.scaling_plans)

    # Host pools

    async def get_host_pool(self, resource_group: str, name: str) -> models.HostPool | None:
        """The host pool, or None."""
        return await found(
            lambda: self._client.host_pools.get(resource_group, name), "read the host pool", f"{resource_group}/{name}"
        )

    async def update_host_pool_tags(
        self, resource_group: str, name: str, set_tags: Mapping[str, str], remove: tuple[str, ...] = ()
    ) -> dict[str, str]:
        """Set and remove tags of the pool, leaving the others; returns what it has now.

        Host pools have no ETag: whoever needs to be alone (a lease) reads the tags again afterwards.
        """
        what, label = "tag the host pool", f"{resource_group}/{name}"
        pool = await self.get_host_pool(resource_group, name)
        if pool is None:
            raise_failed(what, label, "ResourceNotFound", "There is no such host pool.")
        wanted = merged(pool.tags, set_tags, remove)
        if wanted != (pool.tags or {}):
            with explaining(what, label):
                await self._client.host_pools.update(resource_group, name, models.HostPoolPatch(tags=wanted))
        return wanted

    async def registration_token(
        self, resource_group: str, name: str, hours: float = TOKEN_HOURS, at_least_minutes: float = 30
    ) -> RegistrationToken:
        """A token that lets VMs join the pool.

        Gives the pool's present token if it lives for another `at_least_minutes`, since a new one would end it; otherwise
        makes one that lives `hours` (1 to 27 days).
        """
        present = await self._present_token(resource_group, name)
        now = self._clock.now()
        if present is not None and present.expires - now >= timedelta(minutes=at_least_minutes):
            return present
        what, label = "make a registration token", f"{resource_group}/{name}"
        renewal = models.RegistrationInfoPatch(
            expiration_time=now + timedelta(hours=hours), registration_token_operation="Update"
        )
        with explaining(what, label):
            await self._client.host_pools.update(resource_group, name, models.HostPoolPatch(registration_info=renewal))
        token = await self._present_token(resource_group, name)
        if token is None:
            raise_failed(what, label, "NoRegistrationToken", "Azure made a token, and then gave none out.")
        return token

    async def _present_token(self, resource_group: str, name: str) -> RegistrationToken | None:
        try:
            with explaining("read the registration token", f"{resource_group}/{name}"):
                info = await self._client.host_pools.retrieve_registration_token(resource_group, name)
        except AzureFailure as refused:
            if refused.status in (400, 404):  # how Azure refuses where no token was ever made is not documented
                return None
            raise
        if not info.token or info.expiration_time is None:
            return None
        return RegistrationToken(SecretStr(info.token), info.expiration_time)

    # Scaling plans

    async def list_scaling_plans(self, resource_group: str, pool: str) -> list[models.ScalingPlan]:
        """The scaling plans that the pool is assigned to, enabled for it or not: one at most, as Azure has it."""
        with explaining("list the scaling plans", f"{resource_group}/{pool}"):
            return [plan async for plan in self._client.scaling_plans.list_by_host_pool(resource_group, pool)]

    async def get_scaling_plan(self, plan_id: str) -> models.ScalingPlan | None:
        """The scaling plan, or None."""
        plan = ResourceId.parse(plan_id)
        return await found(
            lambda: self._client.scaling_plans.get(plan.resource_group, plan.name), "read the scaling plan", plan.name
        )

    async def enable_scaling_plan(self, plan_id: str, pool_id: str, *, enabled: bool) -> None:
        """Let a scaling plan look after one pool, or not; its other pools stay as they are.

        Plans have no ETag, and the references are written as one list: whoever needs to be sure reads them again.
        """
        plan = ResourceId.parse(plan_id)
        with explaining("change the scaling plan", plan.name):
            present = await self._client.scaling_plans.get(plan.resource_group, plan.name)
            wanted = [
                models.ScalingHostPoolReference(
                    host_pool_arm_path=each.host_pool_arm_path,
                    scaling_plan_enabled=enabled
                    if same(each.host_pool_arm_path, pool_id)
                    else each.scaling_plan_enabled,
                )
                for each in present.host_pool_references or []
            ]
            patch = models.ScalingPlanPatch(host_pool_references=wanted)
            await self._client.scaling_plans.update(plan.resource_group, plan.name, patch)

    # Session hosts

    async def list_session_hosts(self, resource_group: str, pool: str) -> list[models.SessionHost]:
        """Every session host registered in the pool."""
        with explaining("list the session hosts", f"{resource_group}/{pool}"):
            return [host async for host in self._client.session_hosts.list(resource_group, pool, page_size=PAGE)]

    async def get_session_host(self, resource_group: str, pool: str, host: str) -> models.SessionHost | None:
        """The session host, or None."""
        return await found(
            lambda: self._client.session_hosts.get(resource_group, pool, host),
            "read the session host",
            f"{pool}/{host}",
        )

    async def set_allow_new_session(self, resource_group: str, pool: str, host: str, allow: bool) -> None:
        """Let new users on to the host, or not (drain mode). Sessions that exist go on."""
        what = "end drain mode" if allow else "set drain mode"
        with explaining(what, f"{pool}/{host}"):
            await self._client.session_hosts.update(
                resource_group, pool, host, session_host=models.SessionHostPatch(allow_new_session=allow)
            )

    async def delete_session_host(self, resource_group: str, pool: str, host: str, *, force: bool = False) -> None:
        """Remove the host from the pool (not its VM); that it is not there counts as done.

        Without `force`, Azure refuses while the host has sessions; with it, it removes their records too and signs
        nobody out.
        """
        await gone(
            lambda: self._client.session_hosts.delete(resource_group, pool, host, force=force or None),
            "remove the session host",
            f"{pool}/{host}",
        )

    # User sessions

    async def list_user_sessions(self, resource_group: str, pool: str) -> list[models.UserSession]:
        """Every user session in the pool, on all hosts, in whatever state."""
        with explaining("list the user sessions", f"{resource_group}/{pool}"):
            sessions = self._client.user_sessions.list_by_host_pool(resource_group, pool, page_size=PAGE)
            return [session async for session in sessions]

    async def list_user_sessions_on(self, resource_group: str, pool: str, host: str) -> list[models.UserSession]:
        """Every user session on one host."""
        with explaining("list the user sessions", f"{pool}/{host}"):
            sessions = self._client.user_sessions.list(resource_group, pool, host, page_size=PAGE)
            return [session async for session in sessions]

    async def send_message(
        self, resource_group: str, pool: str, host: str, session_id: str, title: str, body: str
    ) -> bool:
        """Show a message to the user of a session; False if the session has ended meanwhile."""
        message = models.SendMessage(message_title=title, message_body=body)

        async def send() -> bool:
            await self._client.user_sessions.send_message(resource_group, pool, host, session_id, message)
            return True

        return bool(await found(send, "send a message to the user", f"{pool}/{host}/{session_id}"))

    async def sign_out(self, resource_group: str, pool: str, host: str, session_id: str, *, force: bool = True) -> None:
        """Sign the user of a session out; that there is no such session any more counts as done."""
        await gone(
            lambda: self._client.user_sessions.delete(resource_group, pool, host, session_id, force=force),
            "sign the user out",
            f"{pool}/{host}/{session_id}",
        )
