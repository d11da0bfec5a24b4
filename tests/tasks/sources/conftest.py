from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tasks.sources.provider_server import FakeClock, ProviderServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ProviderServer() as running:
        yield running


@pytest.fixture
def time() -> FakeClock:
    return FakeClock()
