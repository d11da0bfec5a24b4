from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.config import FleetcastConfig, check, load, with_store
from flows.config_errors import ConfigError


def refusal(tmp_path: Path, text: str) -> str:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    message = str(caught.value)
    assert "pydantic" not in message
    assert "For further information" not in message
    assert message.startswith(str(file))
    return message.removeprefix(str(file))


def config(**sections: object) -> FleetcastConfig:
    return check(sections, "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[model]\nunitz = 3",
            ': model.unitz: unknown field. Did you mean "units"? [model] takes: kinds, '
            "bidirectional, units, lookback, burn_in, seeds, skip",
        ),
        ("[model]\nunits = 0", ": model.units = 0: expected a whole number from 1 to 1024"),
        ("[model]\nunits = 1.5", ": model.units = 1.5: expected a whole number from 1 to 1024"),
        ("[model]\nunits = '8'", ': model.units = "8": expected a whole number from 1 to 1024'),
        ("[model]\nskip = 1", ": model.skip = 1: expected true or false"),
        ("[model]\nskip = 'no'", ': model.skip = "no": expected true or false'),
        ("model = 3", ": model = 3: expected a table, [model]"),
        (
            "[evaluation]\nlevels = [1.0]",
            ": evaluation.levels = [1.0]: each must be above 0 and below 1, received [1.0]",
        ),
        (
            "[training]\nlearning_rate = 2",
            ": training.learning_rate = 2: expected a number above 0 and at most 1",
        ),
        (
            "[evaluation.gate_rule]\nmin_sessions = 1",
            ": evaluation.gate_rule.min_sessions = 1: expected a whole number of at least 8",
        ),
        (
            "[targets]\nnames = ['log_retrun']",
            ': targets.names[0] = "log_retrun": expected one of "log_return", "log_volatility". '
            'Did you mean "log_return"?',
        ),
        (
            "[source]\ncolumns = {closs = 'x'}",
            ': source.columns.closs: unknown name. Did you mean "close"? Expected one of '
            '"session", "instrument", "open", "high", "low", "close", "volume", '
            '"adjusted_close", "dividend", "split"',
        ),
        (
            "[universe]\ninstruments = 'AAPL'",
            ': universe.instruments = "AAPL": expected a list, each a text',
        ),
        (
            "[universe]\ninstruments = ['A', 'B', 'A']",
            ": universe.instruments = ['A', 'B', 'A']: named more than once: A",
        ),
        (
            "[model]\nkinds = ['many_to_may']",
            ': model.kinds[0] = "many_to_may": expected one of "many_to_many", "direction", '
            '"quantile_class". Did you mean "many_to_many"?',
        ),
        (
            "[model]\nbidirectional = ['many_to_many']",
            ": model.bidirectional = ['many_to_many']: many_to_many can't be bidirectional: at "
            "every step an LSTM that reads backwards has read the very sessions that the step is "
            "to forecast",
        ),
        (
            "[model]\nlookback = 10\nburn_in = 10",
            ": model: burn_in must be less than lookback (10), received 10",
        ),
        (
            "[evaluation]\nembargo = 1",
            ": evaluation.embargo must be at least targets.horizon (5), or a target of one segment "
            "would lie in the next; received 1",
        ),
        (
            "[schedule]\ntimezone = 'Europe/Lodnon'",
            ': schedule.timezone = "Europe/Lodnon": expected the IANA name of a time zone, such as '
            'Europe/London. Did you mean "Europe/London"?',
        ),
        ("[calendar]\ndefault = 'XNYX'", "XNYS"),
        ("[model\nunits = 3", "is not TOML: Expected ']' at the end of a table declaration (at li"),
        ("[prefect]\napi_url = 'localhost:4200'", "starts with http:// or https://"),
    ],
)
def test_a_refusal_names_field_value_and_what_is_allowed(
    tmp_path: Path, text: str, message: str
) -> None:
    assert message in refusal(tmp_path, text)


def test_an_unknown_table_lists_the_tables(tmp_path: Path) -> None:
    message = refusal(tmp_path, "[modle]\nunits = 3")
    assert 'modle: unknown field. Did you mean "model"? The file takes the tables: ' in message
    assert all(name in message for name in FleetcastConfig.model_fields)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, "[model]\nunits = 0\nseeds = 'a'\n[targets]\nhorizon = 99")
    assert message.splitlines() == [
        ": 3 problems",
        "  targets.horizon = 99: expected a whole number from 1 to 60",
        "  model.units = 0: expected a whole number from 1 to 1024",
        '  model.seeds = "a": expected a whole number from 1 to 32',
    ]


@pytest.mark.parametrize("hour", ["0", "1", "2", "*", "2-4", "*/2"])
def test_schedules_between_midnight_and_three_are_refused(tmp_path: Path, hour: str) -> None:
    message = refusal(tmp_path, f"[schedule]\ncron = '30 {hour} * * *'")
    assert f'schedule.cron = "30 {hour} * * *": starts in hour' in message
    assert "choose hours from 3 to 23" in message


@pytest.mark.parametrize("hour", ["3", "18", "9-17", "23"])
def test_other_schedules_are_accepted(hour: str) -> None:
    assert config(schedule={"cron": f"30 {hour} * * *"}).schedule.cron == f"30 {hour} * * *"


def test_the_default_schedule_is_allowed_and_after_the_default_exchange_closes() -> None:
    schedule = FleetcastConfig().schedule
    assert config(schedule=schedule.model_dump()).schedule == schedule


@pytest.mark.parametrize(
    "text",
    [
        "[store]\nurl = 's3://hunter2:hunter2@bucket/store'",
        "[store]\nurl = 's3://bucket/store?secret=hunter2'",
        "[prefect]\napi_url = 'https://me:hunter2@prefect.example/api'",
    ],
)
def test_credentials_are_refused_and_never_repeated(tmp_path: Path, text: str) -> None:
    message = refusal(tmp_path, text)
    assert "hunter2" not in message
    assert "holds a password or key; put it into the environment" in message


def test_a_file_that_is_not_there_or_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no file .*none\.toml\. `fleetcast init`"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="can't be read"):
        load(tmp_path)
    (tmp_path / "latin").write_bytes(b"# caf\xe9")
    with pytest.raises(ConfigError, match="can't be read"):
        load(tmp_path / "latin")


def test_without_a_file_the_one_in_the_working_directory_or_the_defaults_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load() == FleetcastConfig()
    Path("fleetcast.toml").write_text("[targets]\nhorizon = 3\n")
    assert load().targets.horizon == 3


def test_the_store_of_the_command_line_replaces_the_configured_one() -> None:
    assert with_store(FleetcastConfig(), None).store.url == "store"
    assert with_store(FleetcastConfig(), "elsewhere").store.url == "elsewhere"
    with pytest.raises(ConfigError, match=r"--store: url = .*holds a password"):
        with_store(FleetcastConfig(), "s3://a:b@c")


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        FleetcastConfig().model.units = 3  # type: ignore[misc]


def test_integers_are_numbers_and_lists_are_tuples() -> None:
    made = config(training={"weight_decay": 2}, universe={"instruments": ["B", "A"]})
    assert made.training.weight_decay == 2.0
    assert made.universe.instruments == ("B", "A")
    assert config(source={"lag_minutes": 90}).source.lag == timedelta(minutes=90)


@pytest.mark.parametrize(
    "change",
    [
        {"universe": {"instruments": ["IBM"]}},
        {"source": {"lag_minutes": 30}},
        {"calendar": {"default": "XLON"}},
        {"targets": {"horizon": 3}},
        {"model": {"units": 31}},
        {"training": {"max_updates": 299}},
        {"evaluation": {"levels": [0.9]}},
        {"evaluation": {"gate_rule": {"significance": 0.1}}},
    ],
)
def test_what_decides_a_forecast_changes_the_config_hash(change: dict[str, object]) -> None:
    assert config(**change).config_hash != FleetcastConfig().config_hash


@pytest.mark.parametrize(
    "change",
    [
        {"store": {"url": "other"}},
        {"publish": {"report": False}},
        {"schedule": {"cron": "0 20 * * *"}},
        {"prefect": {"api_url": "http://127.0.0.1:4200/api"}},
        {"training": {"processes": 3}},
        {"targets": {"horizon": 5}},
    ],
)
def test_what_decides_no_forecast_does_not(change: dict[str, object]) -> None:
    assert config(**change).config_hash == FleetcastConfig().config_hash


def test_the_order_of_instruments_does_not_change_the_config_hash() -> None:
    one, other = (config(universe={"instruments": names}) for names in (["A", "B"], ["B", "A"]))
    assert one.config_hash == other.config_hash


def test_forecast_settings_are_the_sections_that_decide_bytes() -> None:
    made = config(model={"units": 8}, training={"max_updates": 10})
    settings = made.forecast_settings()
    assert settings.model == made.model
    assert settings.training == made.training
    assert settings.targets == made.targets
    assert settings.evaluation == made.evaluation


def test_dates_of_an_exchange_may_be_texts_or_dates_of_toml() -> None:
    day = date(2024, 2, 27)
    for written in ("2024-02-27", day):
        config = check({"calendar": {"closed": {"XTAE": [written]}}}, "test")
        assert config.calendar.closed == {"XTAE": (day,)}
    with pytest.raises(ConfigError, match=r"calendar\.held.*XNYX.*Did you mean XNYS"):
        check({"calendar": {"held": {"XNYX": ["2024-02-27"]}}}, "test")
    both = {"closed": {"XNYS": [day]}, "held": {"NYSE": [day]}}
    with pytest.raises(ConfigError, match=r"XNYS can't have both held 2024-02-27"):
        check({"calendar": both}, "test")
    with pytest.raises(ConfigError, match=r"calendar\.closed\.XNYS\[0\] = \"Tuesday\""):
        check({"calendar": {"closed": {"XNYS": ["Tuesday"]}}}, "test")
