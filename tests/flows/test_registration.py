"""What `fleetcast up` shows of runs, from a server that is made up."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed
from rich.console import Console

from flows import registration


def a_run(name: str, state: State[Any], run_id: UUID | None = None) -> FlowRun:
    return FlowRun(
        id=run_id or uuid4(), flow_id=uuid4(), name=name, state=state, state_type=state.type
    )


def test_one_night_is_over_however_many_shards_began_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = uuid4()
    shards = [a_run(f"train-shard-{n:04d}-1", Completed()) for n in range(50)]
    looks: list[None] = []

    def look() -> None:
        looks.append(None)
        assert len(looks) < 3, "the night is over"

    class Server:
        """One that tells of the fifty runs that were due last."""

        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None: ...

        def read_deployment_by_name(self, _: str) -> Any:  # noqa: ANN401 - the client's
            return SimpleNamespace(id=uuid4())

        def create_flow_run_from_deployment(self, _: UUID) -> Any:  # noqa: ANN401 - the client's
            return SimpleNamespace(id=own)

        def read_flow_runs(self, **_: object) -> list[FlowRun]:
            return [*shards]

        def read_flow_run(self, run_id: UUID) -> FlowRun:
            return a_run("nightly-2024-06-28", Completed(), run_id)

    monkeypatch.setattr(registration, "get_client", lambda **_: Server())
    said = io.StringIO()
    assert not registration.follow(Console(file=said), look, 0.0, once=True)
    assert "nightly-2024-06-28 Completed" in said.getvalue()
