"""A model's validation errors in words for the person who wrote the file: what stands there, what should, what was meant."""

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from evergold.config.base import PROBLEM
from evergold.config.document import Document, Place
from evergold.config.errors import Problem

_KINDS: list[tuple[type | tuple[type, ...], str]] = [
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "a group of keys"),
]
_WANTED = {
    "int_type": ("a whole number", "Write digits alone, without quotes or units."),
    "float_type": ("a number", "Write digits alone, without quotes or units."),
    "bool_type": ("true or false", "Write true or false, without quotes."),
    "string_type": ("text", "Put it in quotes."),
    "tuple_type": ("a list", "Put each item on its own line, with `- ` before it."),
    "dict_type": ("a group of keys", "Put each `key: value` on its own line below, indented."),
    "model_type": ("a group of keys", "Put each `key: value` on its own line below, indented."),
    "model_attributes_type": ("a group of keys", "Put each `key: value` on its own line below, indented."),
}
_TIME_REMEDY = "Write it with its time zone, such as 2026-11-14T22:00:00+01:00 or 2026-11-14T21:00:00Z."


def closest(word: str, known: Iterable[str], *, what: str) -> str:
    """A remedy that suggests the nearest of the known words and lists them all. `what` is their plural."""
    words = sorted(known)
    if not words:
        return f"There are no {what} yet: add one."
    near = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    meant = f'Did you mean "{near[0]}"? ' if near else ""
    return f"{meant}Known {what}: {', '.join(words)}."


@dataclass(frozen=True)
class _Mistake:
    """What the validator found: its name for it, what stands there, and the keys that are known around the place."""

    kind: str
    given: Any
    context: Mapping[str, Any]
    place: Place
    known: list[str]
    said: str


def problems_of(error: ValidationError, document: Document, model: type[BaseModel]) -> Iterator[Problem]:
    """Each error once, at its place in the document."""
    for details in error.errors(include_url=False):
        if details["type"] == "too_short" and details["input"]:
            continue  # the list is not empty: its items were refused, and each says why by itself
        place, known = _locate(details["loc"], model)
        context: Mapping[str, Any] = details.get("ctx") or {}
        if details["type"] == PROBLEM and context["field"]:
            place = (*place, context["field"])
        elif details["type"].startswith("union_tag"):
            place = (*place, str(context["discriminator"]).strip("'()"))
        mistake = _Mistake(details["type"], details["input"], context, place, known, details["msg"])
        yield document.problem(place, *_words(mistake))


def _words(found: _Mistake) -> tuple[str, str]:
    """The message and the remedy."""
    if found.kind == PROBLEM:
        return str(found.context["message"]), str(found.context["remedy"])
    if found.given is None and found.kind != "missing":
        return "is empty", "Write a value after the colon, or remove the key if it may be left out."
    if found.kind in _WANTED:
        wanted, remedy = _WANTED[found.kind]
        return f"must be {wanted}, not {_shown(found.given)}", remedy
    if found.kind in _OTHERS:
        return _OTHERS[found.kind](found)
    if found.kind.startswith(("datetime", "timezone")):
        return f"{_shown(found.given)} is not a date and time with a time zone", _TIME_REMEDY
    return f"{_shown(found.given)} cannot stand here ({found.said})", "Correct the value."


def _choice(found: _Mistake) -> tuple[str, str]:
    choices = str(found.context["expected"]).replace(" or ", ", ").replace("'", "").split(", ")
    return f"{_shown(found.given)} is not one of the choices", closest(str(found.given), choices, what="choices")


def _kind(found: _Mistake) -> tuple[str, str]:
    kinds = str(found.context["expected_tags"]).replace("'", "").split(", ")
    given = str(found.context["tag"])
    return f'"{given}" is not one of the choices', closest(given, kinds, what="choices")


def _too_small(found: _Mistake) -> tuple[str, str]:
    least = f"at least {found.context['ge']}" if "ge" in found.context else f"more than {found.context['gt']:g}"
    return f"{_shown(found.given)} is too small", f"Write {least}."


_OTHERS: dict[str, Callable[[_Mistake], tuple[str, str]]] = {
    "missing": lambda found: ("is missing", f"Add `{found.place[-1]}:` here."),
    "extra_forbidden": lambda found: (
        "is not a key that is known here",
        closest(str(found.place[-1]), found.known, what="keys"),
    ),
    "literal_error": _choice,
    "union_tag_invalid": _kind,
    "union_tag_not_found": lambda _: ("is missing", "Add it: it says which of the choices this is."),
    "greater_than_equal": _too_small,
    "greater_than": _too_small,
    "less_than_equal": lambda found: (
        f"{_shown(found.given)} is too large",
        f"Write at most {found.context['le']:g}.",
    ),
    "too_short": lambda _: ("is empty", "Write at least one."),
    "string_too_short": lambda _: ("is empty", "Write the value."),
}


def _shown(given: Any) -> str:
    if isinstance(given, list | dict):
        return next(words for kind, words in _KINDS if isinstance(given, kind))
    return json.dumps(given, ensure_ascii=False)


def _locate(loc: tuple[int | str, ...], model: type[BaseModel]) -> tuple[Place, list[str]]:
    """The place in the file, without the names that pydantic adds for a union's choice; and the keys known around it."""
    kind: Any = model
    place: list[int | str] = []
    known: list[str] = []
    for part in loc:
        chosen = _choice_named(kind, part)
        if chosen is not None:
            kind = chosen
            continue
        place.append(part)
        known = list(kind.model_fields) if _is_model(kind) else []
        kind = _kind_at(kind, part)
    return tuple(place), known


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _choice_named(kind: Any, name: int | str) -> type[BaseModel] | None:
    """Of a union of models told apart by `kind`: the one with this name."""
    for each in (get_args(option)[0] if get_origin(option) is Annotated else option for option in get_args(kind)):
        if _is_model(each) and "kind" in each.model_fields and name in get_args(each.model_fields["kind"].annotation):
            return each  # type: ignore[no-any-return]
    return None


def _kind_at(kind: Any, part: int | str) -> Any:
    """The type of a model's field or a tuple's items, without `| None`."""
    inner: Any = None
    if _is_model(kind) and part in kind.model_fields:
        field: FieldInfo = kind.model_fields[part]
        inner = field.annotation
    elif get_origin(kind) is tuple:
        inner = get_args(kind)[0]
    if get_origin(inner) is Annotated:
        inner = get_args(inner)[0]
    models = [each for each in get_args(inner) if _is_model(each)]
    return models[0] if len(models) == 1 and get_origin(inner) is not tuple else inner
