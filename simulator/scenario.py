"""Scenarios: the world as it stands when the simulator starts, as YAML.

A scenario says which subscription, networks, image definitions, host pools, hosts and people there are, what Azure allows, and
which faults are planned. Unknown keys are refused.
"""

from datetime import datetime
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

from simulator.kernel.faults import Fault

FOLDER = Path(__file__).parent / "scenarios"


class Part(BaseModel):
    """A part of a scenario; refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid")


class Client(Part):
    """An application that may sign in; `denied` are action patterns ("Microsoft.Compute/*") it may not do."""

    client_id: str
    secret: str
    denied: list[str] = []


class Subnet(Part):
    """A subnet with room for `addresses` network cards."""

    resource_group: str
    network: str
    name: str
    prefix: str = "10.20.0.0/24"
    security_group: str | None = (
        None  # a network security group's name; it has Azure's default rules and those of `open_ports`
    )
    open_ports: list[str] = []  # what that group lets in from the internet, such as "3389"


class VirtualNetwork(Part):
    """What is to be said of a virtual network beyond its subnets. One that is not named has neither."""

    name: str
    dns_servers: list[str] = []
    peered_with: list[str] = []  # names of networks in the same resource group


class Release(Part):
    """A marketplace image version and what is in it. `missing_patches` are (KB, title, classification)."""

    publisher: str
    offer: str
    sku: str
    version: str
    os_build: str
    edition: str = "Windows 11 Enterprise multi-session"
    software: dict[str, str] = {}
    hotfixes: list[str] = []
    missing_patches: list[tuple[str, str, str]] = []
    plan: str | None = None  # it is sold: under this plan of its publisher and offer
    terms_accepted: bool = True  # ... whose terms this subscription has accepted


class Version(Part):
    """An image version that is already in the gallery."""

    version: str
    os_build: str
    edition: str = "Windows 11 Enterprise multi-session"
    software: dict[str, str] = {}
    hotfixes: list[str] = []
    missing_patches: list[tuple[str, str, str]] = []
    regions: list[str] = ["westeurope", "northeurope"]
    exclude_from_latest: bool = False
    defects: list[str] = []
    tags: dict[str, str] = {}


class Definition(Part):
    """An image definition in a gallery."""

    resource_group: str
    gallery: str
    name: str
    location: str = "westeurope"
    security_type: str = "TrustedLaunch"
    hyper_v_generation: str = "V2"
    architecture: str = "x64"
    disk_controllers: str = ""  # the feature DiskControllerTypes, such as "SCSI,NVMe"
    versions: list[Version] = []
    plan: str | None = None  # its images are sold: "publisher:product:plan"


class HostPool(Part):
    """A host pool with hosts on one image version and people who work there."""

    resource_group: str
    name: str
    location: str = "westeurope"
    load_balancer: str = "BreadthFirst"
    max_sessions: int = 8
    hosts: int = 6
    host_prefix: str
    image_version: str  # "gallery/definition/x.y.z"
    vm_size: str = "Standard_D4s_v5"
    subnet: str  # "network/name"
    static_addresses: bool = False  # somebody has made its hosts' addresses static
    people: int = 20
    late_workers: float = Field(0.1, ge=0, le=1)  # share of the people who stay into the night


class CloudPcs(Part):
    """The Cloud PCs of one provisioning policy, one for each of `count` people named by `prefix` and a number.

    `unsynced`: share of the people whose work is in no OneDrive; `idle`: share who have not signed in for three months.
    """

    policy: str
    group: str = "55555555-5555-4555-8555-555555555555"
    count: int = 10
    prefix: str = "cpc-user"
    image: str = "Windows 11 Enterprise + Microsoft 365 Apps 24H2"
    restore_points: bool = True  # every 12 hours, as the user setting's default
    unsynced: float = Field(0.3, ge=0, le=1)
    idle: float = Field(0.0, ge=0, le=1)


class Quota(Part):
    """vCPU quota of a VM family in a region."""

    location: str = "westeurope"
    family: str = "standardDSv5Family"
    limit: int = 400


class Durations(Part):
    """Ranges in seconds from which the world draws how long things take; sources beside each."""

    vm_create: tuple[float, float] = (120, 240)  # OS provisioning 2-4 min usual
    vm_start: tuple[float, float] = (30, 90)
    vm_deallocate: tuple[float, float] = (16, 60)  # live Azure: median 29 s, p90 43 s
    vm_delete: tuple[float, float] = (20, 54)  # live Azure: 0-54 s
    extension: tuple[float, float] = (30, 169)  # live Azure: 10-169 s
    agent_install: tuple[float, float] = (120, 180)  # agent 2-3 min
    agent_restart: tuple[float, float] = (15, 45)  # the boot loader starts an agent that is there, and it registers
    agent_first_update: tuple[float, float] = (600, 1800)  # upgrades itself after install, about 30 min
    script: tuple[float, float] = (60, 300)
    sysprep: tuple[float, float] = (240, 600)  # 5 to 10 min
    publish: tuple[float, float] = (600, 1200)  # build of the version before it replicates
    replicate: tuple[float, float] = (900, 2700)  # 30-60 min usual with replication
    assess_patches: tuple[float, float] = (60, 120)  # live Azure: 109 s
    disk: tuple[float, float] = (1, 5)
    snapshot: tuple[float, float] = (1, 27)
    image: tuple[float, float] = (5, 30)
    version_delete: tuple[float, float] = (90, 91)
    image_import: tuple[float, float] = (3300, 3900)  # about an hour: the guide, Patrick Koehler 2022
    reprovision: tuple[float, float] = (2100, 2700)  # up to 40 minutes: the same
    restore_point: tuple[float, float] = (600, 3900)  # a manual one "may take more than an hour to appear"
    log_delay: tuple[float, float] = (20, 180)  # ingestion 20 s to 3 min


class Promises(Part):
    """What the image sets of this world ask for: `simulator.watch` holds their rollouts to it."""

    floor_percent: int = Field(80, ge=0, le=100)
    warn_minutes: float = 5
    names_are_used_again: bool = False  # in place: a new host has the name of one that was deleted
    lease_tag: str = "evergold-lease"  # of a host pool: whoever wrote it last may change the hosts, and nobody else


class Scenario(Part):
    """The whole world."""

    name: str
    description: str = ""
    seed: int = 1
    start: datetime  # aware; the virtual time at which the simulator starts, where its clock does not say otherwise
    time_zone: str = "Europe/Berlin"  # by which its people live
    tenant_id: str
    subscription_id: str
    workspace_id: str
    clients: list[Client]
    resource_groups: list[str]
    subnets: list[Subnet]
    networks: list[VirtualNetwork] = []
    marketplace: list[Release]
    definitions: list[Definition]
    host_pools: list[HostPool]
    quotas: list[Quota] = [Quota()]
    backed_up: list[str] = []  # names of virtual machines that Azure Backup protects
    locks: list[str] = []  # resource groups with a CanNotDelete lock
    unregistered: list[str] = []  # resource providers that the subscription has not registered
    durations: Durations = Durations()
    promises: Promises = Promises()
    faults: list[Fault] = []
    cloud_pcs: list[CloudPcs] = []
    groups: dict[str, list[str]] = {}  # user -> ids of groups that they are in, beside their policy's
    windows_365_sees_images: bool = True  # managed images of the subscription
    restore_points_survive: bool = True  # a reprovision
    graph_lags_s: float = 0  # how long a new bulk action is in no list: Graph is eventually consistent
    cloud_pc_failures: dict[str, str] = {}  # "import" -> error codes in turn; a user -> "reprovision" or "snapshot"
    guest_failures: dict[str, str] = {}  # script step -> "exit:N", "timeout", "sysprep:appx", ... (see guest.py)


def load(name_or_path: str) -> Scenario:
    """Reads a scenario by its name in the scenarios folder, or by the path of a YAML file."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{name_or_path}.yaml"
    return Scenario.model_validate(yaml.safe_load(path.read_text()))
