"""One Azure subscription, opened: every service client over one transport, one identity, one pace and one clock.

    async with Azure.connect(environment) as azure:
        vm = await azure.compute.get_vm("hosts-rg", "desk-01")

Public cloud, US Government, China and the simulator differ in the environment's endpoints and CA file and in nothing
else. Tests give a transport that hands requests to an application in the same process.
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from azure.core import AsyncPipelineClient
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.identity.aio import (
    AzureCliCredential,
    ClientSecretCredential,
    DefaultAzureCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.core import AsyncARMPipelineClient
from azure.mgmt.desktopvirtualization.aio import DesktopVirtualizationMgmtClient
from azure.monitor.query.aio import LogsQueryClient

from evergold.azure.arm import Arm
from evergold.azure.cloudpcs import CloudPcs
from evergold.azure.compute import Compute
from evergold.azure.desktops import Desktops
from evergold.azure.disks import Disks
from evergold.azure.errors import AzureFailure
from evergold.azure.galleries import Galleries
from evergold.azure.graph import Graph
from evergold.azure.images import Images
from evergold.azure.logs import Logs
from evergold.azure.pipeline import (
    ClockTransport,
    Pace,
    RetryPolicy,
    arm_policies,
    graph_policies,
    https_transport,
    query_policies,
)
from evergold.clock import Clock, RealClock, ScaledClock
from evergold.config.models import AzureCli, ClientSecret, Environment, ManagedIdentity, ScaledTime, WorkloadIdentity


class Azure:
    """The services of one subscription; made by `connect`, and usable inside its `async with`.

    Attributes:
        environment: what it was opened with.
        clock: the time that everything in it goes by.
        compute, disks, images, galleries, desktops, logs, arm, graph, cloud_pcs: the services.

    """

    def __init__(self, environment: Environment, transport: AsyncHttpTransport[Any, Any], clock: Clock) -> None:
        endpoints = environment.resolved_endpoints()
        subscription = str(environment.subscription_id)
        self.environment = environment
        self.clock = clock
        self._inner = transport
        shared = ClockTransport(transport, clock)
        self._credential = credential_for(environment, shared, clock)
        pace = Pace(clock)

        def policies() -> list[Any]:
            return arm_policies(self._credential, endpoints.resource_manager_scope, clock, pace)

        self._compute = ComputeManagementClient(
            self._credential, subscription, endpoints.resource_manager, transport=shared, policies=policies()
        )
        self._desktops = DesktopVirtualizationMgmtClient(
            self._credential, subscription, endpoints.resource_manager, transport=shared, policies=policies()
        )
        self._logs = LogsQueryClient(
            self._credential,
            endpoint=endpoints.log_analytics,
            transport=shared,
            policies=query_policies(self._credential, f"{endpoints.log_analytics.rstrip('/')}/.default", clock),
        )
        self._arm: AsyncARMPipelineClient[Any, Any] = AsyncARMPipelineClient(
            endpoints.resource_manager, transport=shared, policies=policies()
        )
        self._graph: AsyncPipelineClient[Any, Any] = AsyncPipelineClient(
            endpoints.graph,
            transport=shared,
            policies=graph_policies(self._credential, f"{endpoints.graph.rstrip('/')}/.default", clock),
        )
        self.compute = Compute(self._compute, subscription, clock)
        self.disks = Disks(self._compute, clock)
        self.images = Images(self._compute, clock)
        self.galleries = Galleries(self._compute, clock)
        self.desktops = Desktops(self._desktops, clock)
        self.logs = Logs(self._logs, str(environment.log_analytics_workspace_id))
        self.arm = Arm(self._arm, subscription)
        self.graph = Graph(self._graph, endpoints.graph)
        self.cloud_pcs = CloudPcs(self.graph)
        self._stack = AsyncExitStack()

    @classmethod
    def connect(
        cls,
        environment: Environment,
        transport: AsyncHttpTransport[Any, Any] | None = None,
        clock: Clock | None = None,
    ) -> Azure:
        """Prepare the services of an environment; nothing is sent before the first call.

        Without a transport it is HTTPS; without a clock, the environment's. The transport is opened and closed with the
        `async with`.
        """
        ca_file = environment.resolved_endpoints().ca_file
        if transport is None and ca_file is not None and not ca_file.is_file():
            raise AzureFailure(
                "open the connection",
                f"environment {environment.name}",
                "NoCaFile",
                f"The CA file {ca_file} is not there.",
                retryable=False,
                remedy="Correct endpoints.ca_file in the environment's file; for the simulator, start it: it makes the file.",
            )
        return cls(environment, transport or https_transport(ca_file), clock or clock_for(environment))

    async def __aenter__(self) -> Self:
        for part in (self._inner, self._credential, self._compute, self._desktops, self._logs):
            await self._stack.enter_async_context(part)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()


def clock_for(environment: Environment) -> Clock:
    """The clock that an environment goes by."""
    time = environment.clock
    if isinstance(time, ScaledTime):
        return ScaledClock(time.speed, time.virtual_start, time.real_start)
    return RealClock()


def credential_for(
    environment: Environment, transport: AsyncHttpTransport[Any, Any], clock: Clock
) -> AsyncTokenCredential:
    """The identity that an environment signs in with; its token requests go through the same transport."""
    authority = environment.resolved_endpoints().authority
    how = environment.credential
    if isinstance(how, ClientSecret):
        return ClientSecretCredential(
            str(how.tenant_id),
            str(how.client_id),
            _secret(how.secret_variable, environment.name),
            authority=authority,
            disable_instance_discovery=environment.cloud == "custom",
            transport=transport,
            retry_policy_class=lambda **_: RetryPolicy(clock),
        )
    if isinstance(how, ManagedIdentity):
        return ManagedIdentityCredential(client_id=str(how.client_id) if how.client_id else None, transport=transport)
    if isinstance(how, WorkloadIdentity):
        return WorkloadIdentityCredential(authority=authority, transport=transport)
    if isinstance(how, AzureCli):
        return AzureCliCredential()
    return DefaultAzureCredential(authority=authority, transport=transport)


def _secret(variable: str, environment_name: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise AzureFailure(
            "sign in",
            f"environment {environment_name}",
            "NoSecret",
            f"The environment variable {variable} is not set.",
            retryable=False,
            remedy=f"Set {variable} to the client secret where the worker runs, and start it again.",
        )
    return value
