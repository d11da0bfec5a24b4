from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from flows import config_file
from flows.config import FleetcastConfig, check, load
from flows.config_errors import ConfigError
from flows.config_fields import sections

DOCS = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_commented_file_is_the_default_configuration(tmp_path: Path) -> None:
    config_file.write(tmp_path / "fleetcast.toml")
    assert load(tmp_path / "fleetcast.toml") == FleetcastConfig()


def test_with_every_default_uncommented_it_still_is() -> None:
    text = re.sub(r"^# ([a-z_]+ = \S)", r"\1", config_file.commented_file(), flags=re.MULTILINE)
    values = tomllib.loads(text)
    assert values["model"]["units"] == FleetcastConfig().model.units
    assert check(values, "file") == FleetcastConfig()


def test_every_field_is_in_the_commented_file_with_its_meaning() -> None:
    text = config_file.commented_file()
    flat = " ".join(text.replace("# ", "").split())
    for section in sections(FleetcastConfig):
        assert f"\n[{section.path}]\n" in text
        for field in section.fields:
            assert re.search(rf"^# {field.name} =", text, flags=re.MULTILINE), field.path
            assert field.meaning, f"{field.path} has no description"
            assert " ".join(field.meaning.split()) in flat, field.path


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "fleetcast.toml"
    file.write_text("# mine")
    with pytest.raises(ConfigError, match="is there already, and is not overwritten"):
        config_file.write(file)
    assert file.read_text() == "# mine"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be written: No such file or directory"):
        config_file.write(tmp_path / "none" / "fleetcast.toml")


def test_the_docs_have_every_field_as_the_models_say() -> None:
    reference = DOCS.read_text().partition("<!-- fields -->\n")[2]
    assert reference == config_file.markdown(), (
        "docs/configuration.md is not what the models say. Write it again: "
        "python -m flows.config_file docs/configuration.md"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (3, "3"),
        (0.003, "0.003"),
        (1e-4, "0.0001"),
        ('a "b" \\ é', '"a \\"b\\" \\\\ é"'),
        (("a", "b"), '["a", "b"]'),
        ({"7203.T": "XTKS"}, '{"7203.T" = "XTKS"}'),
    ],
)
def test_values_are_written_as_toml_reads_them(value: object, text: str) -> None:
    assert config_file.toml(value) == text
    read = tomllib.loads(f"x = {text}")["x"]
    assert (tuple(read) if isinstance(value, tuple) else read) == value


def test_a_value_that_toml_does_not_know_is_refused() -> None:
    with pytest.raises(TypeError, match="Expected a value that TOML can write"):
        config_file.toml(object())
