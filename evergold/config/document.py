"""A YAML file as plain data that remembers on which line each key stands.

Texts stay texts: a date is not guessed to be one, since the models know which fields are times. Reports as problems what YAML
itself allows and a configuration file should not: keys that stand twice, tags, merge keys.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from evergold.config.errors import ConfigError, Problem

Place = tuple[str | int, ...]
_TAG = "tag:yaml.org,2002:"
_TEXTS = {f"{_TAG}str", f"{_TAG}timestamp"}
_SCALARS = {f"{_TAG}{kind}" for kind in ("int", "float", "bool", "null")}


def field_name(path: Place) -> str:
    """A path as people write it: `rings[0].pools[1].name`."""
    written = ""
    for part in path:
        written += f"[{part}]" if isinstance(part, int) else f".{part}" if written else part
    return written


@dataclass(frozen=True)
class Document:
    """A file's content. `lines` has each key's and each list item's line, counted from 1."""

    file: str
    data: dict[str, Any]
    lines: dict[Place, int]
    problems: tuple[Problem, ...]

    def line(self, path: Place) -> int:
        """The line of the path, or of the nearest thing around it that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: Place, message: str, remedy: str) -> Problem:
        """A problem at this place."""
        return Problem(self.file, self.line(path), field_name(path), message, remedy)

    def texts(self, *pattern: str) -> list[tuple[Place, str]]:
        """Every text that stands where the pattern says; `*` means each item of a list. What does not fit is passed over."""
        found: list[tuple[Place, Any]] = [((), self.data)]
        for step in pattern:
            found = [inner for path, value in found for inner in _inside(path, value, step)]
        return [(path, value) for path, value in found if isinstance(value, str)]


def _inside(path: Place, value: Any, step: str) -> list[tuple[Place, Any]]:
    if step == "*":
        return [((*path, i), item) for i, item in enumerate(value)] if isinstance(value, list) else []
    return [((*path, step), value[step])] if isinstance(value, dict) and step in value else []


def read_document(path: Path, shown: str) -> Document:
    """Reads a file; `shown` is how messages name it. Raises ConfigError when it is not YAML with keys at its top."""
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(
            [Problem(shown, 0, "", "is not UTF-8 text", "Save it again with the encoding UTF-8.")]
        ) from error
    except OSError as error:
        remedy = "See that it is there and that this user may read it."
        raise ConfigError([Problem(shown, 0, "", f"cannot be read ({error.strerror})", remedy)]) from error
    except YAMLError as error:
        raise ConfigError([_malformed(shown, error)]) from error
    if not isinstance(node, MappingNode):
        message = "is empty" if node is None else "is not a list of `key: value` lines"
        raise ConfigError([Problem(shown, 1, "", message, "Start from one of the files that stand beside it.")])
    reader = _Reader(yaml, shown)
    return Document(shown, reader.mapping(node, ()), reader.lines, tuple(reader.problems))


def _malformed(shown: str, error: YAMLError) -> Problem:
    line, detail = 0, str(error)
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 0
        detail = ", ".join(part for part in (error.problem, error.context) if part)
    return Problem(
        shown,
        line,
        "",
        f"is not valid YAML ({detail})",
        "Look at this line and the one above it: indent with spaces as the lines around it are, put a space after each colon, "
        "and close every quote.",
    )


class _Reader:
    """Turns nodes into data, and notes lines and problems on the way."""

    def __init__(self, yaml: YAML, shown: str) -> None:
        self._yaml = yaml
        self._shown = shown
        self._open: list[Node] = []
        self.lines: dict[Place, int] = {}
        self.problems: list[Problem] = []

    def mapping(self, node: MappingNode, path: Place) -> dict[str, Any]:
        self.lines.setdefault(path, node.start_mark.line + 1)
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _whole(key_node.value) if isinstance(key_node, ScalarNode) else "?"
            line = key_node.start_mark.line + 1
            place = (*path, key)
            if key in data:
                message = f"stands twice; the first is on line {self.lines[place]}"
                self._note(line, place, message, "Remove one of the two.")
                continue
            if key_node.tag == f"{_TAG}merge" or not isinstance(key_node, ScalarNode):
                self._note(line, place, "is not a plain key", "Write the keys out where they are needed.")
                continue
            self.lines[place] = line
            data[key] = self._value(value_node, place)
        return data

    def _value(self, node: Node, path: Place) -> Any:
        if node in self._open:
            self._note(self.lines[path], path, "contains itself", "Write the values out instead of the * reference.")
            return None
        self._open.append(node)
        try:
            if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
                return self.mapping(node, path)
            if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
                return [self._item(item, (*path, i)) for i, item in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._open.pop()

    def _item(self, node: Node, path: Place) -> Any:
        self.lines[path] = node.start_mark.line + 1
        return self._value(node, path)

    def _scalar(self, node: Node, path: Place) -> Any:
        line = self.lines[path]
        if node.tag in _TEXTS:
            text = _whole(node.value)
            if text != node.value:
                self._note(
                    line, path, "has half a character in it", "Type the character itself instead of its \\u code."
                )
            return text
        if node.tag not in _SCALARS:
            self._note(line, path, f"has the tag {node.tag}", "Remove the tag; write a plain value.")
            return None
        try:
            return self._yaml.constructor.construct_object(node)
        except (ValueError, KeyError):
            self._note(line, path, "is not what its tag says", "Remove the tag; write a plain value.")
            return None

    def _note(self, line: int, path: Place, message: str, remedy: str) -> None:
        self.problems.append(Problem(self._shown, line, field_name(path), message, remedy))


def _whole(text: str) -> str:
    """The text with halves of characters (lone surrogates, which cannot be printed or sent) replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")
