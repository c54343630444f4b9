"""What we send to Azure holds to Azure's published contracts, at the versions that the SDKs ask for.

Uses the checker where `tests.contracts.checkers` finds it; says so where not.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from evergold.azure import Azure, AzureFailure
from evergold.azure.compute import (
    AttachedDisk,
    ExtensionSpec,
    GalleryImage,
    MarketplaceImage,
    PurchasePlan,
    Script,
    VmSpec,
)
from evergold.azure.galleries import Definition, Region, VersionSpec
from tests.contracts.checkers import FOLDER, why_not_python
from tests.support.moments import EPOCH
from tests.support.tiny_azure import ARM, SECRET_VARIABLE, SUBSCRIPTION, Seen, TinyAzure, refusal, with_azure

CHECKER = FOLDER / "check_traffic.py"
RESOURCES = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers"
SUBNET = f"{RESOURCES}/Microsoft.Network/virtualNetworks/v/subnets/s"
GALLERY = f"{RESOURCES}/Microsoft.Compute/galleries/gallery/images/win11"
VM_ID = f"{RESOURCES}/Microsoft.Compute/virtualMachines/desk-01"
DISK = f"{RESOURCES}/Microsoft.Compute/disks/d"
SECRET = SecretStr("hush")
TAGS = {"evergold-refresh": "r1"}
DEFINITION = Definition("rg", "gallery", "win11")
MARKET = MarketplaceImage("MicrosoftWindowsDesktop", "windows-11", "win11-25h2-avd", "26200.1.1")
PLAN = PurchasePlan("MicrosoftWindowsDesktop", "windows-11", "win11-25h2-avd")
VERSION = VersionSpec("1.2.0", "westeurope", VM_ID, (Region("westeurope", 2),), end_of_life=EPOCH, tags=TAGS)
OF_DISK = replace(VERSION, source_vm_id="", source_disk_id=DISK)
SCRIPT = Script("clean", "Get-Date", "westeurope", {"a": "b"}, {"token": SECRET}, "keeper", SECRET, tags=TAGS)
JOIN = ExtensionSpec("join", "westeurope", "Microsoft.Powershell", "DSC", "2.73", {"x": 1}, {"t": SECRET}, tags=TAGS)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "s3cret")


def vm(
    image: GalleryImage | MarketplaceImage | AttachedDisk,
    plan: PurchasePlan | None = None,
    security: Any = "TrustedLaunch",
) -> VmSpec:
    return VmSpec(
        "desk-01", "rg", "westeurope", "Standard_D4ds_v5", SUBNET, image, "keeper", SECRET, security, TAGS, plan
    )


WRITES: dict[str, Callable[[Azure], Awaitable[Any]]] = {
    "host VM": lambda a: a.compute.begin_create_vm(vm(GalleryImage(f"{GALLERY}/versions/1.2.0"))),
    "build VM": lambda a: a.compute.begin_create_vm(vm(MARKET, PLAN, "Standard")),
    "VM tags": lambda a: a.compute.update_vm_tags("rg", "desk-01", TAGS),
    "extension": lambda a: a.compute.begin_put_extension("rg", "desk-01", JOIN),
    "script": lambda a: a.compute.begin_script("rg", "desk-01", SCRIPT),
    "copied VM": lambda a: a.compute.begin_create_vm(vm(AttachedDisk(DISK), PLAN)),
    "managed image": lambda a: a.images.create_image_from_vm("rg", "i", "westeurope", VM_ID, TAGS),
    "version of a disk": lambda a: a.galleries.begin_create_version(DEFINITION, OF_DISK),
    "snapshot": lambda a: a.disks.create_snapshot("rg", "s", "westeurope", DISK, TAGS),
    "disk": lambda a: a.disks.create_disk_from_snapshot("rg", "d", "westeurope", DISK, TAGS),
    "version": lambda a: a.galleries.begin_create_version(DEFINITION, VERSION),
    "promotion": lambda a: a.galleries.update_version(DEFINITION, "1.1.0", exclude_from_latest=False, set_tags=TAGS),
    "regions": lambda a: a.galleries.begin_change_regions(DEFINITION, "1.1.0", add=[Region("northeurope")]),
    "definition tags": lambda a: a.galleries.update_definition_tags(DEFINITION, TAGS),
    "pool tags": lambda a: a.desktops.update_host_pool_tags("rg", "pool", TAGS),
    "registration": lambda a: a.desktops.registration_token("rg", "pool"),
    "drain mode": lambda a: a.desktops.set_allow_new_session("rg", "pool", "desk-01", allow=False),
}

VERSION_THERE = {
    "id": f"{GALLERY}/versions/1.1.0",
    "name": "1.1.0",
    "location": "westeurope",
    "properties": {
        "provisioningState": "Succeeded",
        "publishingProfile": {
            "excludeFromLatest": True,
            "publishedDate": "2026-11-12T20:00:00+00:00",
            "targetRegions": [{"name": "West Europe", "regionalReplicaCount": 1, "storageAccountType": "Standard_LRS"}],
        },
        "storageProfile": {
            "source": {"virtualMachineId": VM_ID},
            "osDiskImage": {"sizeInGB": 127, "hostCaching": "ReadWrite"},
        },
    },
}
THERE = {"location": "westeurope", "tags": {}, "properties": {}}


def sent_by(write: Callable[[Azure], Awaitable[Any]]) -> list[Seen]:
    """What a write sends; Azure refuses it, which ends it there."""

    async def body(azure: Azure, tiny: TinyAzure) -> list[Seen]:
        for method in ("PUT", "PATCH"):
            tiny.on(method, "", refusal(409, "Conflict"))
        tiny.on("GET", "/virtualMachines/desk-01", THERE)
        tiny.on("GET", "/images/win11", THERE)
        tiny.on("GET", "/versions/1.1.0", VERSION_THERE)
        tiny.on("GET", "/hostPools/pool", THERE)
        with contextlib.suppress(AzureFailure):
            await write(azure)
        return [seen for seen in tiny.seen if seen.method in ("PUT", "PATCH")]

    return with_azure(body)


def lines(sent: list[Seen]) -> Iterator[str]:
    """The exchanges in the checker's format."""
    for seen in sent:
        query = "&".join(f"{name}={value}" for name, value in seen.query.items())
        error = {"error": {"code": "Conflict", "message": "No."}}
        yield json.dumps(
            {
                "method": seen.method,
                "url": f"{ARM}{seen.path}?{query}",
                "request": seen.json,
                "status": 409,
                "headers": {},
                "response": error,
            }
        )


@pytest.mark.skipif(bool(why_not_python()), reason=why_not_python())
@pytest.mark.parametrize("name", WRITES)
def test_what_we_send_holds_to_the_contract(name: str, tmp_path: Path) -> None:
    sent = sent_by(WRITES[name])
    assert len(sent) == 1
    traffic = tmp_path / "traffic.jsonl"
    traffic.write_text("\n".join(lines(sent)) + "\n")
    check = subprocess.run([sys.executable, str(CHECKER), str(traffic)], capture_output=True, text=True, check=False)
    assert check.returncode == 0, f"{check.stdout}\n{json.dumps(sent[0].json, indent=1)}"
