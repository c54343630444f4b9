"""What the PUT of a new virtual machine asks for, read and judged before anything is made.

The rules are those at which Azure refuses at once: a computer name Windows can have, a password it takes, a user name it allows, and
the parts that are required. What depends on the rest of the world (image, quota, subnet) is judged by `Compute`.
"""

import re
from dataclasses import dataclass
from typing import Any

from simulator.kernel.arm import ArmError, ArmRequest, Json

FORBIDDEN_IN_NAMES = re.compile(r"[`~!@#$%^&*()=+_\[\]{}\\|;:.'\",<>/?\s]")
FORBIDDEN_USERS = frozenset({"administrator", "admin", "user", "guest", "test", "root"})
WITHOUT = ("adminPassword", "secrets")


@dataclass(frozen=True)
class Order:
    """A virtual machine that was asked for. `keeps_...` says what is left when it is deleted."""

    location: str
    size: str
    computer_name: str
    admin_username: str
    admin_password: str
    image: Json
    security_type: str
    subnet: str  # of the card that is made with it; "" where it has one that is there
    nic_name: str
    disk_name: str | None
    disk_sku: str
    disk_size_gb: int
    keeps_nic: bool
    keeps_disk: bool
    zones: list[str]
    tags: dict[str, str]
    nic_tags: dict[str, str]
    identity: bool
    plan: Json | None
    given: Json
    attached: str | None = None  # the id of an OS disk that is there already
    card: str | None = None  # the id of a network card that is there already


def order_of(request: ArmRequest) -> Order:
    """What the body of a PUT asks for. Raises Azure's refusals."""
    body = request.body
    properties = _part(body, "properties")
    if not body.get("location"):
        raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
    size = _part(properties, "hardwareProfile").get("vmSize")
    if not size:
        raise missing("hardwareProfile.vmSize")
    storage = _part(properties, "storageProfile")
    disk = storage.get("osDisk") or {}
    managed = disk.get("managedDisk") or {}
    attached = _attached(properties, disk)
    os_profile = _part(properties, "osProfile") if attached is None else {}
    computer_name = os_profile.get("computerName") or request["name"]
    check_computer_name(computer_name)
    if attached is None:
        _check_administrator(os_profile)
    card, subnet = _card(properties)
    card_properties = card.get("properties") or {}
    return Order(
        location=body["location"],
        size=size,
        computer_name=computer_name,
        admin_username=os_profile.get("adminUsername", ""),
        admin_password=os_profile.get("adminPassword", ""),
        image=dict(storage.get("imageReference") or {}),
        security_type=(properties.get("securityProfile") or {}).get("securityType") or "Standard",
        subnet=subnet,
        nic_name=card.get("name") or f"{request['name']}-nic",
        disk_name=disk.get("name"),
        disk_sku=managed.get("storageAccountType") or "Premium_LRS",
        disk_size_gb=int(disk.get("diskSizeGB") or 127),
        keeps_nic=card_properties.get("deleteOption") != "Delete",
        keeps_disk=disk.get("deleteOption") != "Delete",
        zones=list(body.get("zones") or []),
        tags=dict(body.get("tags") or {}),
        nic_tags=dict(card.get("tags") or {}),
        identity="systemassigned" in str((body.get("identity") or {}).get("type", "")).lower(),
        plan=body.get("plan"),
        given=without_secrets(properties),
        attached=attached,
        card=card.get("id"),
    )


def missing(what: str) -> ArmError:
    """400 for a part of the body that is required."""
    return ArmError(400, "InvalidParameter", f"Required parameter '{what}' is missing (null).", target=what)


def check_computer_name(name: str) -> None:
    """Raises where Windows would refuse the name."""
    if len(name) > 15 or name.isdigit() or FORBIDDEN_IN_NAMES.search(name):
        raise ArmError(
            400,
            "InvalidParameter",
            "Windows computer name cannot be more than 15 characters long, be entirely numeric, or contain the following "
            "characters: ` ~ ! @ # $ % ^ & * ( ) = + _ [ ] { } \\ | ; : . ' \" , < > / ?.",
            target="computerName",
        )


def without_secrets(properties: Json) -> Json:
    """The properties of a PUT without what Azure never returns."""
    os_profile = {k: v for k, v in (properties.get("osProfile") or {}).items() if k not in WITHOUT}
    return {**properties, "osProfile": os_profile}


def _attached(properties: Json, disk: Json) -> str | None:
    """The disk that is to be attached as it is. Windows on it is set up, so there is nothing to tell it."""
    if disk.get("createOption") != "Attach":
        return None
    if properties.get("osProfile"):
        raise ArmError(400, "InvalidParameter", "Parameter 'osProfile' is not allowed.", target="osProfile")
    found = (disk.get("managedDisk") or {}).get("id")
    if not found:
        raise missing("osDisk.managedDisk.id")
    return str(found)


def _part(of: Json, name: str) -> Json:
    found: Any = of.get(name)
    if not isinstance(found, dict):
        raise missing(name)
    return found


def _check_administrator(os_profile: Json) -> None:
    user, password = os_profile.get("adminUsername"), os_profile.get("adminPassword")
    for name, value in (("adminUsername", user), ("adminPassword", password)):
        if not value:
            raise missing(name)
    if str(user).lower() in FORBIDDEN_USERS or str(user).endswith("."):
        raise ArmError(400, "InvalidParameter", "The Admin Username specified is not allowed.", target="adminUsername")
    kinds = (r"[A-Z]", r"[a-z]", r"[0-9]", r"[^A-Za-z0-9]")
    if not 8 <= len(str(password)) <= 123 or sum(bool(re.search(kind, str(password))) for kind in kinds) < 3:
        raise ArmError(
            400,
            "InvalidParameter",
            "The supplied password must be between 8-123 characters long and must satisfy at least 3 of password complexity "
            "requirements from the following:\r\n1) Contains an uppercase character\r\n2) Contains a lowercase "
            "character\r\n3) Contains a numeric digit\r\n4) Contains a special character\r\n5) Control characters are not allowed",
            target="adminPassword",
        )


def _card(properties: Json) -> tuple[Json, str]:
    """The VM's one network card: one that is there, or one that is made with it, and then its subnet."""
    profile = _part(properties, "networkProfile")
    for card in profile.get("networkInterfaces") or []:
        if card.get("id"):
            return card, ""
    for card in profile.get("networkInterfaceConfigurations") or []:
        for address in (card.get("properties") or {}).get("ipConfigurations") or []:
            subnet = ((address.get("properties") or {}).get("subnet") or {}).get("id")
            if subnet:
                return card, str(subnet)
    raise ArmError(
        400,
        "InvalidParameter",
        "The simulator makes VMs with one network card: networkProfile has to name it under networkInterfaces, or have it made under "
        "networkInterfaceConfigurations, with a subnet.",
        target="networkProfile",
    )
