"""Virtual networks, subnets and their security groups, to read; and the network cards of virtual machines.

A card that is made with its VM has a dynamic address. Somebody may have made it static since: the world says so of a pool's hosts
(`static_addresses`). Whether a card goes with its VM is said on the VM's reference to it (`deleteOption`); one that is left keeps its
address, and another VM may be made with it. What Azure refuses there was seen in others' reports: a card that a VM has already is
"NicInUse" (pulumi/pulumi-azure#441, cloudfoundry/docs-bosh#155), and one whose VM could not be provisioned is reserved for that VM for
three minutes, "NicReservedForAnotherVm" (rancher/machine#359, gardenlinux/gardenlinux#4133). Assumed: a card that is not there, or in
another region, is an InvalidResourceReference, as a missing subnet is.
"""

import heapq
import ipaddress
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from simulator.cloud import Cloud

RESERVED = 5  # addresses of every subnet that Azure keeps for itself
RESERVED_FOR = timedelta(seconds=180)  # a card whose VM could not be provisioned


@dataclass
class Nic:
    """A network card with one address. `reserved_for` is a VM that was to have it, and `reserved_until` how long it still may."""

    id: str
    name: str
    group: str
    location: str
    subnet: str
    address: str
    vm: str | None
    tags: dict[str, str] = field(default_factory=dict)
    static: bool = False
    reserved_for: str = ""
    reserved_until: datetime | None = None

    def body(self) -> Json:
        """The resource as a GET shows it."""
        body: Json = {
            "id": self.id,
            "name": self.name,
            "type": "Microsoft.Network/networkInterfaces",
            "location": self.location,
            "tags": dict(self.tags),
            "properties": {
                "provisioningState": "Succeeded",
                "ipConfigurations": [
                    {
                        "id": f"{self.id}/ipConfigurations/ipconfig1",
                        "name": "ipconfig1",
                        "type": "Microsoft.Network/networkInterfaces/ipConfigurations",
                        "properties": {
                            "provisioningState": "Succeeded",
                            "privateIPAddress": self.address,
                            "privateIPAllocationMethod": "Static" if self.static else "Dynamic",
                            "subnet": {"id": self.subnet},
                            "primary": True,
                        },
                    }
                ],
                "primary": True,
            },
        }
        if self.vm:
            body["properties"]["virtualMachine"] = {"id": self.vm}
        return body


@dataclass
class SubnetState:
    """A subnet and the cards in it."""

    id: str
    name: str
    prefix: str
    security_group: str | None = None  # its id
    nics: dict[str, Nic] = field(default_factory=dict)  # by id in lower case
    _never_taken: int = RESERVED - 1  # the lowest address, as a number in the subnet, that nobody has ever had
    _given_back: list[int] = field(default_factory=list)  # a heap; all of them are below that

    @cached_property
    def _whole(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return ipaddress.ip_network(self.prefix)

    def take_address(self) -> str | None:
        """The lowest address that nobody has, which is now taken; None where there is none left."""
        if self._given_back:
            return str(self._whole[heapq.heappop(self._given_back)])
        if self._never_taken >= self._whole.num_addresses - 1:
            return None
        self._never_taken += 1
        return str(self._whole[self._never_taken - 1])

    def remove(self, nic: Nic) -> None:
        """Takes a card out, and its address back."""
        del self.nics[nic.id.lower()]
        number = int(ipaddress.ip_address(nic.address)) - int(self._whole.network_address)
        heapq.heappush(self._given_back, number)

    def body(self) -> Json:
        """The resource as a GET shows it."""
        guarded = {"networkSecurityGroup": {"id": self.security_group}} if self.security_group else {}
        return {
            "id": self.id,
            "name": self.name,
            "type": "Microsoft.Network/virtualNetworks/subnets",
            "properties": {
                **guarded,
                "provisioningState": "Succeeded",
                "addressPrefix": self.prefix,
                "ipConfigurations": [{"id": f"{nic.id}/ipConfigurations/ipconfig1"} for nic in self.nics.values()],
                "delegations": [],
                "privateEndpointNetworkPolicies": "Disabled",
                "privateLinkServiceNetworkPolicies": "Enabled",
            },
        }


class Network:
    """Virtual networks as the other services need them."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._subnets: dict[str, SubnetState] = {}

    def populate(self) -> None:
        """Makes the scenario's subnets."""
        for subnet in self._cloud.scenario.subnets:
            path = f"Microsoft.Network/virtualNetworks/{subnet.network}/subnets/{subnet.name}"
            found = resource_id(self._cloud.scenario.subscription_id, subnet.resource_group, path)
            guard = subnet.security_group and resource_id(
                self._cloud.scenario.subscription_id,
                subnet.resource_group,
                f"Microsoft.Network/networkSecurityGroups/{subnet.security_group}",
            )
            self._subnets[found.lower()] = SubnetState(found, subnet.name, subnet.prefix, guard)

    def routes(self) -> list[Route]:
        """Networks, subnets, security groups and network cards, to read."""
        return [
            Route("GET", group_path("Microsoft.Network/virtualNetworks/{network}"), self._get_network),
            Route("GET", group_path("Microsoft.Network/networkSecurityGroups/{name}"), self._get_security_group),
            Route("GET", group_path("Microsoft.Network/virtualNetworks/{network}/subnets/{name}"), self._get_subnet),
            Route("GET", group_path("Microsoft.Network/networkInterfaces/{name}"), self._get_nic),
            Route("GET", group_path("Microsoft.Network/networkInterfaces"), self._list_nics),
        ]

    def subnet_id(self, network_and_name: str) -> str:
        """The id of a scenario's subnet written "network/name"."""
        network, _, name = network_and_name.partition("/")
        ending = f"/virtualnetworks/{network}/subnets/{name}".lower()
        return next(subnet.id for key, subnet in self._subnets.items() if key.endswith(ending))

    def join(self, subnet_id: str, nic_id: str, location: str, vm: str, tags: dict[str, str]) -> Nic:
        """Gives a new card an address. Raises where the subnet is missing or full."""
        subnet = self._subnets.get(subnet_id.lower())
        if subnet is None:
            raise ArmError(
                404,
                "NotFound",
                f"Resource {subnet_id} not found.",
            )
        if self.find(nic_id) is not None:
            raise ArmError(
                409,
                "NicInUse",
                f"Network Interface {nic_id} is used by an existing resource and cannot be made again.",
            )
        address = subnet.take_address()
        if address is None:
            raise ArmError(
                400,
                "SubnetIsFull",
                f"Subnet {subnet.name} with address prefix {subnet.prefix} does not have enough capacity for 1 IP addresses.",
            )
        match = re.search(r"/resourceGroups/([^/]+)/", nic_id, re.IGNORECASE)
        nic = Nic(nic_id, nic_id.rpartition("/")[2], match[1] if match else "", location, subnet.id, address, vm, tags)
        subnet.nics[nic_id.lower()] = nic
        return nic

    def leave(self, nic_id: str) -> None:
        """Removes a card, if it is there."""
        for subnet in self._subnets.values():
            if nic := subnet.nics.get(nic_id.lower()):
                subnet.remove(nic)

    def attach(self, nic_id: str, location: str, vm: str) -> Nic:
        """Gives a card that is there to a VM. Raises where there is none, or another VM has it or is to have it."""
        nic = self.find(nic_id)
        if nic is None or not same(nic.location, location):
            raise ArmError(
                400,
                "InvalidResourceReference",
                f"Resource {nic_id} referenced by resource {vm} was not found. Please make sure that the referenced resource exists, "
                "and that both resources are in the same region.",
            )
        if nic.vm:
            raise ArmError(
                400,
                "NicInUse",
                f"Network Interface {nic.id} is used by existing resource {nic.vm}. In order to delete the network interface, it must be "
                "dissociated from the resource. To learn more, see aka.ms/deletenic.",
            )
        if (
            nic.reserved_until is not None
            and self._cloud.world.now < nic.reserved_until
            and not same(nic.reserved_for, vm)
        ):
            raise ArmError(
                400,
                "NicReservedForAnotherVm",
                "Nic(s) in request is reserved for another Virtual Machine for 180 seconds. Please provide another nic(s) or retry after "
                f"180 seconds. Reserved VM: {nic.reserved_for}",
            )
        nic.vm, nic.reserved_until = vm, None
        return nic

    def detach(self, nic_id: str, *, failed: bool = False) -> None:
        """Leaves a card behind whose VM is gone; `failed` says that the VM had not been provisioned."""
        if nic := self.find(nic_id):
            if failed:
                nic.reserved_for, nic.reserved_until = nic.vm or "", self._cloud.world.now + RESERVED_FOR
            nic.vm = None

    def find(self, nic_id: str) -> Nic | None:
        """The card with this id."""
        return next((each.nics[nic_id.lower()] for each in self._subnets.values() if nic_id.lower() in each.nics), None)

    def nics(self) -> list[Nic]:
        """Every card."""
        return [nic for subnet in self._subnets.values() for nic in subnet.nics.values()]

    def _get_subnet(self, request: ArmRequest) -> Reply:
        path = f"Microsoft.Network/virtualNetworks/{request['network']}/subnets/{request['name']}"
        found = self._subnets.get(resource_id(request["subscription"], request["group"], path).lower())
        if found is None:
            raise not_found(f"Microsoft.Network/virtualNetworks/{request['network']}", request["group"])
        return Reply(200, found.body())

    def _get_network(self, request: ArmRequest) -> Reply:
        path = f"Microsoft.Network/virtualNetworks/{request['network']}"
        network = resource_id(request["subscription"], request["group"], path)
        subnets = [each for key, each in self._subnets.items() if key.startswith(f"{network.lower()}/subnets/")]
        if not subnets:
            raise not_found(path, request["group"])
        given = next((n for n in self._cloud.scenario.networks if same(n.name, request["network"])), None)
        dns, peers = (given.dns_servers, given.peered_with) if given else ([], [])
        return Reply(
            200,
            {
                "id": network,
                "name": request["network"],
                "type": "Microsoft.Network/virtualNetworks",
                "location": "westeurope",
                "properties": {
                    "provisioningState": "Succeeded",
                    "addressSpace": {"addressPrefixes": [each.prefix for each in subnets]},
                    **({"dhcpOptions": {"dnsServers": list(dns)}} if dns else {}),
                    "subnets": [each.body() for each in subnets],
                    "virtualNetworkPeerings": [_peering(network, name) for name in peers],
                },
            },
        )

    def _get_security_group(self, request: ArmRequest) -> Reply:
        path = f"Microsoft.Network/networkSecurityGroups/{request['name']}"
        group = resource_id(request["subscription"], request["group"], path)
        guarded = [each for each in self._subnets.values() if same(each.security_group, group)]
        if not guarded:
            raise not_found(path, request["group"])
        ports = [
            port
            for subnet in self._cloud.scenario.subnets
            if same(subnet.security_group, request["name"])
            for port in subnet.open_ports
        ]
        return Reply(
            200,
            {
                "id": group,
                "name": request["name"],
                "type": "Microsoft.Network/networkSecurityGroups",
                "location": "westeurope",
                "properties": {
                    "provisioningState": "Succeeded",
                    "securityRules": [_open(group, number, port) for number, port in enumerate(ports)],
                    "subnets": [{"id": each.id} for each in guarded],
                },
            },
        )

    def _get_nic(self, request: ArmRequest) -> Reply:
        path = f"Microsoft.Network/networkInterfaces/{request['name']}"
        found = self.find(resource_id(request["subscription"], request["group"], path))
        if found is None:
            raise not_found(path, request["group"])
        return Reply(200, found.body())

    def _list_nics(self, request: ArmRequest) -> Reply:
        group = request["group"].lower()
        return page(request, [nic.body() for nic in self.nics() if nic.group.lower() == group])


def _peering(network: str, other: str) -> Json:
    remote = f"{network.rpartition('/')[0]}/{other}"
    return {
        "id": f"{network}/virtualNetworkPeerings/to-{other}",
        "name": f"to-{other}",
        "type": "Microsoft.Network/virtualNetworks/virtualNetworkPeerings",
        "properties": {
            "provisioningState": "Succeeded",
            "peeringState": "Connected",
            "remoteVirtualNetwork": {"id": remote},
            "allowVirtualNetworkAccess": True,
        },
    }


def _open(group: str, number: int, port: str) -> Json:
    """A rule that lets the internet in."""
    return {
        "id": f"{group}/securityRules/open-{number}",
        "name": f"open-{number}",
        "type": "Microsoft.Network/networkSecurityGroups/securityRules",
        "properties": {
            "provisioningState": "Succeeded",
            "protocol": "Tcp",
            "sourcePortRange": "*",
            "destinationPortRange": port,
            "sourceAddressPrefix": "Internet",
            "destinationAddressPrefix": "*",
            "access": "Allow",
            "priority": 100 + number,
            "direction": "Inbound",
        },
    }
