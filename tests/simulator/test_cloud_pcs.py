"""Windows 365 as the simulator plays it: images, restore points, reprovisions, and work that is lost by them."""

from typing import Any

import pytest

from simulator.scenario import CloudPcs, Version, load
from tests.support.caller import Caller

STABLE, BETA = (f"/{version}/deviceManagement/virtualEndpoint" for version in ("v1.0", "beta"))
HOUR = 3600
NIGHT = 8 * HOUR  # the small world begins on a Thursday at 17:30 local time: then it is half past one


def world(unsynced: float = 1.0, versions: list[Version] | None = None, **changes: Any) -> Caller:
    pcs = CloudPcs(policy="Office", count=3, unsynced=unsynced, restore_points=changes.pop("restore_points", True))
    definition = load("small").definitions[0].model_copy(update={"versions": versions or []})
    pools: dict[str, Any] = {"host_pools": [], "definitions": [definition]} if versions else {}
    return Caller(audience="https://graph.microsoft.com", cloud_pcs=[pcs], **pools, **changes)


def version(edition: str = "Windows 11 Enterprise") -> Version:
    return Version(version="2.0.0", os_build="26200.9231", edition=edition)


def pcs(caller: Caller) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.send("GET", f"{BETA}/cloudPCs").json()["value"]
    return found


def imported(caller: Caller, name: str = "office 2.0.0") -> dict[str, Any]:
    source = caller.path("rg-images", "Microsoft.Compute/galleries/gal_evergold/images/office/versions/2.0.0")
    body = {"displayName": name, "version": "2.0.0", "sourceImageResourceId": source}
    answer = caller.send("POST", f"{STABLE}/deviceImages", body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_an_image_is_pending_for_about_an_hour_and_then_ready() -> None:
    caller = world(versions=[version()])
    image = imported(caller)
    caller.wait(50 * 60)
    assert caller.send("GET", f"{STABLE}/deviceImages/{image['id']}").json()["status"] == "pending"
    caller.wait(20 * 60)
    assert caller.send("GET", f"{STABLE}/deviceImages/{image['id']}").json()["status"] == "ready"


@pytest.mark.parametrize(
    ("edition", "code"),
    [("Windows 11 Enterprise multi-session", "osVersionNotSupported"), ("Windows 11 Enterprise", None)],
)
def test_a_multi_session_image_is_refused_after_the_hour(edition: str, code: str | None) -> None:
    caller = world(versions=[version(edition)])
    image = imported(caller)
    caller.wait(70 * 60)
    assert caller.send("GET", f"{STABLE}/deviceImages/{image['id']}").json()["errorCode"] == code


def test_a_tenant_has_room_for_twenty_images_and_each_name_and_version_once() -> None:
    caller = world(versions=[version()])
    for number in range(20):
        imported(caller, f"office {number}")
    body = {"displayName": "office 0", "version": "2.0.0", "sourceImageResourceId": "/x"}
    assert caller.send("POST", f"{STABLE}/deviceImages", body).status_code == 409
    full = caller.send("POST", f"{STABLE}/deviceImages", {**body, "displayName": "one more"})
    assert (full.status_code, full.json()["error"]["code"]) == (400, "deviceImageLimitReached")


def test_a_policy_takes_only_an_image_that_is_ready_which_then_cannot_be_deleted() -> None:
    caller = world(versions=[version()])
    image = imported(caller)
    policy = caller.send("GET", f"{STABLE}/provisioningPolicies").json()["value"][0]
    change = {"imageType": "custom", "imageId": image["id"]}
    path = f"{STABLE}/provisioningPolicies/{policy['id']}"
    assert caller.send("PATCH", path, change).status_code == 400
    caller.wait(70 * 60)
    assert caller.send("PATCH", path, change).status_code == 204
    assert caller.send("DELETE", f"{STABLE}/deviceImages/{image['id']}").status_code == 400


def test_the_status_is_beta_only() -> None:
    caller = world()
    assert "status" not in caller.send("GET", f"{STABLE}/cloudPCs").json()["value"][0]
    assert pcs(caller)[0]["status"] == "provisioned"


def test_a_reprovision_is_accepted_shows_in_the_status_later_and_brings_a_new_device_and_the_policys_image() -> None:
    caller = world(unsynced=0)
    caller.wait(NIGHT)
    before = pcs(caller)[0]
    path = f"{STABLE}/cloudPCs/{before['id']}/reprovision"
    assert caller.send("POST", path, {}).status_code == 204
    assert pcs(caller)[0]["status"] == "provisioned", "not yet"
    caller.wait(150)
    assert pcs(caller)[0]["status"] == "provisioning"
    assert caller.send("POST", path, {}).status_code == 400
    caller.wait(HOUR)
    after = pcs(caller)[0]
    assert (after["status"], after["lastRemoteActionResult"]["actionState"]) == ("provisioned", "done")
    assert after["managedDeviceName"] != before["managedDeviceName"]
    assert caller.cloud.truth.report()["violations"] == []


@pytest.mark.parametrize(
    ("changes", "copy", "lost"),
    [
        ({}, True, False),
        ({"restore_points": False}, False, True),
        ({"restore_points_survive": False}, True, True),
    ],
)
def test_work_is_lost_unless_a_copy_that_outlives_the_wipe_was_made_after_it(
    changes: dict[str, Any], copy: bool, lost: bool
) -> None:
    caller = world(**changes)
    caller.wait(NIGHT)
    first = pcs(caller)[0]["id"]
    if copy:
        assert caller.send("POST", f"{BETA}/cloudPCs/{first}/createSnapshot", {}).status_code == 204
        caller.wait(HOUR * 1.5)
    caller.send("POST", f"{STABLE}/cloudPCs/{first}/reprovision", {})
    caller.wait(HOUR)
    pcs(caller)
    assert bool(caller.cloud.truth.report()["cloud_pcs_that_lost_work"]) == lost


def test_a_manual_restore_point_takes_the_place_of_the_one_before_it() -> None:
    caller = world(restore_points=False)
    first = pcs(caller)[0]["id"]
    for _ in range(2):
        caller.send("POST", f"{BETA}/cloudPCs/{first}/createSnapshot", {})
        caller.wait(2 * HOUR)
    assert len(caller.send("GET", f"{BETA}/cloudPCs/{first}/retrieveSnapshots").json()["value"]) == 1


def test_somebody_who_is_reprovisioned_at_work_is_cut_off_and_the_world_says_so() -> None:
    caller = world(unsynced=0)
    caller.wait(16 * HOUR)  # the next morning
    first = pcs(caller)[0]["id"]
    report = caller.send("GET", f"{BETA}/reports/getRealTimeRemoteConnectionStatus(cloudPcId='{first}')").json()
    assert report["Values"][0][2] == "SignedIn"
    caller.send("POST", f"{STABLE}/cloudPCs/{first}/reprovision", {})
    caller.wait(HOUR)
    pcs(caller)
    assert caller.cloud.truth.report()["cut_off"] == 1


def test_one_that_is_told_twice_before_its_status_shows_the_first_is_wiped_twice_and_the_world_says_so() -> None:
    caller = world(unsynced=0)
    caller.wait(NIGHT)
    path = f"{STABLE}/cloudPCs/{pcs(caller)[0]['id']}/reprovision"
    assert [caller.send("POST", path, {}).status_code for _ in range(2)] == [204, 204]
    caller.wait(HOUR)
    pcs(caller)
    assert caller.cloud.truth.report()["violations"] == ["Cloud PC reprovisioned 2 times: cpc-user001@contoso.com"]
