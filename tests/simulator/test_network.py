"""Addresses in simulated subnets: the lowest that is free, each once, and back again when its card goes."""

import pytest

from simulator.kernel.arm import ArmError
from simulator.network import Nic
from simulator.scenario import Subnet
from tests.support.caller import Caller


def join(world: Caller, number: int) -> Nic:
    network = world.cloud.network
    subnet = network.subnet_id("vnet/small")
    card = world.path("rg-network", f"Microsoft.Network/networkInterfaces/nic-{number}")
    return network.join(subnet, card, "westeurope", "vm", {})


def with_subnet(prefix: str) -> Caller:
    subnets = [
        *Caller().scenario.subnets,
        Subnet(resource_group="rg-network", network="vnet", name="small", prefix=prefix),
    ]
    return Caller(subnets=subnets)


def test_azure_keeps_five_addresses_and_the_rest_are_given_out_lowest_first() -> None:
    world = with_subnet("10.30.0.0/29")
    assert [join(world, number).address for number in range(3)] == ["10.30.0.4", "10.30.0.5", "10.30.0.6"]


def test_a_full_subnet_takes_nobody_until_somebody_leaves() -> None:
    world = with_subnet("10.30.0.0/29")
    cards = [join(world, number) for number in range(3)]
    with pytest.raises(ArmError, match="SubnetIsFull"):
        join(world, 3)
    world.cloud.network.leave(cards[1].id)
    assert join(world, 4).address == "10.30.0.5"


def test_a_card_that_is_there_is_not_made_again_and_takes_no_second_address() -> None:
    world = with_subnet("10.30.0.0/29")
    join(world, 0)
    with pytest.raises(ArmError, match="NicInUse"):
        join(world, 0)
    assert join(world, 1).address == "10.30.0.5"
