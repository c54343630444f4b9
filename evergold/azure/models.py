"""The desktop SDK's models, made from JSON some ten times as fast as it makes them itself.

Every look at a pool reads all its session hosts, and the SDK works out anew for every one how its model is made. Here that is worked out
once for each model, from the SDK's own description of it.

Promise: what comes out equals what the SDK makes. Whatever is not plainly of the type that the description says is left to the SDK.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

Convert = Callable[[Any], Any]
LEVELS = re.compile(r"(?<!\\)\.")  # between the levels of a flattened property; a dot in a name is written "\."
PLAIN: dict[str, type] = {"str": str, "int": int, "bool": bool}


class NotPlainError(Exception):
    """A value, or a model, that the SDK is to make sense of."""


def make_quick(*operations: Any) -> None:
    """Has these groups of an SDK client's operations make their models the quick way; they share one deserialiser."""
    quick = QuickModels(operations[0]._deserialize)
    for each in operations:
        each._deserialize = quick


class QuickModels:
    """Called as the SDK calls its deserialiser: with a model's name and a response."""

    def __init__(self, sdk: Any) -> None:
        self._sdk = sdk
        self._makers: dict[str, Convert] = {}

    def __call__(self, target: str, response: Any, content_type: str | None = None) -> Any:
        """The model that the response's body is. Raises what the SDK raises."""
        data = self._sdk._unpack_content(response, content_type)
        try:
            return self._converter(target)(data)
        except NotPlainError:
            return self._sdk(target, data)

    def failsafe_deserialize(self, target: Any, response: Any, content_type: str | None = None) -> Any:
        """What the body of a refusal is, as the SDK sees it."""
        return self._sdk.failsafe_deserialize(target, response, content_type)

    def _converter(self, kind: str) -> Convert:
        if kind not in self._makers:
            self._makers[kind] = self._new_converter(kind)
        return self._makers[kind]

    def _new_converter(self, kind: str) -> Convert:
        if kind in PLAIN:
            return _plain(PLAIN[kind])
        if kind == "iso-8601":
            return _moment
        if kind.startswith("["):
            return _list_of(self._converter(kind[1:-1]))
        if kind.startswith("{"):
            return _dict_of(self._converter(kind[1:-1]))
        model = self._sdk.dependencies.get(kind)
        if not hasattr(model, "_attribute_map") or getattr(model, "_subtype_map", None):
            return _left_to_the_sdk
        return self._maker(model)

    def _maker(self, model: Any) -> Convert:
        attributes = [
            (name, tuple(_levels(described["key"])), self._converter(described["type"]))
            for name, described in model._attribute_map.items()
        ]
        set_by_azure = frozenset(name for name, rule in model._validation.items() if rule.get("readonly"))
        if any(rule.get("constant") for rule in model._validation.values()):
            return _left_to_the_sdk
        known = frozenset(path[0] for _, path, _ in attributes)

        def make(data: Any) -> Any:
            if not isinstance(data, dict):
                raise NotPlainError
            values = {name: _at(data, path, convert) for name, path, convert in attributes}
            made = model(**{name: value for name, value in values.items() if name not in set_by_azure})
            for name in set_by_azure:
                setattr(made, name, values[name])
            if unknown := data.keys() - known:
                made.additional_properties = {name: data[name] for name in unknown}
            return made

        return make


def _levels(key: str) -> Iterator[str]:
    return (level.replace("\\.", ".") for level in LEVELS.split(key))


def _at(data: Any, path: tuple[str, ...], convert: Convert) -> Any:
    for level in path:
        if data is None:
            return None
        if not isinstance(data, dict):
            raise NotPlainError
        data = data.get(level)
    return None if data is None else convert(data)


def _plain(wanted: type) -> Convert:
    def convert(value: Any) -> Any:
        if type(value) is not wanted:
            raise NotPlainError
        return value

    return convert


def _moment(value: Any) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError) as odd:
        raise NotPlainError from odd


def _list_of(convert: Convert) -> Convert:
    def convert_all(values: Any) -> Any:
        if not isinstance(values, list):
            raise NotPlainError
        return [None if value is None else convert(value) for value in values]

    return convert_all


def _dict_of(convert: Convert) -> Convert:
    def convert_all(values: Any) -> Any:
        if not isinstance(values, dict):
            raise NotPlainError
        return {name: None if value is None else convert(value) for name, value in values.items()}

    return convert_all


def _left_to_the_sdk(_: Any) -> Any:
    raise NotPlainError
