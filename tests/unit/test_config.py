"""Image sets and environments: what is accepted, and the exact words for what is not."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from evergold.config.clouds import CLOUDS
from evergold.config.load import (
    LARGEST_STEP,
    ConfigError,
    Problem,
    list_environments,
    list_image_sets,
    load_environment,
    load_image_set,
    script_file,
)
from evergold.config.models import Environment, ImageSet, RolloutPolicy, ScaledTime
from evergold.config.permissions import PERMISSIONS, ScopeKind, actions_needed
from evergold.config.schema import MODELS, schema_text, write_schemas

REPOSITORY = Path(__file__).resolve().parents[2]
SUBNET = (
    "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/rg-net"
    "/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
)

IMAGE_SET = f"""\
name: office
environment: lab
location: westeurope
gallery: {{resource_group: rg-images, name: gal, image_definition: office}}
source:
  kind: marketplace
  publisher: microsoftwindowsdesktop
  offer: office-365
  sku: win11
build:
  resource_group: rg-build
  vm_size: Standard_D4s_v5
  subnet_id: {SUBNET}
customise:
  - name: apps
    script: guest/apps.ps1
publish:
  regions:
    - name: westeurope
rollout:
  max_surge: 2
rings:
  - name: pilot
    pools:
      - name: hp-pilot
        resource_group: rg-pilot
        hosts:
          resource_group: rg-pilot
          name_prefix: pil
          vm_size: Standard_D4s_v5
          subnet_id: {SUBNET}
  - name: broad
    pools:
      - name: hp-office
        resource_group: rg-office
        hosts:
          resource_group: rg-office
          name_prefix: ofc
          vm_size: Standard_D4s_v5
          subnet_id: {SUBNET}
"""

ENVIRONMENT = """\
name: lab
cloud: public
credential:
  kind: client_secret
  tenant_id: 22222222-2222-4222-8222-222222222222
  client_id: 33333333-3333-4333-8333-333333333333
  secret_variable: LAB_SECRET
subscription_id: 11111111-1111-4111-8111-111111111111
log_analytics_workspace_id: 44444444-4444-4444-8444-444444444444
"""

ENDPOINTS = """\
endpoints:
  resource_manager: https://localhost:8443
  resource_manager_scope: https://localhost:8443/.default
  authority: https://localhost:8443
  log_analytics: https://localhost:8443
  graph: https://localhost:8443
  ca_file: ../ca.pem
"""

Refusal = Callable[..., str]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one image set, its environment and its script; also the current folder."""
    for file, text in (
        ("deployments/image_sets/office.yaml", IMAGE_SET),
        ("deployments/environments/lab.yaml", ENVIRONMENT),
        ("guest/apps.ps1", "exit 0\n"),
    ):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVERGOLD_DEPLOYMENTS", str(tmp_path / "deployments"))
    monkeypatch.delenv("EVERGOLD_REPOSITORY", raising=False)
    return tmp_path


def rewrite(file: Path, *changes: tuple[str, str]) -> None:
    """Replaces each old text, which must stand there exactly once."""
    text = file.read_text()
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    file.write_text(text)


@pytest.fixture
def refused(repository: Path) -> Refusal:
    """What is said about the image set after these changes."""

    def refusal(*changes: tuple[str, str]) -> str:
        rewrite(repository / "deployments/image_sets/office.yaml", *changes)
        with pytest.raises(ConfigError) as caught:
            load_image_set("office")
        return str(caught.value)

    return refusal


@pytest.fixture
def environment_refused(repository: Path) -> Refusal:
    """What is said about the environment after these changes."""

    def refusal(*changes: tuple[str, str]) -> str:
        rewrite(repository / "deployments/environments/lab.yaml", *changes)
        with pytest.raises(ConfigError) as caught:
            load_environment("lab")
        return str(caught.value)

    return refusal


def problems_in_office() -> tuple[Problem, ...]:
    """What is wrong in the image set; nothing when it loads."""
    try:
        load_image_set("office")
    except ConfigError as error:
        return error.problems
    return ()


# What is accepted


def test_an_image_set_needs_only_what_has_no_sensible_default(repository: Path) -> None:
    office = load_image_set("office")
    assert (office.rollout.max_surge, office.rollout.capacity_floor_percent, office.rollout.retain_days) == (2, 80, 3)
    assert office.rings[0].bake_minutes == 1440
    assert office.approval.approvers == ()
    assert office.build.security_type == "TrustedLaunch"


def test_the_deployments_folder_can_be_an_argument(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERGOLD_DEPLOYMENTS", "/nowhere")
    root = repository / "deployments"
    assert load_image_set("office", root).name == "office"
    assert (list_image_sets(root), list_environments(root)) == (["office"], ["lab"])


def test_scripts_are_found_beside_the_deployments_folder_or_in_the_repository_named(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert script_file("guest/apps.ps1") == repository / "guest/apps.ps1"
    monkeypatch.setenv("EVERGOLD_REPOSITORY", "/srv/evergold")
    assert script_file("guest/apps.ps1") == Path("/srv/evergold/guest/apps.ps1")


def test_a_time_may_stand_with_or_without_quotes(repository: Path) -> None:
    for written in ('"2026-11-14T22:00:00+01:00"', "2026-11-14T22:00:00+01:00", "2026-11-14 21:00:00Z"):
        (repository / "deployments/image_sets/office.yaml").write_text(
            IMAGE_SET.replace("  max_surge: 2", f"  release_method: scheduled\n  scheduled_start: {written}")
        )
        assert load_image_set("office").rollout.scheduled_start == datetime(2026, 11, 14, 21, tzinfo=UTC)


def test_the_clock_of_an_environment_can_be_scaled(repository: Path) -> None:
    with (repository / "deployments/environments/lab.yaml").open("a") as file:
        file.write(
            "clock: {kind: scaled, speed: 600, virtual_start: 2026-11-12T18:00:00Z, real_start: 2026-11-23T12:00:00Z}\n"
        )
    clock = load_environment("lab").clock
    assert isinstance(clock, ScaledTime)
    assert clock.speed == 600


@pytest.mark.parametrize("cloud", ["public", "us_government", "china"])
def test_every_cloud_resolves_to_its_own_endpoints(repository: Path, cloud: str) -> None:
    rewrite(repository / "deployments/environments/lab.yaml", ("cloud: public", f"cloud: {cloud}"))
    assert load_environment("lab").resolved_endpoints() == CLOUDS[cloud]


def test_the_custom_cloud_resolves_to_the_endpoints_given_and_its_ca_file_counts_from_the_file(
    repository: Path,
) -> None:
    rewrite(repository / "deployments/environments/lab.yaml", ("cloud: public\n", f"cloud: custom\n{ENDPOINTS}"))
    endpoints = load_environment("lab").resolved_endpoints()
    assert endpoints.authority == "https://localhost:8443"
    assert endpoints.ca_file == repository / "deployments/ca.pem"


@pytest.mark.parametrize(
    ("max_surge", "pool_size", "hosts"),
    [(2, 6, 2), (2, 1, 2), ("20%", 5, 1), ("20%", 6, 2), ("1%", 6, 1), ("100%", 6, 6), ("50%", 0, 1), ("7%", 100, 7)],
)
def test_a_surge_share_is_rounded_up_and_never_below_one_host(max_surge: int | str, pool_size: int, hosts: int) -> None:
    assert RolloutPolicy(max_surge=max_surge).surge_hosts(pool_size) == hosts


def test_configuration_cannot_be_changed_after_loading(repository: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_image_set("office").name = "other"  # type: ignore[misc]  # just that is refused


# What is refused: names


def test_an_unknown_image_set_is_refused_with_the_known_ones_and_the_closest(repository: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_image_set("ofice")
    assert str(caught.value) == (
        'deployments/image_sets: has no image set "ofice". What to do: Did you mean "office"? Known image sets: office.'
    )


def test_a_name_can_not_lead_out_of_the_folder(repository: Path) -> None:
    with pytest.raises(ConfigError, match=r'has no image set "\.\./environments/lab"'):
        load_image_set("../environments/lab")


def test_an_unknown_environment_is_refused_with_the_known_ones(repository: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_environment("production")
    assert str(caught.value) == (
        'deployments/environments: has no environment "production". What to do: Known environments: lab.'
    )


def test_a_missing_deployments_folder_is_refused_with_where_to_look(repository: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_image_set("office", repository / "elsewhere")
    assert str(caught.value) == (
        'elsewhere/image_sets: has no image set "office". What to do: There is no such folder. Run this from the repository, '
        "or set EVERGOLD_DEPLOYMENTS to the deployments folder."
    )


def test_an_image_set_must_name_an_environment_that_exists(refused: Refusal) -> None:
    assert refused(("environment: lab", "environment: lap")) == (
        'deployments/image_sets/office.yaml:2: environment: there is no environment "lap". '
        'What to do: Did you mean "lab"? Known environments: lab.'
    )


def test_the_name_in_a_file_must_be_the_name_of_the_file(refused: Refusal, environment_refused: Refusal) -> None:
    assert refused(("name: office\n", "name: sales\n")) == (
        'deployments/image_sets/office.yaml:1: name: is "sales", but the file is office.yaml. '
        "What to do: Write name: office, or rename the file to sales.yaml."
    )
    assert environment_refused(("name: lab", "name: test")).startswith(
        'deployments/environments/lab.yaml:1: name: is "test", but the file is lab.yaml.'
    )


# What is refused: YAML


@pytest.mark.parametrize(
    ("change", "line", "detail"),
    [
        (("rollout:\n", "rollout: {\n"), 22, "expected ',' or '}'"),
        (("  kind: marketplace", "\tkind: marketplace"), 6, "found character '\\t' that cannot start any token"),
        (("environment: lab", "environment: lab: x"), 2, "mapping values are not allowed here"),
    ],
)
def test_malformed_yaml_is_refused_with_its_line(
    refused: Refusal, change: tuple[str, str], line: int, detail: str
) -> None:
    message = refused(change)
    assert message.startswith(f"deployments/image_sets/office.yaml:{line}: is not valid YAML ({detail}")
    assert message.endswith(
        "What to do: Look at this line and the one above it: indent with spaces as the lines around it are, "
        "put a space after each colon, and close every quote."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "deployments/image_sets/office.yaml:1: is empty. What to do: "),
        (b"# nothing yet\n", "deployments/image_sets/office.yaml:1: is empty. What to do: "),
        (
            b"- name: office\n",
            "deployments/image_sets/office.yaml:1: is not a list of `key: value` lines. What to do: ",
        ),
        (
            b"name: caf\xe9\n",
            "deployments/image_sets/office.yaml: is not UTF-8 text. What to do: Save it again with the",
        ),
    ],
)
def test_a_file_that_is_no_set_of_keys_is_refused(repository: Path, text: bytes, message: str) -> None:
    (repository / "deployments/image_sets/office.yaml").write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        load_image_set("office")
    assert str(caught.value).startswith(message)


def test_a_key_that_stands_twice_is_refused_with_both_lines(refused: Refusal) -> None:
    assert refused(("  offer: office-365\n", "  offer: office-365\n  publisher: someone\n")) == (
        "deployments/image_sets/office.yaml:9: source.publisher: stands twice; the first is on line 7. "
        "What to do: Remove one of the two."
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("sku: win11", "sku: !secret win11"), ":9: source.sku: has the tag !secret. What to do: Remove the tag;"),
        (("sku: win11", "sku: !!int win"), ":9: source.sku: is not what its tag says. What to do: Remove the tag;"),
        (
            ("sku: win11", r'sku: "\ud800"'),
            ":9: source.sku: has half a character in it. What to do: Type the character",
        ),
        (("rollout:\n", "rollout:\n  <<: {warn_minutes: 5}\n"), ":21: rollout.<<: is not a plain key."),
        (("rollout:\n", "rollout: &r\n  self: *r\n"), ":21: rollout.self: contains itself."),
    ],
)
def test_what_yaml_allows_and_a_reader_stumbles_over_is_refused(
    refused: Refusal, change: tuple[str, str], said: str
) -> None:
    assert said in refused(change)


# What is refused: keys and values


def test_an_unknown_key_is_refused_with_the_closest_known_one(refused: Refusal) -> None:
    assert refused(
        ("  vm_size: Standard_D4s_v5\n  subnet_id", "  vm_size: Standard_D4s_v5\n  timeout_minuts: 5\n  subnet_id")
    ) == (
        "deployments/image_sets/office.yaml:13: build.timeout_minuts: is not a key that is known here. What to do: "
        'Did you mean "timeout_minutes"? Known keys: isolation_waiver, keep_failed_hours, resource_group, security_type, '
        "subnet_id, timeout_minutes, vm_size."
    )


def test_an_unknown_key_inside_a_choice_is_named_as_it_stands_in_the_file(environment_refused: Refusal) -> None:
    assert environment_refused(("  client_id", "  tenant: x\n  client_id")) == (
        "deployments/environments/lab.yaml:6: credential.tenant: is not a key that is known here. What to do: "
        'Did you mean "tenant_id"? Known keys: client_id, kind, secret_variable, tenant_id.'
    )


def test_a_missing_key_is_refused_at_the_line_of_what_lacks_it(refused: Refusal) -> None:
    assert refused(("  offer: office-365\n", "")) == (
        "deployments/image_sets/office.yaml:5: source.offer: is missing. What to do: Add `offer:` here."
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("max_surge: 2", "warn_minutes: '5'"),
            'rollout.warn_minutes: must be a whole number, not "5". What to do: Write digits',
        ),
        (("max_surge: 2", "warn_minutes: 5 min"), 'rollout.warn_minutes: must be a whole number, not "5 min".'),
        (("max_surge: 2", "warn_minutes: 2.5"), "rollout.warn_minutes: must be a whole number, not 2.5."),
        (("max_surge: 2", "warn_minutes: true"), "rollout.warn_minutes: must be a whole number, not true."),
        (
            ("max_surge: 2", "warn_minutes:"),
            "rollout.warn_minutes: is empty. What to do: Write a value after the colon",
        ),
        (("max_surge: 2", "warn_minutes: -1"), "rollout.warn_minutes: -1 is too small. What to do: Write at least 0."),
        (
            ("max_surge: 2", "capacity_floor_percent: 120"),
            "rollout.capacity_floor_percent: 120 is too large. What to do: Write at most 100.",
        ),
        (("sku: win11", "sku: 11.10"), "source.sku: must be text, not 11.1. What to do: Put it in quotes."),
        (
            ("script: guest/apps.ps1", "script: guest/apps.ps1\n    reboot_after: yes"),
            'customise[0].reboot_after: must be true or false, not "yes". What to do: Write true or false, without quotes.',
        ),
        (
            ("publish:\n  regions:\n    - name: westeurope", "publish:\n  regions: westeurope"),
            'publish.regions: must be a list, not "westeurope". What to do: Put each item on its own line, with `- ` before it.',
        ),
        (
            ("rollout:\n  max_surge: 2", "rollout: slow"),
            'rollout: must be a group of keys, not "slow". What to do: Put each',
        ),
        (("rollout:\n  max_surge: 2", "rollout:\n  - 1"), "rollout: must be a group of keys, not a list."),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_what_should_stand_there(
    refused: Refusal, change: tuple[str, str], said: str
) -> None:
    message = refused(change)
    assert re.sub(r"^deployments/image_sets/office.yaml:\d+: ", "", message).startswith(said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("max_surge: 2", "release_method: imediate"),
            'rollout.release_method: "imediate" is not one of the choices. What to do: Did you mean "immediate"? '
            "Known choices: immediate, opportunistic, scheduled.",
        ),
        (
            ("publish:\n", "publish:\n  managed_image: {resource_group: rg, name_pattern: always-the-same}\n"),
            'publish.managed_image.name_pattern: "always-the-same" cannot name managed images. What to do: Use up to 40',
        ),
        (
            ("kind: marketplace", "kind: marketplac"),
            'source.kind: "marketplac" is not one of the choices. What to do: Did you mean "marketplace"? '
            "Known choices: gallery_version, marketplace, session_host.",
        ),
        (
            ("  kind: marketplace\n", ""),
            "source.kind: is missing. What to do: Add it: it says which of the choices this is.",
        ),
        (
            ("max_surge: 2", "max_surge: 0"),
            "rollout.max_surge: 0 is neither a number of hosts nor a share of the pool. "
            'What to do: Write a whole number from 1, or a share from "1%" to "100%".',
        ),
        (("max_surge: 2", 'max_surge: "150%"'), "rollout.max_surge: '150%' is neither a number of hosts nor a share"),
        (
            ("max_surge: 2", "release_method: scheduled"),
            "rollout.scheduled_start: is missing, and release_method is scheduled. What to do: Add when users may be moved",
        ),
        (
            ("  - name: broad\n", "  - name: broad\n    release_method: scheduled\n"),
            "rings[1].release_method: is scheduled, and rollout.scheduled_start is missing. What to do: Add to rollout",
        ),
        (
            ("rings:\n", "approval:\n  release_methods: [immediate, scheduled]\nrings:\n"),
            "approval.release_methods[1]: is scheduled, and rollout.scheduled_start is missing. What to do: Add to rollout",
        ),
        (
            (
                "max_surge: 2",
                'windows: [{ days: [sat], start: "22:00", minutes: 60, time_zone: Europe/Atlantis }]',
            ),
            'rollout.windows[0].time_zone: "Europe/Atlantis" is no time zone that is known here',
        ),
        (
            ("max_surge: 2", 'windows: [{ days: [sat], start: "22:00", minutes: 10, time_zone: UTC }]'),
            "rollout.windows[0]: lasts 10 minutes, and nobody could be warned and signed out in it",
        ),
        (
            ("max_surge: 2", "waves: [60, 20]"),
            "rollout.waves: does not ascend to 100. What to do: Write ascending shares that end with 100",
        ),
        (
            ("max_surge: 2", "scheduled_start: tonight"),
            'rollout.scheduled_start: "tonight" is not a date and time with a time zone. What to do: Write it with its time zone',
        ),
        (
            ("max_surge: 2", "scheduled_start: 2026-11-14T22:00:00"),
            'rollout.scheduled_start: "2026-11-14T22:00:00" is not a date and time with a time zone.',
        ),
        (
            ("max_surge: 2", f"warning_message: {'x' * 261}"),
            "rollout.warning_message: is 261 characters long. What to do: Shorten it to 260: longer messages may be cut.",
        ),
        (
            ("max_surge: 2", "warning_message: bye {user}"),
            "rollout.warning_message: has braces that mean nothing here. What to do: Only {minutes} and {reason} are filled in",
        ),
        (
            ("name: hp-pilot", "name: hp"),
            'rings[0].pools[0].name: "hp" is not a host pool name. What to do: Use the name alone, 3 to 64 characters',
        ),
        (
            ("script: guest/apps.ps1", "script: ../apps.ps1"),
            'customise[0].script: there is no file "../apps.ps1".',
        ),
        (
            ("name: gal,", "name: gal-lery,"),
            'gallery.name: "gal-lery" is not a gallery name. What to do: Use up to 80 letters, digits, full stops and underscores',
        ),
        (("    - name: westeurope\n", ""), "publish.regions: is empty. What to do: Write a value after the colon"),
        (
            ("regions:\n    - name: westeurope", "regions: []"),
            "publish.regions: is empty. What to do: Write at least one.",
        ),
        (
            ("    - name: westeurope", "    - name: northeurope"),
            "publish.regions: westeurope is not among them, and the image is made there. What to do: Add `- name: westeurope`.",
        ),
        (
            ("    - name: westeurope", "    - name: westeurope\n    - name: westeurope"),
            'publish.regions[1].name: "westeurope" stands twice; the first is on line 19. What to do: Name each region once.',
        ),
        (
            ("name: broad", "name: pilot"),
            'rings[1].name: "pilot" stands twice; the first is on line 23. What to do: Give each ring its own name.',
        ),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_what_can(
    refused: Refusal, change: tuple[str, str], said: str
) -> None:
    message = refused(change)
    assert re.sub(r"^deployments/image_sets/office.yaml:\d+: ", "", message).startswith(said)


def test_a_name_prefix_that_leaves_no_room_for_the_number_is_refused(refused: Refusal) -> None:
    assert refused(("name_prefix: pil", "name_prefix: pilot-hosts-1")) == (
        'deployments/image_sets/office.yaml:29: rings[0].pools[0].hosts.name_prefix: "pilot-hosts-1" cannot begin the '
        "computer names of hosts. What to do: Use a letter, then up to 10 letters, digits and hyphens: "
        "Windows allows 15 characters and the number takes 4."
    )


def test_two_pools_with_one_name_prefix_are_refused_whatever_the_capitals(refused: Refusal) -> None:
    assert refused(("name_prefix: ofc", "name_prefix: PIL")) == (
        'deployments/image_sets/office.yaml:38: rings[1].pools[0].hosts.name_prefix: "PIL" stands twice; the first is on '
        "line 29. What to do: Give each pool its own: computer names must differ across all pools."
    )


def test_a_host_pool_in_two_rings_is_refused_with_both_lines(refused: Refusal) -> None:
    assert refused(("name: hp-office", "name: hp-pilot")) == (
        'deployments/image_sets/office.yaml:34: rings[1].pools[0].name: "hp-pilot" stands twice; the first is on line 25. '
        "What to do: A host pool belongs to one ring: remove it from the others."
    )


def test_a_script_that_is_not_there_is_refused_with_where_it_should_be(refused: Refusal) -> None:
    assert refused(("guest/apps.ps1", "guest/aps.ps1")) == (
        'deployments/image_sets/office.yaml:16: customise[0].script: there is no file "guest/aps.ps1". '
        "What to do: Add it as guest/aps.ps1, or correct the path."
    )


def test_a_custom_cloud_needs_endpoints_and_no_other_may_have_them(environment_refused: Refusal) -> None:
    assert environment_refused(("cloud: public", "cloud: custom")) == (
        "deployments/environments/lab.yaml:1: endpoints: is missing, and cloud is custom. "
        "What to do: Add the endpoints, or choose another cloud."
    )
    assert environment_refused(("cloud: custom\n", f"cloud: china\n{ENDPOINTS}")) == (
        "deployments/environments/lab.yaml:3: endpoints: stands here, but cloud is china. "
        "What to do: Remove the endpoints, or write cloud: custom."
    )


def test_a_key_that_is_not_https_or_not_known_is_refused_inside_endpoints(environment_refused: Refusal) -> None:
    strange = ENDPOINTS.replace("graph: https:", "graph: http:").replace("ca_file:", "ca_fil:")
    message = environment_refused(("cloud: public\n", f"cloud: custom\n{strange}"))
    assert message.splitlines() == [
        'deployments/environments/lab.yaml:8: endpoints.graph: "http://localhost:8443" is not an https address. '
        "What to do: Write it like https://management.azure.com.",
        "deployments/environments/lab.yaml:9: endpoints.ca_fil: is not a key that is known here. What to do: "
        'Did you mean "ca_file"? Known keys: authority, ca_file, graph, log_analytics, resource_manager, resource_manager_scope.',
    ]


def test_a_secret_in_the_place_of_its_variable_is_refused_and_not_repeated(environment_refused: Refusal) -> None:
    message = environment_refused(("LAB_SECRET", "q8Q~hunter2.hunter2"))
    assert message.startswith(
        "deployments/environments/lab.yaml:7: credential.secret_variable: what stands here is not the name of an environment "
        "variable. What to do: Write the variable's name, such as EVERGOLD_CLIENT_SECRET,"
    )
    assert "hunter2" not in message


def test_all_mistakes_of_a_file_are_told_at_once_in_the_order_of_its_lines(refused: Refusal) -> None:
    message = refused(
        ("environment: lab", "environment: lap"),
        ("location: westeurope", "location: West Europe"),
        ("  offer: office-365\n", ""),
        ("guest/apps.ps1", "guest/aps.ps1"),
        ("max_surge: 2", "max_surg: 2"),
        ("name: hp-office", "name: hp-pilot"),
    )
    assert [line.split(" ")[1] for line in message.splitlines()] == [
        "environment:",
        "location:",
        "source.offer:",
        "customise[0].script:",
        "publish.regions:",
        "rollout.max_surg:",
        "rings[1].pools[0].name:",
    ]


def test_each_problem_is_data_for_other_ways_of_showing_it(repository: Path) -> None:
    rewrite(repository / "deployments/image_sets/office.yaml", ("environment: lab", "environment: lap"))
    with pytest.raises(ConfigError) as caught:
        load_image_set("office")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.field) == ("deployments/image_sets/office.yaml", 2, "environment")
    assert problem.message == 'there is no environment "lap"'
    assert problem.remedy == 'Did you mean "lab"? Known environments: lab.'


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, len(IMAGE_SET)),
    cut=st.integers(0, 30),
    put=st.sampled_from(
        ["", ": ", "- ", "\t", '"', "!!int x", "&a", "*a", ".nan", "null", "[]", "{}", '"\\ud800"', "\0", "---\n", "é"]
    ),
)
def test_however_a_file_is_damaged_the_answer_is_in_our_own_words(
    repository: Path, at: int, cut: int, put: str
) -> None:
    file = repository / "deployments/image_sets/office.yaml"
    file.write_text(IMAGE_SET[:at] + put + IMAGE_SET[at + cut :], encoding="utf-8")
    problems = problems_in_office()
    assert all(str(each).startswith("deployments/image_sets/office.yaml") and each.remedy for each in problems)
    assert not [each for each in problems if "cannot stand here" in each.message], "a mistake without words of its own"


# What is shipped


@pytest.mark.parametrize("name", list_image_sets(REPOSITORY / "deployments"))
def test_every_shipped_image_set_loads_and_survives_a_round_trip(name: str) -> None:
    loaded = load_image_set(name, REPOSITORY / "deployments")
    assert ImageSet.model_validate_json(loaded.model_dump_json(), strict=True) == loaded


@pytest.mark.parametrize("name", list_environments(REPOSITORY / "deployments"))
def test_every_shipped_environment_loads_and_survives_a_round_trip(name: str) -> None:
    loaded = load_environment(name, REPOSITORY / "deployments")
    assert Environment.model_validate_json(loaded.model_dump_json(), strict=True) == loaded


@pytest.mark.parametrize("file", sorted((REPOSITORY / "deployments").glob("*s/*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_file_tells_editors_its_schema(file: Path) -> None:
    first = file.read_text().splitlines()[0]
    schema = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert schema is not None
    assert (file.parent / schema[1]).is_file()


def test_the_committed_schemas_are_those_of_the_models(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    for name, model in MODELS.items():
        committed = REPOSITORY / f"deployments/schemas/{name}.schema.json"
        assert committed.read_text() == schema_text(model) == (tmp_path / committed.name).read_text(), (
            "Write them again: python -m evergold.config.schema"
        )


def test_the_azure_role_grants_exactly_the_actions_that_the_table_explains() -> None:
    role = json.loads((REPOSITORY / "deployments/azure/evergold-role.json").read_text())
    assert role["Actions"] == sorted({each.action for each in PERMISSIONS})
    assert (role["IsCustom"], role["NotActions"], role["DataActions"], role["NotDataActions"]) == (True, [], [], [])
    assert all(re.fullmatch(r"/subscriptions/[0-9a-f-]{36}", scope) for scope in role["AssignableScopes"])


def test_no_action_is_granted_by_wildcard_or_listed_twice() -> None:
    actions = [each.action for each in PERMISSIONS]
    assert not [action for action in actions if "*" in action]
    assert len(actions) == len({action.lower() for action in actions})
    assert all(each.why and each.scopes for each in PERMISSIONS)


def test_what_is_needed_at_a_host_pool_is_told_apart_from_what_is_needed_elsewhere() -> None:
    needed = actions_needed(ScopeKind.POOL)
    assert "Microsoft.DesktopVirtualization/hostpools/sessionhosts/write" in needed
    assert not [action for action in needed if action.startswith("Microsoft.Compute/")]


def test_a_provisioning_policy_belongs_to_image_sets_of_one_gallery(repository: Path) -> None:
    folder = repository / "deployments/image_sets"
    desks = "cloud_pcs: {provisioning_policies: [Office Cloud PCs], rings: [{name: everyone}]}\n"
    (folder / "office.yaml").write_text(IMAGE_SET + desks)
    (folder / "other.yaml").write_text(
        IMAGE_SET.replace("name: office", "name: other", 1) + desks.replace("Office", "office")
    )
    assert load_image_set("office").cloud_pcs is not None
    rewrite(folder / "other.yaml", ("name: gal,", "name: gal_two,"))
    (problem,) = problems_in_office()
    assert (problem.field, problem.line) == ("cloud_pcs.provisioning_policies[0]", IMAGE_SET.count("\n") + 1)
    assert "also a policy of other" in problem.message
    rewrite(folder / "other.yaml", ("environment: lab", "environment: another"))
    assert problems_in_office() == ()


FILES = """\
  - name: tools
    kind: files
    files:
      - {source: guest/tools.json, destination: 'C:\\Tools\\tools.json'}
"""
WITH_FILES = ("publish:", FILES + "publish:")


def test_files_of_a_step_are_in_the_repository_and_small(repository: Path, refused: Refusal) -> None:
    assert 'customise[1].files[0].source: there is no file "guest/tools.json"' in refused(WITH_FILES)
    (repository / "guest/tools.json").write_bytes(b"x" * LARGEST_STEP)
    assert problems_in_office() == ()
    (repository / "guest/tools.json").write_bytes(b"x" * (LARGEST_STEP + 1))
    (problem,) = problems_in_office()
    assert (problem.field, "131,073 bytes together" in problem.message) == ("customise[1].files", True)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{destination: 'C:\\a'}", "says neither source nor url"),
        ("{source: a, url: 'https://h/a', sha256: " + 64 * "a" + ", destination: 'C:\\a'}", "says both source and url"),
        ("{url: 'https://h/a', destination: 'C:\\a'}", "sha256: is missing, and url is given"),
        (
            "{source: guest/apps.ps1, sha256: " + 64 * "a" + ", destination: 'C:\\a'}",
            "sha256: is given, and url is not",
        ),
        (
            "{url: 'https://h/a?sig=x', sha256: " + 64 * "a" + ", destination: 'C:\\a'}",
            "is not an https URL without a query",
        ),
        ("{source: guest/apps.ps1, destination: /etc/passwd}", "is not the path of a file on Windows"),
        ("{source: guest/apps.ps1, destination: 'C:\\Tools\\'}", "is not the path of a file on Windows"),
        ("{source: 'C:\\apps.ps1', destination: 'C:\\a'}", 'there is no file "C:'),
    ],
)
def test_a_file_that_could_not_be_placed_is_refused_with_the_reason(refused: Refusal, entry: str, says: str) -> None:
    old = "{source: guest/tools.json, destination: 'C:\\Tools\\tools.json'}"
    assert says in refused(("publish:", FILES.replace(old, entry) + "publish:"))


def test_more_scripts_than_find_room_on_a_machine_are_refused(refused: Refusal) -> None:
    many = "".join(f"  - {{name: s{number:02}, script: guest/apps.ps1}}\n" for number in range(15))
    assert "has 16 steps that run a script, and 15 find room" in refused(("publish:", many + "publish:"))


@pytest.mark.parametrize("setting", ["max_surge: 2", "retain_days: 3"])
def test_what_means_nothing_in_place_is_refused(refused: Refusal, setting: str) -> None:
    said = refused(("max_surge: 2", f"strategy: in_place\n  {setting}"))
    assert f"rollout.{setting.partition(':')[0]}: means nothing where strategy is in_place" in said


def test_a_reminder_after_the_sign_out_is_refused(refused: Refusal) -> None:
    said = refused(("max_surge: 2", "max_surge: 2\n  warn_minutes: 10\n  warn_again_minutes: 10"))
    assert "rollout.warn_again_minutes: is 10, and people are signed out after 10" in said
