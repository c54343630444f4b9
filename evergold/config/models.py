"""Image sets and environments as validated, frozen data.

Every duration is a plain number with its unit in its name. Field descriptions are what an editor shows beside the YAML.
"""

import re
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    WithJsonSchema,
    model_validator,
)

from evergold.config.base import Part, Shape, problem
from evergold.config.clouds import CLOUDS, Endpoints

NAME_PATTERN = r"[a-z][a-z0-9-]{1,30}"
MESSAGE_LIMIT = 260
# A machine takes 25 managed run commands (MicrosoftDocs/azure-docs issue 117976); ten are left for the build's own.
MOST_SCRIPTS = 15
SIGN_OUT_MINUTES = (
    5  # what a scheduled rollout leaves at the end of its window for those who were warned to be signed out
)

Name = Annotated[
    str,
    Shape(NAME_PATTERN, "is not a usable name", "Use 2 to 31 small letters, digits and hyphens; begin with a letter."),
]
Guid = Annotated[
    str,
    Shape(
        r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
        "is not a GUID",
        "Copy it from the resource's page in the Azure portal; it looks like 11111111-1111-4111-8111-111111111111.",
    ),
]
Location = Annotated[
    str,
    Shape(
        r"[a-z0-9]+",
        "is not a region name",
        "Use the short name, such as westeurope; `az account list-locations -o table` lists them.",
    ),
]
ResourceGroup = Annotated[
    str,
    Shape(
        r"[\w.()-]{0,89}[\w()-]",
        "is not a resource group name",
        "Use up to 90 letters, digits and . _ - ( ), not ending in a full stop; not the resource id.",
    ),
]
GalleryName = Annotated[
    str,
    Shape(
        r"[A-Za-z0-9]([A-Za-z0-9_.]{0,78}[A-Za-z0-9])?",
        "is not a gallery name",
        "Use up to 80 letters, digits, full stops and underscores (no hyphens).",
    ),
]
DefinitionName = Annotated[
    str,
    Shape(
        r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,78}[A-Za-z0-9])?",
        "is not an image definition name",
        "Use up to 80 letters, digits, full stops, hyphens and underscores.",
    ),
]
VersionOrLatest = Annotated[
    str,
    Shape(r"latest|\d+\.\d+\.\d+", "is not an image version", "Write latest, or a version such as 26100.4061.250604."),
]
VmSize = Annotated[
    str,
    Shape(r"(Standard|Basic)_\w+", "is not a VM size", "Write it as Azure does, such as Standard_D4s_v5."),
]
VmName = Annotated[
    str,
    Shape(
        r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_])?",
        "is not the name of a virtual machine",
        "Use the VM's name alone, such as avd-001; not its resource id.",
    ),
]
SubnetId = Annotated[
    str,
    Shape(
        r"/subscriptions/[^/]+/resource[Gg]roups/[^/]+/providers/[Mm]icrosoft\.[Nn]etwork/virtual[Nn]etworks/[^/]+/subnets/[^/]+",
        "is not the resource id of a subnet",
        "It looks like /subscriptions/…/resourceGroups/…/providers/Microsoft.Network/virtualNetworks/…/subnets/…; "
        "`az network vnet subnet show --query id` prints it.",
    ),
]
HostPoolName = Annotated[
    str,
    Shape(
        r"[A-Za-z0-9@._ -]{3,64}",
        "is not a host pool name",
        "Use the name alone, 3 to 64 characters; not the resource id.",
    ),
]
NamePrefix = Annotated[
    str,
    Shape(
        r"[A-Za-z][A-Za-z0-9-]{0,10}",
        "cannot begin the computer names of hosts",
        "Use a letter, then up to 10 letters, digits and hyphens: Windows allows 15 characters and the number takes 4.",
    ),
]
ScriptPath = Annotated[
    str,
    Shape(
        r"(?!/)(?!.*(^|/)\.\.(/|$))[^\\:]+\.ps1",
        "is not the path of a PowerShell script",
        "Write it from the top of the repository, with forward slashes, such as guest/customise/install-apps.ps1.",
    ),
]
FilePath = Annotated[
    str,
    Shape(
        r"(?!/)(?!.*(^|/)\.\.(/|$))[^\\:]+",
        "is not the path of a file of the repository",
        "Write it from the top of the repository, with forward slashes, such as guest/files/start-menu.json.",
    ),
]
WindowsPath = Annotated[
    str,
    Shape(
        r"[A-Za-z]:\\(?!.*\\\.\.?\\)[^/:*?\"<>|]*[^/:*?\"<>|\\]",
        "is not the path of a file on Windows",
        "Write it with its drive and the file's name, such as C:\\ProgramData\\Contoso\\start-menu.json.",
    ),
]
HttpsUrl = Annotated[
    str,
    Shape(
        r"https://[^\s?#'\"]+",
        "is not an https URL without a query",
        "Write it as https://host/path; a SAS token goes into query_secret.",
    ),
]
Sha256 = Annotated[
    str,
    Shape(r"[0-9A-Fa-f]{64}", "is not a SHA-256", "Write its 64 hexadecimal digits."),
]
QueryPath = Annotated[
    str,
    Shape(
        r"(?!/)(?!.*(^|/)\.\.(/|$))[^\\:]+\.kql",
        "is not the path of a KQL query",
        "Write it from the top of the repository, with forward slashes, such as deployments/checks/crashes.kql.",
    ),
]
OsBuild = Annotated[
    str,
    Shape(
        r"\d{5}\.\d{1,5}",
        "is not a Windows build",
        'Write build and update revision in quotes, such as "26200.7171"; `winver` shows them.',
    ),
]
VariableName = Annotated[
    str,
    Shape(
        r"[A-Za-z_][A-Za-z0-9_]*",
        "what stands here is not the name of an environment variable",
        "Write the variable's name, such as EVERGOLD_CLIENT_SECRET, and keep the secret itself out of this file "
        "(if one stood here, replace it in Entra).",
        secret=True,
    ),
]
PatchClassification = Literal[
    "Critical", "Security", "UpdateRollUp", "FeaturePack", "ServicePack", "Definition", "Tools", "Updates"
]
StorageAccountType = Literal["Standard_LRS", "Standard_ZRS", "Premium_LRS"]
ReleaseMethod = Literal["opportunistic", "immediate", "scheduled"]
RELEASE_METHODS: tuple[ReleaseMethod, ...] = get_args(ReleaseMethod)
Minutes = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


def _surge(given: Any) -> int | str:
    whole = isinstance(given, int) and not isinstance(given, bool) and given >= 1
    share = isinstance(given, str) and re.fullmatch(r"([1-9]\d?|100)%", given) is not None
    if not whole and not share:
        raise problem(
            f"{given!r} is neither a number of hosts nor a share of the pool",
            'Write a whole number from 1, or a share from "1%" to "100%".',
        )
    return given  # type: ignore[no-any-return]


MaxSurge = Annotated[
    int | str,
    PlainValidator(_surge),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^([1-9][0-9]?|100)%$"}]}
    ),
]


def _warning(text: str) -> str:
    if len(text) > MESSAGE_LIMIT:
        raise problem(f"is {len(text)} characters long", f"Shorten it to {MESSAGE_LIMIT}: longer messages may be cut.")
    strange = sorted(set(re.findall(r"[{}]", re.sub(r"\{(minutes|reason)\}", "", text))))
    if strange:
        raise problem(
            "has braces that mean nothing here", "Only {minutes} and {reason} are filled in; leave other braces out."
        )
    return text


WarningMessage = Annotated[
    str, PlainValidator(_warning), WithJsonSchema({"type": "string", "maxLength": MESSAGE_LIMIT})
]


# Environments


class ClientSecret(Part):
    """A service principal with a secret. The secret stands in an environment variable, never in the file."""

    kind: Literal["client_secret"]
    tenant_id: Guid
    client_id: Guid
    secret_variable: VariableName = Field(description="Name of the environment variable that holds the secret.")


class ManagedIdentity(Part):
    """The identity of the machine that the worker runs on."""

    kind: Literal["managed_identity"]
    client_id: Guid | None = Field(default=None, description="For a user-assigned identity: its client id.")


class WorkloadIdentity(Part):
    """A federated identity in Kubernetes: what the pod's environment says."""

    kind: Literal["workload_identity"]


class AzureCli(Part):
    """Whoever ran `az login` on this machine. For trying things out."""

    kind: Literal["azure_cli"]


class DefaultCredential(Part):
    """azure-identity's own order: environment, workload identity, managed identity, Azure CLI."""

    kind: Literal["default"]


Credential = Annotated[
    ClientSecret | ManagedIdentity | WorkloadIdentity | AzureCli | DefaultCredential, Field(discriminator="kind")
]


class RealTime(Part):
    """The machine's own time."""

    kind: Literal["real"] = "real"


class ScaledTime(Part):
    """Time made faster, for the simulator: at `real_start` the clock showed `virtual_start`."""

    kind: Literal["scaled"]
    speed: float = Field(gt=0, le=100_000, allow_inf_nan=False, description="Simulated seconds per real second.")
    virtual_start: AwareDatetime = Field(description="The simulated time at real_start, such as 2026-11-12T18:00:00Z.")
    real_start: AwareDatetime = Field(description="The machine's time when the simulator started.")


TimeSource = Annotated[RealTime | ScaledTime, Field(discriminator="kind")]


class Environment(Part):
    """One Azure subscription to work in: which cloud, as whom, and where its logs are."""

    name: Name = Field(description="The same as the file's name.")
    cloud: Literal["public", "us_government", "china", "custom"] = Field(description="custom needs endpoints.")
    endpoints: Endpoints | None = Field(default=None, description="Only for cloud: custom.")
    credential: Credential = Field(description="As whom Evergold signs in.")
    subscription_id: Guid
    log_analytics_workspace_id: Guid = Field(description="The workspace id (a GUID), not its resource id.")
    clock: TimeSource = Field(default=RealTime(), description="Leave it out, but for the simulator.")

    @model_validator(mode="after")
    def _endpoints_only_for_custom(self) -> Self:
        if self.cloud == "custom" and self.endpoints is None:
            raise problem(
                "is missing, and cloud is custom", "Add the endpoints, or choose another cloud.", field="endpoints"
            )
        if self.cloud != "custom" and self.endpoints is not None:
            raise problem(
                f"stands here, but cloud is {self.cloud}",
                "Remove the endpoints, or write cloud: custom.",
                field="endpoints",
            )
        return self

    def resolved_endpoints(self) -> Endpoints:
        """Where this environment's cloud answers."""
        return self.endpoints if self.endpoints is not None else CLOUDS[self.cloud]


# Image sets


class Gallery(Part):
    """The image definition that versions are published to. It must exist; Evergold makes versions only."""

    resource_group: ResourceGroup
    name: GalleryName
    image_definition: DefinitionName


class VersionPolicy(Part):
    """How the next version number is made from the last one. One that is given when a run is started goes before."""

    scheme: Literal["bump", "calendar"] = Field(
        default="bump", description="bump: 1.4.0, then 1.5.0. calendar: by the day, 2026.1112.0, then 2026.1112.1."
    )
    bump: Literal["major", "minor", "patch"] = Field(default="minor", description="For bump: which part is raised.")


class MarketplaceSource(Part):
    """Start from Microsoft's image in the marketplace."""

    kind: Literal["marketplace"]
    publisher: str = Field(min_length=1)
    offer: str = Field(min_length=1)
    sku: str = Field(min_length=1)
    version: VersionOrLatest = Field(default="latest", description="latest is looked up once, when a refresh begins.")


class GalleryVersionSource(Part):
    """Start from a version in a Compute Gallery."""

    kind: Literal["gallery_version"]
    resource_group: ResourceGroup
    gallery: GalleryName
    image_definition: DefinitionName
    version: VersionOrLatest = Field(default="latest", description="latest is looked up once, when a refresh begins.")


class SessionHostSource(Part):
    """Start from a copy of a session host's disk. Microsoft advises against it; the evidence says so."""

    kind: Literal["session_host"]
    pool: HostPoolName
    resource_group: ResourceGroup = Field(description="The resource group of the host pool itself.")
    hosts_resource_group: ResourceGroup = Field(description="The resource group of its hosts' machines.")
    host: VmName | None = Field(
        default=None,
        description="Which one; left out: the healthy host on the newest version with the fewest sessions.",
    )
    release_method: Literal["opportunistic", "immediate"] = Field(
        default="opportunistic",
        description="opportunistic: its users are waited for; immediate: they are warned, then signed out.",
    )
    wait_hours: AtLeastOne = Field(default=24, description="How long its users are waited for; then it serves again.")
    disk: Literal["new_vm", "swap_into_template"] = Field(
        default="new_vm",
        description="new_vm: the build machine is made on the copied disk; swap_into_template: the disk is swapped into template_vm.",
    )
    template_vm: VmName | None = Field(
        default=None, description="A VM of yours in build.resource_group, switched off; it gets its own disk back."
    )

    @model_validator(mode="after")
    def _template_where_swapped(self) -> Self:
        if (self.disk == "swap_into_template") is not (self.template_vm is not None):
            raise problem(
                "and disk do not belong together",
                "Name template_vm with disk: swap_into_template, and only with it.",
                field="template_vm",
            )
        return self


Source = Annotated[MarketplaceSource | GalleryVersionSource | SessionHostSource, Field(discriminator="kind")]


class Build(Part):
    """The machine on which an image is built. It exists only during the build."""

    resource_group: ResourceGroup
    vm_size: VmSize
    subnet_id: SubnetId = Field(description="An isolated subnet with a way out to the internet.")
    isolation_waiver: str | None = Field(
        default=None,
        min_length=10,
        description="Only where a copy of a session host is built in a network that is not isolated: why that is right.",
    )
    security_type: Literal["Standard", "TrustedLaunch"] = "TrustedLaunch"
    timeout_minutes: AtLeastOne = 240
    keep_failed_hours: int = Field(
        default=72,
        ge=0,
        description="How long a failed build's machine stays, to be looked at; 0: it is removed at once.",
    )


class ScriptStep(Part):
    """One PowerShell script that is run on the build machine."""

    kind: Literal["script"] = "script"
    name: Name
    script: ScriptPath = Field(description="From the top of the repository.")
    parameters: dict[str, str] = Field(
        default_factory=dict, description="Given to the script as -name value. No secrets."
    )
    secrets: dict[str, VariableName] = Field(
        default_factory=dict,
        description="Likewise, but the value is what the environment variable of this name holds; nobody can read it afterwards.",
    )
    timeout_minutes: AtLeastOne = 60
    expected_exit_codes: tuple[int, ...] = Field(
        default=(0,), min_length=1, description="3010 means success, and a restart is needed."
    )
    reboot_after: bool = False


class PlacedFile(Part):
    """A file that is put on the build machine: one of the repository, or a larger one that the machine fetches."""

    source: FilePath | None = Field(
        default=None, description="From the top of the repository; all of a step 128 KB at most."
    )
    url: HttpsUrl | None = Field(default=None, description="For larger ones: where the build machine fetches it.")
    sha256: Sha256 | None = Field(default=None, description="Of what the URL gives; nothing else is taken.")
    destination: WindowsPath = Field(description="Where on the machine, with its name.")

    @model_validator(mode="after")
    def _comes_from_one_place(self) -> Self:
        if (self.source is None) == (self.url is None):
            raise problem(
                "says neither source nor url" if self.url is None else "says both source and url",
                "Write source for a file of the repository, or url and sha256.",
            )
        if (self.url is None) != (self.sha256 is None):
            raise problem(
                "is missing, and url is given" if self.url else "is given, and url is not",
                "It says what the URL must give: (Get-FileHash FILE).Hash or sha256sum. A file of the repository needs none.",
                field="sha256",
            )
        return self


class FilesStep(Part):
    """Files that are put on the build machine as they are."""

    kind: Literal["files"]
    name: Name
    files: tuple[PlacedFile, ...] = Field(min_length=1)
    query_secret: VariableName | None = Field(
        default=None, description="Environment variable with what is added to every URL: a SAS token, such as ?sv=..."
    )
    timeout_minutes: AtLeastOne = 30


class WindowsUpdateStep(Part):
    """Windows updates, by Azure's own patching, with the restarts they need, until none is missing."""

    kind: Literal["windows_update"]
    name: Name
    classifications: tuple[PatchClassification, ...] = Field(
        default=("Critical", "Security", "UpdateRollUp"), min_length=1
    )
    max_rounds: int = Field(default=3, ge=1, le=10, description="One update may bring another.")
    round_hours: int = Field(default=2, ge=1, le=4, description="How long one round may take.")


class ManualStep(Part):
    """The run waits for a person, who connects to the build machine and changes what no script can."""

    kind: Literal["manual"]
    name: Name
    instructions: str = Field(min_length=1, max_length=2000, description="What is to be done; shown to that person.")
    expires_days: int = Field(default=7, ge=1, le=30, description="How long the run waits for them.")


def kind(given: Any) -> str:
    """A step that does not say its kind is a script."""
    return str(given.get("kind", "script") if isinstance(given, dict) else getattr(given, "kind", "script"))


CustomiseStep = Annotated[
    Annotated[ScriptStep, Tag("script")]
    | Annotated[FilesStep, Tag("files")]
    | Annotated[WindowsUpdateStep, Tag("windows_update")]
    | Annotated[ManualStep, Tag("manual")],
    Discriminator(kind),
]


class Region(Part):
    """A region that the image is copied to."""

    name: Location
    replicas: Annotated[int, Field(ge=1, le=100)] | Literal["auto"] = Field(
        default="auto", description="auto: 1 for every 20 hosts that a rollout may create there at once; or a number."
    )


def _image_name(text: str) -> str:
    plain = text.replace("{image_set}", "").replace("{version}", "")
    if "{version}" not in text or re.fullmatch(r"[A-Za-z0-9_.-]*", plain) is None or len(plain) > 40:
        raise problem(
            f'"{text}" cannot name managed images',
            "Use up to 40 letters, digits and . _ - beside {version}, which must be in it, and {image_set}, which may.",
        )
    return text


class ManagedImage(Part):
    """A managed image of every version, beside the gallery: Windows 365 takes its images from there. Not of Trusted Launch machines."""

    resource_group: ResourceGroup
    name_pattern: Annotated[str, AfterValidator(_image_name)] = Field(
        default="{image_set}-{version}", description="What images are called: {image_set} and {version} are filled in."
    )


class Publish(Part):
    """Where image versions go, and for how long they count as current."""

    regions: tuple[Region, ...] = Field(min_length=1)
    storage_account_type: StorageAccountType = "Standard_LRS"
    end_of_life_days: AtLeastOne = 180
    timeout_minutes: AtLeastOne = Field(
        default=300, description="For the whole publishing, a region's two retries included."
    )
    boot_test: bool = Field(
        default=True,
        description="Try on a machine of its own whether a version comes up, before anything else gets it.",
    )
    managed_image: ManagedImage | None = Field(
        default=None, description="Also make a managed image, for Windows 365. Needs build.security_type: Standard."
    )


class OwnScript(Part):
    """A check of your own: a PowerShell script that is run on the canary. It passes when it exits with 0."""

    kind: Literal["script"]
    name: Name
    script: ScriptPath = Field(description="From the top of the repository.")
    parameters: dict[str, str] = Field(
        default_factory=dict, description="Given to the script as -name value. No secrets."
    )
    timeout_minutes: AtLeastOne = 10
    otherwise: Literal["fail", "warn"] = Field(default="fail", description="What it means when it does not pass.")
    remedy: str = Field(min_length=1, description="What to do when it does not pass: shown beside it.")


class OwnQuery(Part):
    """A check of your own: a KQL query about the canary. It passes when it finds no rows, or when it finds some."""

    kind: Literal["query"]
    name: Name
    query: QueryPath = Field(description="From the top of the repository.")
    parameters: dict[str, str] = Field(
        default_factory=dict,
        description="Values for the query's own `let` lines; machine, host, pool and within are filled in.",
    )
    within_minutes: AtLeastOne = Field(default=60, description="How far back to look.")
    passes_with: Literal["no rows", "rows"] = "no rows"
    otherwise: Literal["fail", "warn"] = Field(default="fail", description="What it means when it does not pass.")
    remedy: str = Field(min_length=1, description="What to do when it does not pass: shown beside it.")


OwnCheck = Annotated[OwnScript | OwnQuery, Field(discriminator="kind")]


class Checks(Part):
    """What the canary must show before anybody is asked to approve."""

    heartbeat_max_age_minutes: AtLeastOne = 15
    ingestion_delay_max_minutes: AtLeastOne = Field(
        default=10, description="Logs that arrive later than this are a warning."
    )
    patch_assessment_max_age_minutes: AtLeastOne = 1440
    minimum_os_build: OsBuild | None = Field(
        default=None, description="Windows build and update revision that no host may be below, such as 26200.7171."
    )
    settle_timeout_minutes: AtLeastOne = Field(
        default=60, description="How long the canary may take to become healthy."
    )
    timeout_minutes: AtLeastOne = Field(default=60, description="How long one check may take; then it is unknown.")
    script_timeout_minutes: AtLeastOne = Field(default=15, description="How long a script of a check may run.")
    allowed_failing_health_checks: tuple[str, ...] = Field(
        default=(), description="Names of AVD health checks that may fail, such as MonitoringAgentCheck."
    )
    sign_in_min_attempts: AtLeastOne = Field(
        default=5, description="With fewer sign-ins on new hosts, failures are a warning."
    )
    sign_in_margin_percent: int = Field(
        default=10, ge=0, le=100, description="Points by which sign-in may fail more often on new hosts than on old."
    )
    programs: tuple[
        Annotated[
            str,
            Shape(
                r"[\w .-]+\.(exe|EXE)",
                "is not the name of a program",
                "Write it as in the registry's App Paths, such as WINWORD.EXE.",
            ),
        ],
        ...,
    ] = Field(
        default=("WINWORD.EXE", "EXCEL.EXE", "POWERPNT.EXE", "msedge.exe"),
        description="Programs that are started on the canary, those of them that are there; empty: none are.",
    )
    fslogix: bool = Field(default=False, description="Whether hosts keep profiles with FSLogix, and that is checked.")
    own: tuple[OwnCheck, ...] = Field(default=(), description="Checks of your own: scripts and queries.")


class Approval(Part):
    """Who may approve, and for how long the question stands."""

    approvers: tuple[str, ...] = Field(default=(), description="Names that may approve; empty: anyone.")
    four_eyes: bool = Field(
        default=False, description="Whoever asked for the refresh may not approve it. Needs started_by in runs by hand."
    )
    release_methods: tuple[ReleaseMethod, ...] = Field(
        default=("opportunistic",),
        description="Release methods that an approver may choose instead of the ones below.",
    )
    expires_days: AtLeastOne = 14


class MaintenanceWindow(Part):
    """A time that comes every week, in which a scheduled rollout may go on."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(
        min_length=1, description="The days on which it begins."
    )
    start: Annotated[
        str, Shape(r"([01][0-9]|2[0-3]):[0-5][0-9]", "is not a time of day", 'Write it in quotes, such as "22:00".')
    ]
    minutes: AtLeastOne = Field(description="How long it lasts; it may reach into the next days.")
    time_zone: str = Field(description="Whose clock start is read from, such as Europe/Amsterdam.")

    @model_validator(mode="after")
    def _zone_is_known(self) -> Self:
        if self.time_zone not in available_timezones():
            raise problem(
                f'"{self.time_zone}" is no time zone that is known here',
                "Write it as the tz database names it, such as Europe/Amsterdam or America/New_York.",
                field="time_zone",
            )
        return self


class RolloutPolicy(Part):
    """How hosts are replaced. Minutes and days are real time."""

    release_method: ReleaseMethod = Field(
        default="opportunistic",
        description="opportunistic: nobody is signed out; immediate: after a warning, now; scheduled: the same, at a time.",
    )
    strategy: Literal["surge", "in_place"] = Field(
        default="surge",
        description=(
            "surge: new hosts first, old ones are kept for retain_days; in_place: an old host is deleted, and its successor has its name, "
            "and its address where that is static. "
            "Personal pools: in_place, and only hosts that are nobody's."
        ),
    )
    max_surge: MaxSurge = Field(
        default=1, description='Hosts above the pool\'s size: a number, or a share such as "20%".'
    )
    capacity_floor_percent: int = Field(
        default=80,
        ge=0,
        le=100,
        description="Share of the pool's session capacity that stays available at all times. In a scaling plan's quiet time no more "
        "than the plan's own least share has to be open, and the rest sleeps, to be woken before ramp-up.",
    )
    warn_minutes: Minutes = Field(default=5, description="From the warning to the sign-out.")
    warn_again_minutes: Minutes = Field(
        default=0,
        description="The warning is repeated this often, with the minutes that are left; 0: it is given once.",
    )
    warning_message: WarningMessage = Field(
        default=(
            "{reason}: please save your work. You will be signed out in {minutes} minutes and can sign in again at once; "
            "your desktop will be up to date."
        ),
        description="{minutes} and {reason} are filled in.",
    )
    settle_minutes: Minutes = Field(default=5, description="From the last sign-out to power-off.")
    min_drain_minutes: Minutes = Field(default=15, description="How long a host drains at least, even when empty.")
    min_ready_minutes: Minutes = Field(default=2, description="How long a new host must stay healthy to count.")
    heartbeat_max_age_minutes: AtLeastOne = Field(default=5, description="An older heartbeat means: not available.")
    join_timeout_minutes: AtLeastOne = Field(default=90, description="From creation to available.")
    failure_budget: int = Field(default=1, ge=0, description="Failed hosts after which a rollout halts by itself.")
    retry_minutes: Minutes = Field(
        default=5, description="From a failed host to the next try; doubled with each further one, up to an hour."
    )
    waves: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(
        default=(20, 60, 100),
        description="Shares of a pool, in percent: the next begins when the hosts of the one before serve.",
    )
    wave_bake_minutes: Minutes = Field(
        default=15,
        description="How long a share's hosts are in use before sign-in to them is judged and the next begins.",
    )
    retain_days: int = Field(default=3, ge=0, description="How long old hosts stay, switched off: the way back.")
    scheduled_start: AwareDatetime | None = Field(
        default=None, description="For scheduled: when users may be moved, such as 2026-11-14T22:00:00+01:00."
    )

    windows: tuple[MaintenanceWindow, ...] = Field(
        default=(), description="For scheduled: when a rollout may go on; without any, from scheduled_start to its end."
    )

    @model_validator(mode="after")
    def _in_place_neither_surges_nor_retains(self) -> Self:
        if self.strategy == "in_place":
            for field in ("max_surge", "retain_days"):
                if field in self.model_fields_set:
                    raise problem(
                        "means nothing where strategy is in_place: a host is deleted before its successor is made",
                        "Leave it out, or use the strategy surge.",
                        field=field,
                    )
        return self

    @model_validator(mode="after")
    def _a_reminder_comes_before_the_sign_out(self) -> Self:
        if self.warn_again_minutes and self.warn_again_minutes >= self.warn_minutes:
            raise problem(
                f"is {self.warn_again_minutes}, and people are signed out after {self.warn_minutes}",
                "Make it shorter than warn_minutes, or leave it out.",
                field="warn_again_minutes",
            )
        return self

    @model_validator(mode="after")
    def _windows_have_room_for_a_warning(self) -> Self:
        least = self.warn_minutes + 2 * SIGN_OUT_MINUTES
        for number, window in enumerate(self.windows):
            if window.minutes < least:
                raise problem(
                    f"lasts {window.minutes} minutes, and nobody could be warned and signed out in it",
                    f"Make it {least} minutes long at least, or warn_minutes shorter.",
                    field=f"windows[{number}]",
                )
        return self

    @model_validator(mode="after")
    def _scheduled_has_a_time(self) -> Self:
        if self.release_method == "scheduled" and self.scheduled_start is None and not self.windows:
            raise problem(
                "is missing, and release_method is scheduled",
                "Add when users may be moved, such as 2026-11-14T22:00:00+01:00.",
                field="scheduled_start",
            )
        return self

    @model_validator(mode="after")
    def _waves_lead_to_the_whole_pool(self) -> Self:
        if not self.waves or list(self.waves) != sorted(set(self.waves)) or self.waves[-1] != 100:
            raise problem(
                "does not ascend to 100",
                "Write ascending shares that end with 100, such as [20, 60, 100].",
                field="waves",
            )
        return self

    def surge_hosts(self, pool_size: int) -> int:
        """How many hosts may stand above a pool of `pool_size` hosts: a share is rounded up, and never below 1."""
        if isinstance(self.max_surge, int):
            return self.max_surge
        percent = int(self.max_surge.removesuffix("%"))
        return max(1, -(-pool_size * percent // 100))


class PoolHosts(Part):
    """How a pool's new hosts are made."""

    resource_group: ResourceGroup
    name_prefix: NamePrefix = Field(description="Computer names are this and a number.")
    vm_size: VmSize
    subnet_id: SubnetId
    join: Literal["entra"] = "entra"
    os_disk_type: Literal["Standard_LRS", "StandardSSD_LRS", "Premium_LRS", "StandardSSD_ZRS", "Premium_ZRS"] = (
        "Premium_LRS"
    )
    zones: tuple[Literal["1", "2", "3"], ...] = Field(
        default=(), description="Availability zones to spread hosts over."
    )


class Pool(Part):
    """A host pool, and how its hosts are made."""

    name: HostPoolName
    resource_group: ResourceGroup = Field(description="The resource group of the host pool itself.")
    hosts: PoolHosts


class Ring(Part):
    """Host pools that are rolled out together. Rings go in the order in which they stand."""

    name: Name
    pools: tuple[Pool, ...] = Field(min_length=1)
    bake_minutes: Minutes = Field(default=1440, description="Time between this ring and the next, to notice trouble.")
    release_method: ReleaseMethod | None = Field(
        default=None, description="Instead of the rollout's own, for this ring."
    )
    approve: bool = Field(
        default=False,
        description="Ask again before this ring begins. The first ring needs no question of its own: the refresh's approval lets it in.",
    )


class Retention(Part):
    """What is kept of earlier refreshes, whatever else happens. What something still needs is never deleted."""

    keep_versions: AtLeastOne = Field(default=3, description="Newest image versions that are never deleted.")
    keep_snapshots: AtLeastOne = Field(
        default=2, description="Newest snapshots from before sysprep that are never deleted."
    )
    keep_rejected_days: int = Field(
        default=30, ge=0, description="How long a version that nobody gets (rejected, given up, withdrawn) is kept."
    )


class CloudPcRing(Part):
    """People whose Cloud PCs are reprovisioned together. A ring that names nobody is for everyone whom no other ring names."""

    name: Name
    users: tuple[str, ...] = Field(default=(), description="Sign-in names, such as ada@contoso.com.")
    groups: tuple[Guid, ...] = Field(default=(), description="Object ids of groups in Entra ID; their members count.")
    bake_minutes: Minutes = Field(default=1440, description="Time between this ring and the next, to notice trouble.")

    @property
    def is_rest(self) -> bool:
        """Whether it is for everyone whom no other ring names."""
        return not self.users and not self.groups


class CloudPcSafety(Part):
    """What must be so before a Cloud PC may lose its disk. Every point can be waived for one user, by name and with a reason."""

    restore_point_max_age_hours: AtLeastOne = Field(
        default=24, description="A restore point must be younger, seen, and newer than the user's last work."
    )
    restore_point_timeout_minutes: AtLeastOne = Field(
        default=180, description="How long one may take to be seen; Microsoft says it can be over an hour."
    )
    share_snapshots_to: str | None = Field(
        default=None,
        description="Resource id of a storage account that gets a copy as well: restore points may not survive a reprovision.",
    )
    known_folders: Literal["ignore", "warn", "required"] = Field(
        default="warn",
        description="Whether Desktop, Documents and Pictures must be in OneDrive, where Intune reports it.",
    )
    known_folders_script: Guid | None = Field(
        default=None, description="Id of the Intune remediation whose detection finds no issue where they are."
    )
    notice_days: int = Field(default=3, ge=0, description="Days between telling the user and the reprovision.")
    max_days_since_sign_in: AtLeastOne = Field(
        default=60, description="Whoever was away longer is left alone: nobody would notice what was lost."
    )

    @model_validator(mode="after")
    def _required_can_be_seen(self) -> Self:
        if self.known_folders == "required" and self.known_folders_script is None:
            raise problem(
                "is required, and nothing reports it",
                "Add known_folders_script, the id of an Intune remediation (docs/windows-365.md has its script), or write warn.",
                field="known_folders",
            )
        return self


def _cloud_image_name(text: str) -> str:
    if text.count("{version}") != 1 or re.search(r"[{}]", text.replace("{version}", "").replace("{image_set}", "")):
        raise problem(
            "does not tell versions apart",
            'Write {version} in it once, as in "{image_set} {version}": Cloud PCs tell only the name of the image that is on them.',
        )
    return text


class CloudPcs(Part):
    """The Cloud PCs of Windows 365 that the image set serves. It takes a single-session image: multi-session is for AVD alone."""

    image_name: Annotated[str, PlainValidator(_cloud_image_name), WithJsonSchema({"type": "string"})] = Field(
        default="{image_set} {version}", description="What the image is called in Intune."
    )
    source: Literal["gallery", "managed_image"] = Field(
        default="gallery",
        description="gallery: the image version itself (public preview); managed_image: a managed image.",
    )
    managed_image: str | None = Field(
        default=None, description="Name of the managed image in the gallery's resource group, with {version} in it."
    )
    rules: Literal["today", "2022"] = Field(
        default="today", description="today: generation 2; 2022: generation 1, for tenants that still have such images."
    )
    provisioning_policies: tuple[str, ...] = Field(min_length=1, max_length=4, description="Their names.")
    rings: tuple[CloudPcRing, ...] = Field(
        min_length=1, description="In this order; the last may name nobody: everyone else."
    )
    waves: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(
        default=(20, 60, 100),
        min_length=1,
        description="Shares of a ring, in percent: each begins when the one before is done.",
    )
    windows: tuple[MaintenanceWindow, ...] = Field(
        default=(), description="When Cloud PCs may be reprovisioned; none: any time."
    )
    release_method: ReleaseMethod = Field(
        default="opportunistic",
        description="opportunistic: whoever is signed in is waited for; immediate: warned, and then reprovisioned, where their known "
        "folders are in OneDrive; scheduled: the same, in the windows alone.",
    )
    warn_minutes: int = Field(
        default=60, ge=15, description="From the warning of somebody who is signed in to the reprovision."
    )
    safety: CloudPcSafety = CloudPcSafety()
    api: Literal["bulk", "single"] = Field(
        default="bulk", description="bulk: one request for a wave (Graph beta); single: one a Cloud PC (Graph v1.0)."
    )
    max_at_once: int = Field(default=20, ge=1, le=100, description="Cloud PCs that are reprovisioned at the same time.")
    failure_budget: int = Field(default=1, ge=0, description="Failed Cloud PCs after which it halts by itself.")
    import_timeout_minutes: AtLeastOne = 240
    reprovision_timeout_minutes: AtLeastOne = Field(
        default=180, description="The guide says 40; the service tries thrice."
    )
    give_up_days: AtLeastOne = Field(default=7, description="Whoever is still signed in or held back then, is left.")
    keep_images: int = Field(
        default=3, ge=1, le=19, description="Newest images in Intune that are never deleted; 20 fit."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.source == "managed_image") != (self.managed_image is not None):
            raise problem(
                "and source do not fit together",
                "Give managed_image exactly where source is managed_image.",
                field="managed_image",
            )
        if any(ring.is_rest for ring in self.rings[:-1]):
            raise problem(
                "has a ring that names nobody before the last one",
                "Give it users or groups, or put it last.",
                field="rings",
            )
        if self.waves[-1] != 100 or list(self.waves) != sorted(set(self.waves)):
            raise problem(
                "do not grow to 100", "Write growing shares that end in 100, such as [20, 60, 100].", field="waves"
            )
        if self.release_method != "opportunistic" and self.safety.known_folders_script is None:
            raise problem(
                "takes Cloud PCs from people who are signed in, and nothing reports that their files are in OneDrive",
                "Add safety.known_folders_script, the id of an Intune remediation (docs/windows-365.md), or write opportunistic.",
                field="release_method",
            )
        if self.release_method == "scheduled" and not self.windows:
            raise problem(
                "is scheduled, and there are no windows", "Add windows, or write immediate.", field="release_method"
            )
        return self


class ImageSet(Part):
    """One golden image and all that uses it."""

    name: Name = Field(description="The same as the file's name.")
    description: str = ""
    environment: Name = Field(description="A file in deployments/environments, without .yaml.")
    location: Location = Field(description="The region of the gallery, the build and the hosts.")
    gallery: Gallery
    version: VersionPolicy = VersionPolicy()
    source: Source
    build: Build
    customise: tuple[CustomiseStep, ...] = Field(
        default=(), description="What is done to the build machine, in this order."
    )
    publish: Publish
    checks: Checks = Checks()
    approval: Approval = Approval()
    rollout: RolloutPolicy = RolloutPolicy()
    rings: tuple[Ring, ...] = Field(
        default=(), description="Host pools; may be left out where only cloud_pcs are served."
    )
    cloud_pcs: CloudPcs | None = Field(default=None, description="Cloud PCs of Windows 365 that get the image too.")
    retention: Retention = Retention()

    @model_validator(mode="after")
    def _steps_find_room_on_the_machine(self) -> Self:
        count = sum(isinstance(step, ScriptStep | FilesStep) for step in self.customise)
        if count > MOST_SCRIPTS:
            raise problem(
                f"has {count} steps that run a script, and {MOST_SCRIPTS} find room on a machine",
                "Take some together: a machine has room for 25 run commands, the build's own among them.",
                field="customise",
            )
        return self

    @model_validator(mode="after")
    def _serves_somebody(self) -> Self:
        if not self.rings and self.cloud_pcs is None:
            raise problem("is empty, and there are no cloud_pcs", "Add a ring with a host pool.", field="rings")
        return self
