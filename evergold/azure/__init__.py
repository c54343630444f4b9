"""All that speaks to Azure: one file a service, the official SDKs underneath. Start with `Azure.connect`."""

from evergold.azure.bundle import Azure, clock_for
from evergold.azure.errors import AzureFailure

__all__ = ["Azure", "AzureFailure", "clock_for"]
