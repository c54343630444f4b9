"""The forms in the Prefect UI: each field explained, nothing nested, and what may be chosen offered to choose from."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from evergold.config.load import list_image_sets, load_image_set

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOYMENTS = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]
SIMPLE = {"string", "boolean", "integer", "number"}


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    """The flow of a deployment."""
    file, _, name = deployment["entrypoint"].partition(":")
    found = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
    assert isinstance(found, Flow)
    return found


def fields_of(deployment: dict[str, Any]) -> dict[str, Any]:
    """The fields of a deployment's form, by name."""
    return dict(parameter_schema(flow_of(deployment)).model_dump()["properties"])


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["name"])
def test_every_field_is_explained_and_simple(deployment: dict[str, Any]) -> None:
    for name, field in fields_of(deployment).items():
        assert field.get("description"), f"{name}: say what it is in the flow's Args"
        assert field.get("type") in SIMPLE, f"{name} is shown as {field}"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["name"])
def test_image_sets_and_pools_are_chosen_from_what_there_is(deployment: dict[str, Any]) -> None:
    pools = {p.name for each in list_image_sets() for ring in load_image_set(each).rings for p in ring.pools}
    fields = fields_of(deployment)
    if "image_set" in fields:
        assert fields["image_set"]["enum"] == list_image_sets()
    if "pool" in fields:
        assert pools <= set(fields["pool"]["enum"])


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["name"])
def test_what_a_schedule_gives_is_what_the_form_takes(deployment: dict[str, Any]) -> None:
    fields = fields_of(deployment)
    for schedule in deployment.get("schedules", []):
        assert set(schedule.get("parameters", {})) <= set(fields)


def test_a_version_that_is_none_is_refused_before_a_run_starts() -> None:
    rollout = next(each for each in DEPLOYMENTS if each["name"] == "roll-out-image")
    assert fields_of(rollout)["image_version"]["pattern"] == r"^\d+\.\d+\.\d+$"
