"""Writes the JSON schemas that editors use to complete and check the YAML: `python -m evergold.config.schema`.

The files are committed. They are made from the models, and a test fails when they have fallen behind.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from evergold.config.automations import Automation, Channels
from evergold.config.load import deployments_root
from evergold.config.models import Environment, ImageSet

MODELS: Final[Mapping[str, type[BaseModel]]] = {
    "image_set": ImageSet,
    "environment": Environment,
    "automation": Automation,
    "channels": Channels,
}


def schema_text(model: type[BaseModel]) -> str:
    """The model's JSON schema (draft 2020-12) as it stands in a file."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> None:
    """Writes a `<name>.schema.json` for each kind of file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in MODELS.items():
        (folder / f"{name}.schema.json").write_text(schema_text(model), encoding="utf-8")


if __name__ == "__main__":
    write_schemas(deployments_root() / "schemas")
