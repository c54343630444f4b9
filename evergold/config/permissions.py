"""What Evergold must be allowed to do in Azure, and why: the table behind the custom role and the preflight.

Action names as in https://learn.microsoft.com/azure/role-based-access-control/resource-provider-operations.
Everything not listed here is not used; nothing is granted by wildcard.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class ScopeKind(StrEnum):
    """The kinds of place where an action is needed."""

    SUBSCRIPTION = "the subscription"
    BUILD = "the build's resource group"
    IMAGE = "the managed image's resource group"
    GALLERY = "the gallery's resource group"
    POOL = "the host pool's resource group"
    HOSTS = "the hosts' resource group"
    NETWORK = "the subnets of build and hosts"
    WORKSPACE = "the Log Analytics workspace"


@dataclass(frozen=True)
class Permission:
    """One action, why it is needed, and where."""

    action: str
    why: str
    scopes: tuple[ScopeKind, ...]


_SUBSCRIPTION = (ScopeKind.SUBSCRIPTION,)
_IMAGE = (ScopeKind.IMAGE,)
_GALLERY = (ScopeKind.GALLERY,)
_POOL = (ScopeKind.POOL,)
_BUILD = (ScopeKind.BUILD,)
_NETWORK = (ScopeKind.NETWORK,)
_WORKSPACE = (ScopeKind.WORKSPACE,)
_MACHINES = (ScopeKind.BUILD, ScopeKind.HOSTS)
_EVERYWHERE = (ScopeKind.BUILD, ScopeKind.IMAGE, ScopeKind.GALLERY, ScopeKind.POOL, ScopeKind.HOSTS)

_COMPUTE = "Microsoft.Compute"
_VM = f"{_COMPUTE}/virtualMachines"
_IMAGES = f"{_COMPUTE}/galleries/images"
_NETWORKS = "Microsoft.Network"
_HOSTPOOLS = "Microsoft.DesktopVirtualization/hostpools"
_SCALING = "Microsoft.DesktopVirtualization/scalingplans"
_LOGS = "Microsoft.OperationalInsights/workspaces"

PERMISSIONS: Final[tuple[Permission, ...]] = (
    # What the preflight looks at
    Permission(
        "Microsoft.Authorization/permissions/read",
        "see in advance what is not allowed",
        (*_EVERYWHERE, ScopeKind.NETWORK),
    ),
    Permission("Microsoft.Authorization/locks/read", "see locks that would stop a deletion", _EVERYWHERE),
    Permission(
        "Microsoft.Resources/subscriptions/resourceGroups/read", "see that the resource groups exist", _EVERYWHERE
    ),
    Permission(
        "Microsoft.Resources/subscriptions/providers/read",
        "see that the resource providers are registered",
        _SUBSCRIPTION,
    ),
    Permission(f"{_COMPUTE}/locations/usages/read", "compare the vCPU quota with what a rollout needs", _SUBSCRIPTION),
    Permission(f"{_COMPUTE}/skus/read", "see that the VM size is on offer in the region and zones", _SUBSCRIPTION),
    Permission(f"{_COMPUTE}/locations/operations/read", "follow long-running operations", _SUBSCRIPTION),
    Permission(f"{_COMPUTE}/locations/diskOperations/read", "follow long-running operations on disks", _SUBSCRIPTION),
    Permission(
        f"{_COMPUTE}/locations/publishers/artifacttypes/offers/skus/versions/read",
        "find the newest marketplace image",
        _SUBSCRIPTION,
    ),
    Permission(
        "Microsoft.RecoveryServices/locations/backupStatus/action", "see whether a host is backed up", _SUBSCRIPTION
    ),
    Permission(
        "Microsoft.MarketplaceOrdering/offertypes/publishers/offers/plans/agreements/read",
        "see whether the terms of an image that is sold are accepted",
        _SUBSCRIPTION,
    ),
    # Machines: the build machine and session hosts
    Permission(
        f"{_VM}/read",
        "see machines, the tags that hold a rollout's progress, and which image versions are in use",
        (*_MACHINES, ScopeKind.SUBSCRIPTION),
    ),
    Permission(f"{_VM}/write", "create machines, and tag them", _MACHINES),
    Permission(f"{_VM}/delete", "delete the build machine, and hosts past their time", _MACHINES),
    Permission(f"{_VM}/instanceView/read", "see whether a machine is running", _MACHINES),
    Permission(f"{_VM}/start/action", "start a retained host, a copied host or the build machine again", _MACHINES),
    Permission(f"{_VM}/deallocate/action", "stop the build machine and retired hosts, and their cost", _MACHINES),
    Permission(f"{_VM}/restart/action", "restart the build machine between scripts", _BUILD),
    Permission(f"{_VM}/generalize/action", "mark the build machine as generalised", _BUILD),
    Permission(f"{_VM}/assessPatches/action", "see which updates a new host lacks", (ScopeKind.HOSTS,)),
    Permission(f"{_VM}/runCommands/read", "read what a script answered", _MACHINES),
    Permission(f"{_VM}/runCommands/write", "run scripts on the build machine and on new hosts", _MACHINES),
    Permission(f"{_VM}/runCommands/delete", "leave no run command behind", _MACHINES),
    Permission(f"{_VM}/extensions/read", "see whether a host has joined Entra", (ScopeKind.HOSTS,)),
    Permission(f"{_VM}/extensions/write", "join new hosts to Entra", (ScopeKind.HOSTS,)),
    Permission(f"{_COMPUTE}/disks/read", "find what a machine left behind", _MACHINES),
    Permission(f"{_COMPUTE}/disks/write", "create a machine's disk, and tag it", _MACHINES),
    Permission(f"{_COMPUTE}/disks/delete", "delete disks with their machines", _MACHINES),
    Permission(f"{_COMPUTE}/snapshots/read", "see the snapshots that a build has taken", _BUILD),
    Permission(
        f"{_COMPUTE}/snapshots/write", "copy a session host's disk, and keep the build's before sysprep", _BUILD
    ),
    Permission(f"{_COMPUTE}/snapshots/delete", "delete snapshots that nothing needs any more", _BUILD),
    # Network cards are part of their machine
    Permission(
        f"{_NETWORKS}/networkInterfaces/read",
        "find what a machine left behind, and see whether its address is static",
        _MACHINES,
    ),
    Permission(f"{_NETWORKS}/networkInterfaces/write", "create a machine's network card", _MACHINES),
    Permission(f"{_NETWORKS}/networkInterfaces/delete", "delete network cards with their machines", _MACHINES),
    Permission(
        f"{_NETWORKS}/networkInterfaces/join/action",
        "attach the card to its machine, and one with a static address to the next",
        _MACHINES,
    ),
    Permission(f"{_NETWORKS}/virtualNetworks/subnets/read", "count free addresses", _NETWORK),
    Permission(f"{_NETWORKS}/virtualNetworks/read", "see whether the build's network is isolated", _NETWORK),
    Permission(f"{_NETWORKS}/networkSecurityGroups/read", "see what the build's subnet lets in", _NETWORK),
    Permission(f"{_NETWORKS}/virtualNetworks/subnets/join/action", "put machines on the subnet", _NETWORK),
    # Managed images, where an image set asks for them
    Permission(f"{_COMPUTE}/images/read", "see whether the managed image is there", _IMAGE),
    Permission(f"{_COMPUTE}/images/write", "make a managed image for Windows 365", _IMAGE),
    Permission(f"{_COMPUTE}/images/delete", "delete a managed image that failed or was given up", _IMAGE),
    # Gallery
    Permission(f"{_COMPUTE}/galleries/read", "see that the gallery exists", _GALLERY),
    Permission(f"{_IMAGES}/read", "read the image definition and the refresh that is under way", _GALLERY),
    Permission(f"{_IMAGES}/write", "note on the image definition which refresh is under way", _GALLERY),
    Permission(f"{_IMAGES}/versions/read", "see versions and their replication, and make machines from them", _GALLERY),
    Permission(f"{_IMAGES}/versions/write", "publish, approve and promote versions", _GALLERY),
    Permission(f"{_IMAGES}/versions/delete", "delete versions beyond those kept", _GALLERY),
    # Host pools
    Permission(f"{_HOSTPOOLS}/read", "see the pool's size and rules", _POOL),
    Permission(f"{_HOSTPOOLS}/write", "ask for a registration token, and hold the pool's lease", _POOL),
    Permission(f"{_HOSTPOOLS}/retrieveRegistrationToken/action", "register new hosts", _POOL),
    Permission(f"{_HOSTPOOLS}/sessionhosts/read", "watch hosts", _POOL),
    Permission(f"{_HOSTPOOLS}/sessionhosts/write", "drain mode on and off", _POOL),
    Permission(f"{_HOSTPOOLS}/sessionhosts/delete", "remove retired hosts from the pool", _POOL),
    Permission(f"{_HOSTPOOLS}/sessionhosts/usersessions/read", "see who is signed in where", _POOL),
    Permission(f"{_HOSTPOOLS}/sessionhosts/usersessions/sendMessage/action", "warn users", _POOL),
    Permission(f"{_HOSTPOOLS}/sessionhosts/usersessions/delete", "sign users out after the warning", _POOL),
    Permission(f"{_HOSTPOOLS}/scalingplans/read", "see which scaling plan looks after the pool", _POOL),
    Permission(f"{_SCALING}/read", "see whether the scaling plan is enabled for the pool", _POOL),
    Permission(f"{_SCALING}/write", "suspend the scaling plan for the pool during a rollout", _POOL),
    # Logs
    Permission(f"{_LOGS}/read", "see that the workspace exists", _WORKSPACE),
    Permission(f"{_LOGS}/query/read", "ask the workspace", _WORKSPACE),
    Permission(
        "Microsoft.Insights/dataCollectionRuleAssociations/read", "see what collects a host's logs", (ScopeKind.HOSTS,)
    ),
    Permission(f"{_LOGS}/query/Heartbeat/read", "see that logs of a new host arrive", _WORKSPACE),
    Permission(f"{_LOGS}/query/Perf/read", "see that counters of a new host arrive", _WORKSPACE),
    Permission(f"{_LOGS}/query/Event/read", "see that events of a new host arrive", _WORKSPACE),
    Permission(f"{_LOGS}/query/WVDConnections/read", "see whether people get in", _WORKSPACE),
    Permission(f"{_LOGS}/query/WVDErrors/read", "see why people do not get in", _WORKSPACE),
    Permission(f"{_LOGS}/query/WVDAgentHealthStatus/read", "see the health that a new host reports", _WORKSPACE),
)


def actions_needed(scope: ScopeKind) -> list[str]:
    """The actions needed at this kind of place, sorted."""
    return sorted(each.action for each in PERMISSIONS if scope in each.scopes)
