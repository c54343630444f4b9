"""Cloud PCs reprovisioned with a new image: real clients, the simulated Graph, virtual time, and the world's own account at the end."""

import os
from datetime import timedelta
from functools import partial

import pytest
from pydantic import ValidationError

from evergold.cloudpc.engine import ReprovisionHaltedError
from evergold.cloudpc.model import Plan
from simulator.kernel.faults import Fault
from tests.support.cloud_pcs import Heard, image_set_of, reprovisioned, with_cloud_pcs
from tests.support.simulated import Killed, Simulated, simulated

# A death after each write takes long: those after which somebody's disk is wiped and some of the others here, all with EVERGOLD_SOAK.
WIPES = ("/bulkActions", "/reprovision")
EVERY_WRITE = 5


def fates(plan: Plan) -> dict[str, str]:
    return {verdict.desk.user.partition("@")[0]: verdict.fate for verdict in plan.verdicts}


def assert_everybody_has_it(world: Simulated, count: int = 5) -> None:
    """Every Cloud PC runs the new image, each was wiped once, and nobody lost anything."""
    report = world.cloud.truth.report()
    assert report["violations"] == []
    assert report["cloud_pcs_reprovisioned"] == count
    assert {each.image for each in world.cloud.cloud_pcs.all.values()} == {"office 1.1.0"}


def test_every_cloud_pc_gets_the_image_and_nobody_loses_work_or_is_cut_off() -> None:
    async def body(world: Simulated) -> None:
        heard = Heard()
        last = await reprovisioned(world, heard)
        assert set(fates(last).values()) == {"done"}
        assert_everybody_has_it(world)
        assert [what for what, _, _ in heard.told][:2] == ["ahead", "today"]
        assert len(heard.told[0][2]) == 5

    simulated(body, image_set_of(), **with_cloud_pcs())


def test_the_pilots_go_first_and_the_others_after_their_bake_time() -> None:
    async def body(world: Simulated) -> None:
        await reprovisioned(world)
        wiped = {each.worker.name.partition("@")[0]: each for each in world.cloud.cloud_pcs.all.values()}
        pilot = wiped.pop("cpc-user001")
        assert pilot.changed is not None
        for other in wiped.values():
            assert other.wiped is not None
            assert other.wiped >= pilot.changed + timedelta(minutes=50)

    simulated(body, image_set_of(), **with_cloud_pcs())


@pytest.mark.parametrize("api", ["bulk", "single"])
def test_whatever_write_it_dies_after_nobody_is_reprovisioned_twice_and_nothing_is_lost(api: str) -> None:
    changes = image_set_of(api=api), with_cloud_pcs(count=2)

    async def writes(world: Simulated) -> list[str]:
        await reprovisioned(world)
        return [path for method, path in world.wire.calls if method != "GET" and not path.endswith("/token")]

    async def killed(world: Simulated, after: int) -> None:
        world.wire.dies_after_writes = after
        with pytest.raises(Killed):
            await reprovisioned(world)
        await reprovisioned(world)
        assert_everybody_has_it(world, 2)

    everything = bool(os.environ.get("EVERGOLD_SOAK"))
    for number, path in enumerate(simulated(writes, changes[0], **changes[1]), start=1):
        if everything or path.endswith(WIPES) or number % EVERY_WRITE == 0:
            simulated(partial(killed, after=number), changes[0], **changes[1])


def test_somebody_whose_restore_point_never_comes_is_left_and_the_others_go_on() -> None:
    async def body(world: Simulated) -> None:
        last = await reprovisioned(world)
        assert fates(last) == {f"cpc-user00{n}": "left" if n == 3 else "done" for n in range(1, 5)}
        why = next(v.why for v in last.verdicts if v.fate == "left")
        assert "restore point" in why
        assert world.cloud.truth.report()["violations"] == []

    failing = {"cpc-user003@contoso.com": "snapshot"}
    simulated(
        body, image_set_of(give_up_days=1), **with_cloud_pcs(count=4, restore_points=False, cloud_pc_failures=failing)
    )


def test_with_a_waiver_by_name_and_reason_it_goes_on_without_a_restore_point() -> None:
    async def body(world: Simulated) -> None:
        last = await reprovisioned(world, waivers={"cpc-user003@contoso.com": "everything of hers is in the cloud"})
        assert set(fates(last).values()) == {"done"}
        assert_everybody_has_it(world)

    failing = {"cpc-user003@contoso.com": "snapshot"}
    simulated(body, image_set_of(), **with_cloud_pcs(unsynced=0, restore_points=False, cloud_pc_failures=failing))


def test_where_restore_points_do_not_outlive_a_reprovision_a_copy_in_ones_own_storage_saves_the_work() -> None:
    async def body(world: Simulated) -> None:
        await reprovisioned(world)
        assert_everybody_has_it(world)

    account = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Storage/storageAccounts/copies"
    world = with_cloud_pcs(restore_points_survive=False)
    simulated(body, image_set_of(safety={"share_snapshots_to": account}), **world)


def test_above_the_failure_budget_it_halts_and_touches_nobody_else() -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(ReprovisionHaltedError, match="failure budget is 0") as caught:
            await reprovisioned(world)
        assert "cpc-user001" in str(caught.value)
        assert world.cloud.truth.report()["cloud_pcs_reprovisioned"] == 1

    failing = {"cpc-user001@contoso.com": "reprovision"}
    simulated(body, image_set_of(failure_budget=0), **with_cloud_pcs(cloud_pc_failures=failing))


def test_it_keeps_to_its_maintenance_window() -> None:
    window = {"days": ["sat"], "start": "20:00", "minutes": 600, "time_zone": "Europe/Berlin"}

    async def body(world: Simulated) -> None:
        await reprovisioned(world)
        assert_everybody_has_it(world)
        for each in world.cloud.cloud_pcs.all.values():
            assert each.wiped is not None
            local = each.wiped.astimezone(world.cloud.cloud_pcs._zone)
            assert (local.weekday(), local.hour >= 20) in {(5, True), (6, False)}

    simulated(body, image_set_of(windows=[window]), **with_cloud_pcs())


FAULTS = (
    Fault(path="/cloudPCs$", times=9, status=503, code="ServiceUnavailable"),
    Fault(path="retrieveSnapshots", times=9, status=500),
    Fault(method="POST", path="bulkActions", status=504, code="GatewayTimeout", after=True),
    Fault(method="POST", path="bulkActions", status=429, code="TooManyRequests", times=3, retry_after_s=30),
    Fault(path="getRealTimeRemoteConnectionStatus", times=20, status=403, code="Forbidden"),
    Fault(method="PATCH", path="provisioningPolicies", status=503, after=True, times=2),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.method} {fault.path} {fault.status}")
def test_on_a_bad_day_of_graph_it_takes_longer_and_nothing_else(fault: Fault) -> None:
    async def body(world: Simulated) -> None:
        await reprovisioned(world)
        assert_everybody_has_it(world, 3)

    simulated(body, image_set_of(), **with_cloud_pcs(count=3, faults=[fault.model_copy()]))


def test_where_copies_are_kept_a_restore_point_of_windows_365s_own_does_not_stand_for_one() -> None:
    async def body(world: Simulated) -> None:
        last = await reprovisioned(world)
        assert set(fates(last).values()) == {"left"}
        assert world.cloud.truth.report()["cloud_pcs_reprovisioned"] == 0

    account = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Storage/storageAccounts/copies"
    failing = {"cpc-user001@contoso.com": "snapshot"}
    image_set = image_set_of(safety={"share_snapshots_to": account}, give_up_days=1)
    simulated(body, image_set, **with_cloud_pcs(count=1, cloud_pc_failures=failing))


AT_ONCE = {"release_method": "immediate", "warn_minutes": 60, "rings": [{"name": "everyone"}], "waves": [100]}
SCRIPT = {"known_folders_script": "55555555-5555-4555-8555-555555555555", "notice_days": 0}


def test_under_an_immediate_release_whoever_is_at_work_is_warned_and_goes_an_hour_later_and_no_work_is_lost() -> None:
    async def body(world: Simulated) -> None:
        heard = Heard()
        await world.azure.clock.sleep(15 * 3600)  # the next morning
        assert fates(await reprovisioned(world, heard)) == {f"cpc-user00{n}": "done" for n in range(1, 5)}
        report = world.cloud.truth.report()
        assert (report["cloud_pcs_reprovisioned"], report["cloud_pcs_that_lost_work"]) == (4, [])
        warned = {user for what, _, users in heard.told if what == "now" for user in users}
        cut_off = [line for line in report["violations"] if "cut off" in line]
        assert report["violations"] == cut_off, "they keep their files, and were told"
        assert cut_off
        assert all(any(user in line for user in warned) for line in cut_off)

    simulated(body, image_set_of(safety=SCRIPT, **AT_ONCE), **with_cloud_pcs(count=4, unsynced=0.5))


@pytest.mark.parametrize(
    ("method", "words"), [("immediate", "files are in OneDrive"), ("scheduled", "there are no windows")]
)
def test_nobody_is_taken_from_work_without_a_report_on_their_files_nor_by_a_schedule_without_windows(
    method: str, words: str
) -> None:
    safety = SCRIPT if method == "scheduled" else {}
    with pytest.raises(ValidationError, match=words):
        image_set_of(safety=safety, release_method=method)
