"""The devices that a host has in Microsoft Entra ID and Intune go with it.

They are deleted while the VM still stands, and only those that name this very resource: so a host that is made later under the same name
never loses its own. Nothing found is done already. Without the rights to delete devices the host goes all the same, and a warning says
what is left.
"""

import logging

from evergold.azure import Azure, AzureFailure

log = logging.getLogger("evergold.rollout")


async def forget_devices(azure: Azure, vm_resource_id: str) -> None:
    """No device of this VM is left in Entra ID and Intune. Raises AzureFailure where Graph may be able to do it later."""
    name = vm_resource_id.rpartition("/")[2]
    try:
        for device in await azure.graph.forget_machine(vm_resource_id):
            log.info("%s: deleted its device %s", name, device)
    except AzureFailure as failure:
        if failure.retryable:
            raise
        log.warning("%s: its devices in Entra ID and Intune are left behind: %s", name, failure)
