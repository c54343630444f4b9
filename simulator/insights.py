"""Azure Monitor: which data collection rules are associated with a machine.

As a policy does it: the association stands as soon as the machine runs for the first time. A machine with the defect "logs" has none.
"""

from typing import TYPE_CHECKING

from simulator.kernel.arm import ArmError, ArmRequest, Json, Reply, Route, page

if TYPE_CHECKING:
    from simulator.cloud import Cloud

VM = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{vm}"
ASSOCIATIONS = VM + "/providers/Microsoft.Insights/dataCollectionRuleAssociations"
READ = "Microsoft.Insights/dataCollectionRuleAssociations/read"
RULE = "dcr-session-hosts"


class Insights:
    """The data collection rule that every machine is associated with."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """The list of a machine's associations."""
        return [Route("GET", ASSOCIATIONS, self._list, action=READ)]

    def _list(self, request: ArmRequest) -> Reply:
        vm = request.path.partition("/providers/Microsoft.Insights/")[0]
        machine = self._cloud.compute.find(vm)
        if machine is None:
            raise ArmError(404, "ResourceNotFound", f"The resource '{vm}' could not be found.")
        collected = machine.booted_at is not None and "logs" not in machine.contents.defects
        return page(request, [self._association(vm)] if collected else [])

    def _association(self, vm: str) -> Json:
        group = self._cloud.scenario.resource_groups[0]
        rule = f"/subscriptions/{self._cloud.scenario.subscription_id}/resourceGroups/{group}/providers/"
        return {
            "id": f"{vm}/providers/Microsoft.Insights/dataCollectionRuleAssociations/{RULE}-association",
            "name": f"{RULE}-association",
            "type": "Microsoft.Insights/dataCollectionRuleAssociations",
            "properties": {"dataCollectionRuleId": f"{rule}Microsoft.Insights/dataCollectionRules/{RULE}"},
        }
