"""Why a configuration was refused, in words: the field, the value, what is allowed.

Owns the wording. Never decides what is allowed: the models do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from flows.config_fields import KEY, allowed_at, choices_at, is_table, names_at, suggestion
from flows.redaction import without_secrets
from tasks.sinks.config import without_tokens


class ConfigError(Exception):
    """The configuration can't be used; the message names field, value and what is allowed."""


def explain(error: ValidationError, model: type[BaseModel], source: str) -> ConfigError:
    """All problems of a configuration in one message, a line each.

    Args:
        error: what pydantic found.
        model: the model of the whole file.
        source: where the values came from: a file's name, "the command line".
    """
    problems = error.errors(include_url=False)
    lines: list[str] = []
    for problem in problems:
        inside = len(problem["loc"])
        if any(other["loc"][:inside] == problem["loc"] != other["loc"] for other in problems):
            continue  # a list is called too short when an item of it was refused
        line = _line(problem, model)
        if line not in lines:
            lines.append(line)
    if len(lines) == 1:
        return ConfigError(f"{source}: {lines[0]}")
    listed = "\n".join(f"  {line}" for line in lines)
    return ConfigError(f"{source}: {len(lines)} problems\n{listed}")


def _line(problem: Mapping[str, Any], model: type[BaseModel]) -> str:
    location = [part for part in problem["loc"] if not _is_union_branch(part)]
    path = _dotted(location)
    kind = problem["type"]
    if kind == "extra_forbidden":
        return _unknown(path, location, model)
    table = is_table(model, location)
    words = allowed_at(model, location)
    if kind == "missing":
        return f"{path} is missing: expected {words}"
    if kind in ("value_error", "assertion_error"):
        reason = str(problem["ctx"]["error"])
        # A rule between fields names them itself.
        return _joined(path, reason) if table else f"{path} = {_shown(problem['input'])}: {reason}"
    hint = suggestion(str(problem["input"]), choices_at(model, location))
    if location[-1] == KEY:
        return f"{path}: unknown name.{hint} Expected {words}"
    if table:
        return f"{path} = {_shown(problem['input'])}: expected a table, [{path}]"
    return f"{path} = {_shown(problem['input'])}: expected {words}.{hint}".rstrip(".")


def _joined(path: str, reason: str) -> str:
    return f"{path}: {reason}" if path else reason


def _unknown(path: str, location: Sequence[str | int], model: type[BaseModel]) -> str:
    name = str(location[-1])
    known = names_at(model, location)
    table = _dotted(location[:-1])
    where = f"[{table}] takes" if table else "The file takes the tables"
    return f"{path}: unknown field.{suggestion(name, known)} {where}: {', '.join(known)}"


def _dotted(location: Sequence[str | int]) -> str:
    text = ""
    for part in location:
        if part != KEY:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _is_union_branch(part: str | int) -> bool:
    """Pydantic adds the branch of a union to a location: "tuple[str, ...]", "function-after[…]"."""
    if part == KEY or isinstance(part, int):
        return False
    return "[" in part or part in {"str", "int", "float", "bool"}


def _shown(value: object) -> str:
    """A refused value, without what may be a secret that somebody put into the wrong place."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"{{{', '.join(map(str, value))}}}"  # its names: a value may be a secret
    shown = without_tokens(without_secrets(str(value)))
    return f'"{shown}"' if isinstance(value, str) else shown
