from __future__ import annotations

import io

import pytest
import typer
from rich.console import Console

from flows.config_errors import ConfigError
from flows.failures import Exit, Refused, answering, describe
from flows.show import NothingToShowError
from tasks.runs import RunError
from tasks.sessions import SessionError
from tasks.sources import SourceError
from tasks.storage.facts import DamagedError
from tasks.store import StoreError


def answer(error: BaseException, *, debug: bool = False) -> tuple[int, str]:
    written = io.StringIO()
    with (
        pytest.raises(typer.Exit) as caught,
        answering(Console(file=written, width=40), debug=debug),
    ):
        raise error
    return caught.value.exit_code, written.getvalue()


@pytest.mark.parametrize(
    "kind",
    [Refused, ConfigError, RunError, SessionError, SourceError, NothingToShowError, DamagedError],
)
def test_what_a_person_must_change_is_refused(kind: type[Exception]) -> None:
    assert answer(kind("the date [x] is wrong")) == (
        Exit.REFUSED,
        "Error: the date [x] is wrong\n",
    )


def test_our_other_errors_say_it_in_their_own_words() -> None:
    assert answer(StoreError("the disk is full")) == (Exit.FAILED, "Error: the disk is full\n")


def test_errors_of_others_are_named_and_can_be_looked_into() -> None:
    code, text = answer(KeyError("close"))
    assert code == Exit.FAILED
    first, *rest = text.splitlines()
    assert first == "Error: KeyError: 'close'"
    hint = "Run the command again with --debug to see where."
    assert " ".join(" ".join(rest).split()) == hint


def test_with_debug_the_error_comes_through() -> None:
    with pytest.raises(KeyError), answering(Console(), debug=True):
        raise KeyError("close")


def test_an_interruption_says_how_to_go_on() -> None:
    code, text = answer(KeyboardInterrupt())
    assert code == Exit.INTERRUPTED
    assert "Run the same command again to go on." in text.replace("\n", "")


def test_secrets_are_masked_and_empty_messages_are_not() -> None:
    assert describe(StoreError("no s3://a:hunter2@b")) == "no s3://***@b"
    assert describe(TimeoutError()) == "TimeoutError"


def test_exits_pass() -> None:
    with pytest.raises(typer.Exit) as caught, answering(Console()):
        raise typer.Exit(Exit.PARTIAL)
    assert caught.value.exit_code == Exit.PARTIAL
