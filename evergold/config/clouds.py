"""Where each Azure cloud answers: endpoints as data.

Sources: the tables in azure-identity (`AzureAuthorityHosts`) and azure-mgmt-core (`azure.mgmt.core.tools`), the README of
azure-monitor-query, and https://learn.microsoft.com/graph/deployments. In US Government the audience of a management token is
another host than the management endpoint. US Government here is Graph's L4; for L5 (DoD) write a `custom` environment with
https://dod-graph.microsoft.us.
"""

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from evergold.config.base import Part, Shape

Url = Annotated[
    str,
    Shape(r"https://[^/\s]+(/[^\s]*)?", "is not an https address", "Write it like https://management.azure.com."),
]


class Endpoints(Part):
    """The addresses of one cloud."""

    resource_manager: Url = Field(
        description="Azure Resource Manager, where virtual machines and host pools are managed."
    )
    resource_manager_scope: Url = Field(
        description="What a token for Resource Manager is asked for; ends in /.default."
    )
    authority: Url = Field(description="Microsoft Entra: where tokens come from.")
    log_analytics: Url = Field(description="The Log Analytics query service.")
    graph: Url = Field(description="Microsoft Graph, for Windows 365.")
    ca_file: Path | None = Field(
        default=None,
        description="Certificate authority to trust instead of the public ones (PEM); relative to this file.",
    )


CLOUDS: Final[dict[str, Endpoints]] = {
    "public": Endpoints(
        resource_manager="https://management.azure.com",
        resource_manager_scope="https://management.azure.com/.default",
        authority="https://login.microsoftonline.com",
        log_analytics="https://api.loganalytics.io",
        graph="https://graph.microsoft.com",
    ),
    "us_government": Endpoints(
        resource_manager="https://management.usgovcloudapi.net",
        resource_manager_scope="https://management.core.usgovcloudapi.net/.default",
        authority="https://login.microsoftonline.us",
        log_analytics="https://api.loganalytics.us",
        graph="https://graph.microsoft.us",
    ),
    "china": Endpoints(
        resource_manager="https://management.chinacloudapi.cn",
        resource_manager_scope="https://management.chinacloudapi.cn/.default",
        authority="https://login.chinacloudapi.cn",
        log_analytics="https://api.loganalytics.azure.cn",
        graph="https://microsoftgraph.chinacloudapi.cn",
    ),
}
