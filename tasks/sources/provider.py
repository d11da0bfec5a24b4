"""A provider over the network as a source: one instrument after the other, one failure at a time.

Owns whom is asked for what, and when to stop asking. Never touches a connection or a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from tasks.actions import PriceBasis
from tasks.sources.answers import ProviderError, RequestError, UnansweredError
from tasks.sources.config import SourceConfig
from tasks.sources.configured import Configured
from tasks.sources.http import Client, Key
from tasks.sources.merge import between, merge
from tasks.sources.protocol import Fetched, SourceError, SourceProblem
from tasks.sources.rate_limit import Clock, Rate
from tasks.sources.tables import implied_actions

_BATCH = 50
"""Instruments asked for at once: what an ingest that is killed has to ask for again."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of a provider.

    Attributes:
        instrument: whose bars.
        symbol: the provider's name for it.
        first: the first session.
        last: the last session; None: the newest.
    """

    instrument: str
    symbol: str
    first: date
    last: date | None


class Ask(Protocol):
    """Asks a provider for one instrument."""

    def __call__(self, client: Client, wanted: Wanted) -> Fetched:
        """What came; more sessions than wanted do no harm.

        Raises:
            RequestError: nothing came of this instrument.
            ProviderError: nothing will come of any other.
        """


@dataclass(frozen=True)
class ProviderSource(Configured):
    """A `Source` over the network.

    Attributes:
        config: whom to ask from when on, and the rest of the configuration.
        price_basis: what the prices are.
        client: how the provider is asked.
        ask: what it is asked.
    """

    price_basis: PriceBasis
    client: Client
    ask: Ask

    @property
    def batch_size(self) -> int | None:
        """Some at once, so that what came is stored before the rest is asked for."""
        return _BATCH

    def instruments(self) -> tuple[str, ...]:
        """Never any: these providers offer too much.

        Raises:
            SourceError: always.
        """
        raise SourceError(
            f"Source {self.name!r} offers no list of its instruments. Name those that you want: "
            'universe.instruments = ["..."], and where the provider calls one by another name, '
            'source.symbols = {MINE = "theirs"}.'
        )

    def fetch(
        self,
        instruments: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> Fetched:
        """The bars of `instruments` from session `first` to `last`, both included.

        No session before `source.start` is asked for. When the provider is down, refuses the key
        or is used up, the rest is not asked for, and one problem says so.

        Raises:
            SourceError: nothing at all came, as the provider does not answer or refuses; or
                `instruments` is None.
        """
        names = sorted(set(self.instruments() if instruments is None else instruments))
        first = self.config.start if first is None else max(first, self.config.start)
        parts: list[Fetched] = []
        problems: list[SourceProblem] = []
        stopped: ProviderError | None = None
        unanswered = False
        with self.client as client:
            for place, instrument in enumerate(names):
                symbol = self.config.symbols.get(instrument, instrument)
                try:
                    part = self.ask(client, Wanted(instrument, symbol, first, last))
                except ProviderError as error:
                    stopped, left = error, names[place:]
                    break
                except RequestError as error:
                    unanswered |= isinstance(error, UnansweredError)
                    problems.append(SourceProblem(instrument, f"{instrument}: {error}."))
                else:
                    parts.append(part)
                    if not part.bars.num_rows:
                        since = f"since {first}" if last is None else f"from {first} to {last}"
                        told = f"{instrument}: {self.name} brought no row of it {since}."
                        problems.append(SourceProblem(instrument, told))
        if stopped is not None:
            if not parts:
                raise SourceError(f"Nothing came from source {self.name!r}: {stopped}.")
            problems += self._explain_stop(stopped, left)
        elif unanswered and not parts:
            raise SourceError(f"Nothing came from source {self.name!r}: {problems[0].message}")
        merged = merge(
            parts, problems, f"{self.client.server} ({len(parts)} of {len(names)} instruments)"
        )
        if self.config.adjusted_close == "derive":
            merged = merged.with_actions(implied_actions(merged, self.price_basis))
        if self.config.adjusted_close == "ignore":
            merged = merged.without_adjusted_close()
        return between(merged, names, first, last)

    def _explain_stop(self, error: ProviderError, left: Sequence[str]) -> list[SourceProblem]:
        """Why nobody else was asked for, once; and whom this concerns."""
        reason = (
            f"Source {self.name!r} was not asked further: {error}. What came before is kept; "
            f"{len(left)} of its instruments are left. Run again later to fetch the rest."
        )
        each = (SourceProblem(name, f"{name}: not fetched; see {self.name!r}.") for name in left)
        return [SourceProblem(None, reason), *each]


def open_provider(
    config: SourceConfig,
    *,
    base_url: str,
    rate: Rate,
    price_basis: PriceBasis,
    ask: Ask,
    key: Key | None = None,
    clock: Clock | None = None,
) -> ProviderSource:
    """The provider at `base_url`, unless `config` names another server or another rate.

    Raises:
        SourceError: the address is none.
    """
    client = Client(
        config.name,
        config.base_url or base_url,
        rate=rate
        if config.requests_per_minute is None
        else Rate.per_minute(config.requests_per_minute),
        timeout_seconds=config.timeout_seconds,
        attempts=config.attempts,
        key=key,
        clock=clock,
    )
    return ProviderSource(config, price_basis, client, ask)
