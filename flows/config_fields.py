"""What can be configured: every field's dotted name, default, meaning and what it allows.

Owns the reading of pydantic models as documentation. Never reads a file or a value.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

KEY = "[key]"
"""In the location of an error: the key before it is what is wrong."""


@dataclass(frozen=True)
class Section:
    """One table of the file: a model's name in dots, its meaning and its own fields."""

    path: str
    meaning: str
    fields: tuple[ConfigField, ...]


@dataclass(frozen=True)
class ConfigField:
    """One field: `path` is its dotted name from the file's top."""

    path: str
    default: Any
    required: bool
    meaning: str
    allowed: str

    @property
    def name(self) -> str:
        """The last part of the dotted name: the key in its table."""
        return self.path.rpartition(".")[2]


def sections(model: type[BaseModel], path: str = "") -> Iterator[Section]:
    """Every table of `model`, outer before inner, in the order of definition."""
    own: list[ConfigField] = []
    inner: list[tuple[str, type[BaseModel]]] = []
    for name, info in model.model_fields.items():
        dotted = f"{path}.{name}" if path else name
        nested = model_of(info.annotation)
        if nested is not None:
            inner.append((dotted, nested))
            continue
        own.append(
            ConfigField(
                path=dotted,
                default=None if info.is_required() else info.get_default(call_default_factory=True),
                required=info.is_required(),
                meaning=info.description or "",
                allowed=allowed(info),
            )
        )
    if path:
        yield Section(path, first_sentence(model.__doc__), tuple(own))
    for dotted, nested in inner:
        yield from sections(nested, dotted)


def first_sentence(text: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((text or "").strip().split("\n\n")[0].split())


def model_of(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - any type expression
    """The pydantic model that an annotation names, through `| None` and `Annotated`."""
    for part in _alternatives(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def allowed(info: FieldInfo) -> str:
    """What a field takes, in words: "a whole number from 1 to 60"."""
    return _in_words(info.annotation, tuple(info.metadata))


def allowed_at(model: type[BaseModel], location: Sequence[str | int]) -> str:
    """What the place that an error names takes, in words; empty where it is no field's.

    Args:
        model: the model of the whole.
        location: names and positions from the top; after a field of a table's kind its keys, with
            "[key]" where the key itself is meant.
    """
    choice = _annotation_at(model, location)
    return "" if choice is None else _in_words(*choice)


def choices_at(model: type[BaseModel], location: Sequence[str | int]) -> tuple[str, ...]:
    """The words that may stand at the place that an error names; none where any may."""
    choice = _annotation_at(model, location)
    kinds = () if choice is None else _alternatives(choice[0])
    return tuple(
        str(word) for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)
    )


def is_table(model: type[BaseModel], location: Sequence[str | int]) -> bool:
    """Whether the place that an error names holds a table of fields."""
    choice = _annotation_at(model, location)
    return not location or (choice is not None and model_of(choice[0]) is not None)


def _annotation_at(
    model: type[BaseModel], location: Sequence[str | int]
) -> tuple[Any, tuple[Any, ...]] | None:
    current: Any = model
    constraints: tuple[Any, ...] = ()
    for place, part in enumerate(location):
        nested = model_of(current)
        if nested is not None:
            info = nested.model_fields.get(str(part))
            if info is None:
                return None
            current, constraints = info.annotation, tuple(info.metadata)
            continue
        kinds = [get_args(kind) for kind in _alternatives(current) if get_args(kind)]
        if not kinds:
            break
        constraints = ()
        if KEY in location[place + 1 :]:
            return kinds[0][0], ()
        current = kinds[0][0] if isinstance(part, int) else kinds[0][-1]
    return current, constraints


def names_at(model: type[BaseModel], location: Sequence[str | int]) -> tuple[str, ...]:
    """The keys of the table that holds `location`'s last part; empty where there is none."""
    parent: type[BaseModel] | None = model
    for part in location[:-1]:
        info = parent.model_fields.get(str(part)) if parent is not None else None
        parent = model_of(info.annotation) if info is not None else None
    return tuple(parent.model_fields) if parent is not None else ()


def suggestion(name: str, known: Sequence[str]) -> str:
    """` Did you mean "x"?` for the closest of `known`, or nothing where none is close."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f' Did you mean "{close[0]}"?' if close else ""


def _alternatives(annotation: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """The members of a union without None, or the annotation itself; `Annotated` taken off."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(
            found
            for part in get_args(annotation)
            if part is not types.NoneType
            for found in _alternatives(part)
        )
    return (annotation,)


def _in_words(annotation: Any, constraints: Sequence[Any]) -> str:  # noqa: ANN401
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _in_words(inner, (*constraints, *more))
    parts = _alternatives(annotation)
    if len(parts) > 1:
        return " or ".join(_in_words(part, constraints) for part in parts)
    kind = parts[0]
    origin = get_origin(kind)
    if origin is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in get_args(kind))
    if origin in (tuple, list, set, frozenset):
        item = _in_words(get_args(kind)[0], ()) if get_args(kind) else "a value"
        least = next((c.min_length for c in constraints if isinstance(c, MinLen)), 0)
        return f"a list{f' of at least {least}' if least else ''}, each {item}"
    if origin is dict or str(origin).endswith("Mapping'>"):
        return "a table of names and values"
    return _WORDS.get(kind, "a text") + _bounds(constraints)


_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    date: "a date such as 2024-12-31",
}


def _bounds(constraints: Sequence[Any]) -> str:
    low = next((f"{c.ge}" for c in constraints if isinstance(c, Ge)), "")
    above = next((f"{c.gt}" for c in constraints if isinstance(c, Gt)), "")
    high = next((f"{c.le}" for c in constraints if isinstance(c, Le)), "")
    below = next((f"{c.lt}" for c in constraints if isinstance(c, Lt)), "")
    if low and high:
        return f" from {low} to {high}"
    if above and below:
        return f" between {above} and {below}, neither included"
    first = f" above {above}" if above else f" of at least {low}" if low else ""
    last = f"below {below}" if below else f"at most {high}" if high else ""
    if first and last:
        return f"{first} and {last}"
    return first or (f" {last}" if below else f" of {last}" if high else "")
