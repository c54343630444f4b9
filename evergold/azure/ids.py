"""Azure resource ids: reading them, and telling whether two are the same.

Azure compares ids without regard to case, and services return them in different cases (Azure Virtual Desktop in lower
case), so ids are never compared with `==`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ResourceId:
    """The parts of an id.

    Attributes:
        subscription: the subscription's GUID.
        resource_group: the resource group's name.
        kind: provider and types, such as "Microsoft.Network/virtualNetworks/subnets".
        names: one name a type, outermost first.

    """

    subscription: str
    resource_group: str
    kind: str
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The innermost name."""
        return self.names[-1]

    @classmethod
    def parse(cls, text: str) -> ResourceId:
        """Read the id of a resource in a resource group; ValueError if it is not one."""
        parts = text.strip("/").split("/")
        if len(parts) < 8 or len(parts) % 2 or [parts[i].lower() for i in (0, 2, 4)] != _FIXED:
            raise ValueError(f"{text!r} is not the id of a resource in a resource group.")
        return cls(parts[1], parts[3], "/".join([parts[5], *parts[6::2]]), tuple(parts[7::2]))

    def __str__(self) -> str:
        provider, *types = self.kind.split("/")
        path = "/".join(f"{kind}/{name}" for kind, name in zip(types, self.names, strict=True))
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}/providers/{provider}/{path}"


_FIXED = ["subscriptions", "resourcegroups", "providers"]


def key(resource_id: str) -> str:
    """The id in the form to compare and to look up by."""
    return resource_id.strip().rstrip("/").casefold()


def same(one: str | None, other: str | None) -> bool:
    """Whether two ids name the same resource; nothing is the same as an absent id."""
    return bool(one) and bool(other) and key(one or "") == key(other or "")


def vm_id(subscription: str, resource_group: str, name: str) -> str:
    """The id of a virtual machine."""
    return str(ResourceId(subscription, resource_group, "Microsoft.Compute/virtualMachines", (name,)))


def host_pool_id(subscription: str, resource_group: str, name: str) -> str:
    """The id of a host pool."""
    return str(ResourceId(subscription, resource_group, "Microsoft.DesktopVirtualization/hostPools", (name,)))


def image_version_id(subscription: str, resource_group: str, gallery: str, definition: str, version: str) -> str:
    """The id of an image version in a gallery."""
    kind = "Microsoft.Compute/galleries/images/versions"
    return str(ResourceId(subscription, resource_group, kind, (gallery, definition, version)))
