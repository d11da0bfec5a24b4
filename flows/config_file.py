"""The configuration written out for people: a commented file to start from, and the docs' tables.

Owns both texts, made from the models so that they can't drift. Never reads a configuration.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from textwrap import wrap
from typing import Any

from flows.config import DEFAULT_FILE, FleetcastConfig
from flows.config_errors import ConfigError
from flows.config_fields import ConfigField, Section, sections

_WIDTH = 96

_HEAD = f"""\
# fleetcast: the configuration of a nightly run.
#
# Every field is here with its default, commented out: take the # away to change one. A field that
# is not known, or a value that is not allowed, is refused before any work.
# `fleetcast nightly` reads ./{DEFAULT_FILE}, or the file after --config.
"""


def commented_file() -> str:
    """A TOML file with every field, its meaning, what it allows, and its default."""
    parts = [_HEAD]
    for section in sections(FleetcastConfig):
        parts.append("\n" + _comment(section.meaning) + f"[{section.path}]\n")
        parts += [_entry(field) for field in section.fields]
    return "".join(parts)


def write(path: Path) -> None:
    """Writes the commented file.

    Raises:
        ConfigError: there is a file already, or it can't be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(commented_file())
    except FileExistsError:
        raise ConfigError(
            f"{path} is there already, and is not overwritten. Move it away, or name another file: "
            "fleetcast init OTHER.toml"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}.") from error


def markdown() -> str:
    """The reference of all fields, a table per section, for docs/configuration.md."""
    return "\n".join(_markdown_section(section) for section in sections(FleetcastConfig))


def _markdown_section(section: Section) -> str:
    lines = [f"### `[{section.path}]`", "", section.meaning, ""]
    if section.fields:
        lines += ["| field | default | allowed | meaning |", "|---|---|---|---|"]
    for field in section.fields:
        default = "*unset*" if field.default is None else f"`{toml(field.default)}`"
        cells = (f"`{field.path}`", default, field.allowed, field.meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def toml(value: Any) -> str:  # noqa: ANN401 - any default
    """A value as TOML writes it, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        inside = ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items())
        return f"{{{inside}}}"
    if isinstance(value, Sequence):
        return f"[{', '.join(toml(item) for item in value)}]"
    raise TypeError(f"Expected a value that TOML can write. Received: {value!r}")


def _entry(field: ConfigField) -> str:
    text = field.meaning if field.allowed == "a text" else f"{field.meaning} {_allowed(field)}"
    default = "" if field.default is None else f" {toml(field.default)}"
    return f"\n{_comment(text)}# {field.name} ={default}\n"


def _allowed(field: ConfigField) -> str:
    return f"{field.allowed[0].upper()}{field.allowed[1:]}."


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in wrap(text, _WIDTH, break_on_hyphens=False))


if __name__ == "__main__":
    docs = Path(sys.argv[1])
    head, mark, _ = docs.read_text(encoding="utf-8").partition("<!-- fields -->\n")
    docs.write_text(head + mark + markdown(), encoding="utf-8")
