"""YAML to plain data, with each value's line, and `${ENV}` filled in. Bounded, whatever the file holds.

In our own sections every scalar stays the text that stands in the file, and becomes a number or a truth where the
setting wants one: so a key `0123` or a model `4.5` needs no quotes. In a plugin's section scalars are YAML's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import yaml

from llm_one_api.errors import Fault
from llm_one_api.settings.schema import PLUGIN_KINDS

# Where PyYAML was built without it, what is made of it fails at once, and the other loader is used.
_LibYaml: Any = yaml.cyaml.CParser if yaml.__with_libyaml__ else object  # type: ignore[attr-defined]

Keys = tuple[str, ...]

MAX_BYTES = 2**20
MAX_DEPTH = 32
MAX_VALUES = 100_000
_SHOWN = 60
_BY_FINGERPRINT = ("limits", "keys")
_SK = "sk-"
"""A name that begins so may be a key, wherever it stands."""
_NO_TAGS = "a tag (!…) is not allowed: a config holds plain text, numbers, lists and mappings"
_TAG = "tag:yaml.org,2002:"
_TEXTS = {_TAG + kind for kind in ("str", "value", "merge")}
_SCALARS = _TEXTS | {_TAG + kind for kind in ("int", "float", "bool", "null", "timestamp")}
_VARIABLE = re.compile(r"(?P<plain>\$\$\{)|\$\{(?P<body>[^{}]*)\}|\$\{")
_BODY = re.compile(r"([A-Za-z_]\w*)(?::-(.*))?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written."""

    line: int | None = None
    variable: str | None = None
    """The environment variable that it came from."""
    hidden: bool = False
    """Whether it has something of the environment in it, and so must not be shown."""


@dataclass(slots=True)
class Document:
    """What was read, value by value."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Keys, Origin] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unread: set[Keys] = field(default_factory=set)
    """What could not be read: told already, and None in the data."""

    def is_told(self, path: Keys) -> bool:
        """Tell whether something wrong at *path* only follows from what could not be read."""
        return any(path[: len(known)] == known[: len(path)] for known in self.unread)

    def origin(self, path: Keys) -> Origin:
        """Tell where *path*, or the nearest thing around it, was written."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
        return Origin()

    def blame(self, path: Keys, message: str) -> None:
        """Keep a fault at *path*."""
        origin = self.origin(path)
        self.faults.append(Fault(dotted(path), message, origin.line, origin.variable))

    def forget(self, path: Keys) -> None:
        """Drop what is known of *path* and all below it."""
        for known in [known for known in self.origins if known[: len(path)] == path]:
            del self.origins[known]


class UnreadableError(Exception):
    """The text cannot be used at all."""

    def __init__(self, message: str, line: int | None = None) -> None:
        """Say what is wrong, and on which line."""
        super().__init__(message)
        self.message = message
        self.line = line


def dotted(path: Keys) -> str:
    """Write *path* for a person."""
    if path[:2] == _BY_FINGERPRINT and not all(name.startswith("key_") for name in path[2:3]):
        path = _BY_FINGERPRINT  # what stands there may be the key itself
    longest = (len(_SK) if name.startswith(_SK) else _SHOWN - 1 for name in path)
    parts = (name if len(name) <= most + 1 else name[:most] + "…" for name, most in zip(path, longest, strict=True))
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in ".".join(parts)) or "the file"


class _Composer(yaml.composer.Composer):
    """Composes nodes, down to a bounded depth: the composer and we recurse."""

    depth = 0
    line = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.depth >= MAX_DEPTH:
            raise UnreadableError(f"is nested more than {MAX_DEPTH} levels deep", self.line + 1)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Loader(_Composer, yaml.SafeLoader):
    """Reads all by itself: slow, and it says best what is wrong."""


class _QuickLoader(_Composer, _LibYaml, yaml.resolver.Resolver):  # type: ignore[misc]
    """Has libyaml tell the text apart, in a tenth of the time: a reload reads the config beside calls."""

    def __init__(self, text: str) -> None:
        _LibYaml.__init__(self, text)
        _Composer.__init__(self)
        yaml.resolver.Resolver.__init__(self)


def decode(raw: bytes) -> str:
    """Decode a config file; raise `UnreadableError` naming the line that is not UTF-8."""
    if len(raw) > MAX_BYTES:
        raise UnreadableError(f"is larger than {MAX_BYTES} bytes: this cannot be a config file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UnreadableError("is not UTF-8 text: save it as UTF-8", line) from None


def compose(text: str) -> yaml.Node | None:
    """Parse *text* into nodes; raise `UnreadableError` with the line, and without any of the text."""
    with suppress(Exception):  # whatever it is, the other one says it in better words, and with the line
        quick: yaml.Node | None = _QuickLoader(text).get_single_node()
        return quick
    loader = None
    try:
        loader = _Loader(text)
        node: yaml.Node | None = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UnreadableError(_in_words(error), mark.line + 1 if mark else None) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UnreadableError("has a control character in it", line) from None
    finally:
        if loader is not None:
            loader.dispose()
    return node


def _in_words(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be understood"
    if "undefined alias" in problem:
        return "an alias (*name) refers to nothing; a text that begins with * needs quotes"
    if "\\t" in problem:
        return "a tab where YAML wants spaces: indent with spaces"
    if "undefined tag" in problem:
        return _NO_TAGS
    if "duplicate anchor" in problem:
        return "an anchor (&name) stands twice"
    context = f" {error.context}," if error.context and "anchor" not in error.context else ""
    return f"is not YAML:{context} {problem}"


class Reader:
    """Turns nodes into data, filling in variables and collecting faults."""

    def __init__(self, document: Document, environ: Mapping[str, str], variable: str | None = None) -> None:
        """Write into *document*; *variable* is set if the text came from one."""
        self._document = document
        self._environ = environ
        self._variable = variable
        self._above: set[int] = set()
        self._values = 0

    def value(self, node: yaml.Node, path: Keys, line: int | None = None) -> Any:
        """Make the value at *path*; *line* is that of its name, if it has one."""
        self._values += 1
        if self._values > MAX_VALUES or len(path) > MAX_DEPTH:
            raise UnreadableError("grows without end: aliases (*name) multiply what they stand for", line)
        self._document.origins[path] = self._origin(line or node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        kind = "map" if isinstance(node, yaml.MappingNode) else "seq"
        if node.tag != _TAG + kind:
            return self._refuse_tag(path)
        if id(node) in self._above:
            return self._refuse(path, "an alias (*name) refers to what it stands in")
        self._above.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, path)
            return [self.value(item, (*path, str(number))) for number, item in enumerate(node.value)]
        finally:
            self._above.discard(id(node))

    def mapping(self, node: yaml.MappingNode, path: Keys) -> dict[str, Any]:
        """Make a mapping, its names being the text that stands there."""
        data: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._blame(path, "a name must be a text, not a list or a mapping", line)
            elif key.tag == _TAG + "merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            elif key.tag not in _SCALARS:
                self._blame(path, "a name must have no tag (!…)", line)
            elif key.value in lines:
                message = f"stands twice; first on line {lines[key.value]}"
                self._blame((*path, key.value), message, line)
            else:
                lines[key.value] = line
                data[key.value] = self.value(value, (*path, key.value), line)
        for other in merged:
            self._merge(other, data, path)
        return data

    def _merge(self, node: yaml.Node, data: dict[str, Any], path: Keys) -> None:
        """Add what `<<: *name` brings; what is there wins."""
        if not isinstance(node, yaml.MappingNode) or id(node) in self._above:
            self._blame(path, "<<: must refer to a mapping elsewhere", node.start_mark.line + 1)
            return
        self._above.add(id(node))
        before = {known: origin for known, origin in self._document.origins.items() if known[: len(path)] == path}
        for name, value in self.mapping(node, path).items():
            data.setdefault(name, value)
        self._document.origins.update(before)
        self._above.discard(id(node))

    def _scalar(self, node: yaml.ScalarNode, path: Keys) -> Any:
        if node.tag not in _SCALARS:
            return self._refuse_tag(path)
        if node.tag == _TAG + "null":
            return None
        if node.tag in _TEXTS or not path or path[0] not in PLUGIN_KINDS:
            return self._fill_in(node.value, path)
        try:
            return yaml.constructor.SafeConstructor().construct_object(node)
        except (ValueError, OverflowError, KeyError, AttributeError):
            return self._refuse(path, "looks like a number or a date, but is none: put it in quotes")

    def _fill_in(self, text: str, path: Keys) -> str | None:
        """Put the environment's variables in; in a value that came from there, `${` is no sign of ours."""
        if self._variable is not None or "${" not in text:
            return text
        line = self._document.origin(path).line
        complaints: list[str] = []

        def variable(match: re.Match[str]) -> str:
            if match["plain"]:
                return "${"
            body = _BODY.fullmatch(match["body"] or "")
            if body is None:
                complaints.append("has a ${ that is no ${NAME} or ${NAME:-default}; write $${ for the two characters")
                return ""
            name, default = body.groups()
            value = self._environ.get(name)
            if default is not None:
                return value or default
            if not value:
                state = "not set" if value is None else "empty"
                complaints.append(f"the environment variable {name} is {state} (${{{name}:-default}} gives a default)")
            return value or ""

        filled = _VARIABLE.sub(variable, text)
        self._document.origins[path] = Origin(line=line, hidden=True)
        for complaint in dict.fromkeys(complaints):
            self._refuse(path, complaint)
        return None if complaints else filled

    def _refuse_tag(self, path: Keys) -> None:
        return self._refuse(path, _NO_TAGS)

    def _refuse(self, path: Keys, message: str) -> None:
        self._document.unread.add(path)
        self._document.blame(path, message)

    def _blame(self, path: Keys, message: str, line: int) -> None:
        origin = self._origin(line)
        self._document.faults.append(Fault(dotted(path), message, origin.line, origin.variable))

    def _origin(self, line: int) -> Origin:
        return Origin(variable=self._variable) if self._variable else Origin(line=line)
