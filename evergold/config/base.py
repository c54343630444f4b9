"""What every configuration model is built from.

`Part` is a frozen model that refuses unknown keys. `Shape` is a pattern for a text, with the words to say when a text does not
fit it: the errors people see are written here and beside the fields, not by a library.
"""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

PROBLEM = "evergold_problem"


def problem(message: str, remedy: str, *, field: str = "") -> PydanticCustomError:
    """An error with its own words; `field` names a key below the place where it is raised."""
    return PydanticCustomError(PROBLEM, "{message}. {remedy}", {"message": message, "remedy": remedy, "field": field})


class Part(BaseModel):
    """A frozen piece of configuration. Unknown keys are errors, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Shape:
    """A regular expression that a whole text must match, and what to say when it does not.

    `secret` keeps the text itself out of the message: it may be a password in the wrong place.
    """

    pattern: str
    message: str
    remedy: str
    secret: bool = False

    def check(self, text: str) -> str:
        """The text itself, when it fits."""
        if re.fullmatch(self.pattern, text) is None:
            found = "" if self.secret else f'"{text}" '
            raise problem(f"{found}{self.message}", self.remedy)
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = handler(schema)
        written["pattern"] = f"^(?:{self.pattern})$"
        return written
