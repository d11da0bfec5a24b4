from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from flows import prefect_home
from flows.prefect_home import own_home
from flows.prefect_server import LocalServer, PrefectServerError, answers

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_HOME", "PREFECT_LOGGING_LEVEL")


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)


@pytest.fixture
def somebodys_server() -> Iterator[str]:
    """A server of somebody else's, as far as its health tells."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/health" else 404)
            self.end_headers()
            self.wfile.write(b"true")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


class NoServer:
    """Stands in for a server of our own, which takes seconds to start."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.api_url = "http://127.0.0.1:1/api"

    def __enter__(self) -> NoServer:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing."""

    def wait(self) -> None:
        """Nothing."""


def test_without_any_configured_a_server_of_our_own_has_its_home_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefect_home, "LocalServer", NoServer)
    with prefect_home.prefect(tmp_path) as prefect:
        assert prefect.own
        assert prefect.home == tmp_path / ".prefect"
        assert os.environ["PREFECT_HOME"] == str(tmp_path / ".prefect")
        assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:1/api"
        assert os.environ["PREFECT_LOGGING_LEVEL"] == "ERROR"
        assert os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] == "CRITICAL"
    assert not {"PREFECT_API_URL", "PREFECT_HOME"} & set(os.environ)


def test_the_home_of_a_store_elsewhere_is_in_the_users_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert own_home(None) == tmp_path / "fleetcast" / "prefect"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert own_home(None) == Path.home() / ".local" / "state" / "fleetcast" / "prefect"
    assert own_home(tmp_path) == tmp_path / ".prefect"


def test_while_another_run_has_the_home_a_temporary_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefect_home, "LocalServer", NoServer)
    home = own_home(tmp_path)
    home.mkdir()
    with (home / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with prefect_home.prefect(tmp_path) as prefect:
            temporary = prefect.home
            assert temporary is not None
            assert temporary != home
            assert temporary.exists()
    assert not temporary.exists()
    with prefect_home.prefect(tmp_path) as prefect:
        assert prefect.home == home


@pytest.mark.parametrize("where", ["environment", "configuration"])
def test_a_configured_server_is_used_as_it_is(
    somebodys_server: str, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if where == "environment":
        monkeypatch.setenv("PREFECT_API_URL", somebodys_server)
    given = somebodys_server if where == "configuration" else None
    with prefect_home.prefect(tmp_path, given) as prefect:
        prefect.wait()
        assert (prefect.own, prefect.home) == (False, None)
        assert prefect.api_url == somebodys_server
        assert os.environ["PREFECT_API_URL"] == somebodys_server
        assert "PREFECT_HOME" not in os.environ
        assert "PREFECT_LOGGING_LEVEL" not in os.environ
    assert not (tmp_path / ".prefect").exists()


def test_a_server_is_asked_without_name_and_password(somebodys_server: str) -> None:
    assert answers(somebodys_server)
    assert answers(somebodys_server.replace("http://", "http://me:hunter2@"))
    assert not answers("http://127.0.0.1:1/api")
    assert not answers("nonsense")


def test_the_environment_goes_before_the_configuration(
    somebodys_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", somebodys_server)
    with prefect_home.prefect(tmp_path, "http://127.0.0.1:1/api") as prefect:
        assert prefect.api_url == somebodys_server


def test_a_profile_that_was_asked_for_is_left_to_prefect(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PREFECT_PROFILE", "mine")
    with prefect_home.prefect(tmp_path, "http://127.0.0.1:1/api") as prefect:
        assert (prefect.own, prefect.api_url) == (False, None)
        assert not {"PREFECT_API_URL", "PREFECT_HOME"} & set(os.environ)


def test_a_configured_server_that_does_not_answer_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://me:hunter2@127.0.0.1:1/api")
    with (
        pytest.raises(PrefectServerError) as caught,
        prefect_home.prefect(tmp_path),
    ):
        pass
    assert str(caught.value) == (
        "No Prefect API answers at http://***@127.0.0.1:1/api. Start that server, or unset "
        "PREFECT_API_URL and prefect.api_url to run without one."
    )


def test_a_server_that_ends_tells_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "nonsense")
    with LocalServer(tmp_path) as server, pytest.raises(PrefectServerError) as caught:
        server.wait()
    assert "The local Prefect server ended with exit code" in str(caught.value)
    assert "It said:" in str(caught.value)
    assert "set PREFECT_API_URL to its address" in str(caught.value)


def test_a_server_of_our_own_answers_records_and_ends_with_its_parent(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from flows.prefect_server import LocalServer
        server = LocalServer(Path({str(tmp_path)!r}) / "home")
        server.wait()
        print(server.api_url, flush=True)
        time.sleep(600)
        """
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    api_url = parent.stdout.readline().strip()
    assert answers(api_url)
    assert (tmp_path / "home" / "prefect.db").exists()
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    for _ in range(600):
        if not answers(api_url):
            break
        time.sleep(0.05)
    assert not answers(api_url)
