"""Azure Backup and the marketplace's terms, as far as one can ask about them: which machines are protected, which plans are agreed to."""

from typing import TYPE_CHECKING

from simulator.kernel.arm import ArmError, ArmRequest, Reply, Route, resource_id, same

if TYPE_CHECKING:
    from simulator.cloud import Cloud

SUBSCRIPTION = "/subscriptions/{subscription}"
VAULT = "vault-hosts"


class Protection:
    """Answers of Recovery Services and of Marketplace Ordering."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """A machine's backup status, and a plan's agreement."""
        backup = f"{SUBSCRIPTION}/providers/Microsoft.RecoveryServices/locations/{{location}}/backupStatus"
        ordering = f"{SUBSCRIPTION}/providers/Microsoft.MarketplaceOrdering/offerTypes/virtualmachine"
        terms = f"{ordering}/publishers/{{publisher}}/offers/{{offer}}/plans/{{plan}}/agreements/current"
        agreement = "Microsoft.MarketplaceOrdering/offertypes/publishers/offers/plans/agreements/read"
        return [
            Route(
                "POST",
                backup,
                self._backup_status,
                action="Microsoft.RecoveryServices/locations/backupStatus/action",
            ),
            Route("GET", terms, self._terms, action=agreement),
        ]

    def _backup_status(self, request: ArmRequest) -> Reply:
        name = str(request.body.get("resourceId", "")).rpartition("/")[2]
        if not any(same(name, protected) for protected in self._cloud.scenario.backed_up):
            return Reply(200, {"protectionStatus": "NotProtected", "vaultId": "", "protectedItemName": ""})
        vault = resource_id(request["subscription"], "rg-backup", f"Microsoft.RecoveryServices/vaults/{VAULT}")
        return Reply(
            200,
            {
                "protectionStatus": "Protected",
                "vaultId": vault,
                "fabricName": "Azure",
                "containerName": f"iaasvmcontainer;iaasvmcontainerv2;rg;{name}",
                "protectedItemName": f"vm;iaasvmcontainerv2;rg;{name}",
            },
        )

    def _terms(self, request: ArmRequest) -> Reply:
        wanted = (request["publisher"].lower(), request["offer"].lower(), request["plan"].lower())
        sold = [
            release
            for release in self._cloud.scenario.marketplace
            if (release.publisher.lower(), release.offer.lower(), (release.plan or "").lower()) == wanted
        ]
        if not sold:
            raise ArmError(
                400, "BadRequest", f"Offer with PublisherId: '{wanted[0]}', OfferId: '{wanted[1]}' not found."
            )
        accepted = all(release.terms_accepted for release in sold)
        name = request["plan"]
        where = request.path.partition("/offerTypes/")[0]
        return Reply(
            200,
            {
                "id": f"{where}/offerTypes/virtualmachine/publishers/{wanted[0]}/offers/{wanted[1]}/plans/{name}/agreements/current",
                "name": name,
                "type": "Microsoft.MarketplaceOrdering/offertypes",
                "properties": {
                    "publisher": request["publisher"],
                    "product": request["offer"],
                    "plan": name,
                    "accepted": accepted,
                },
            },
        )
