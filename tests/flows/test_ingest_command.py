from __future__ import annotations

from datetime import date

from rich.console import Console

from flows.ingest_command import ROWS_SHOWN, as_table
from tasks.ingest import IngestReport, InstrumentCounts
from tasks.store import FactCounts


def _one(name: str, **counts: int) -> InstrumentCounts:
    parts = ("new", "changed", "unchanged", "quarantined", "agreed_duplicates")
    came = {part: counts.pop(part, 0) for part in parts}
    return InstrumentCounts(
        instrument=name,
        fetched=sum(came.values()),
        retracted=0,
        actions=0,
        first_session=date(1990, 1, 2),
        last_session=date(2024, 12, 31),
        **came,
        **counts,
    )


def _lines(*instruments: InstrumentCounts) -> list[str]:
    report = IngestReport(
        source="files",
        provenance="bars",
        instruments=instruments,
        unattributed=0,
        rules={"bad_tick": sum(one.quarantined for one in instruments)},
        actions=FactCounts(0, 0, 0),
        held_actions=0,
        problems=(),
        unknown={},
        known_at=None,
        flags={},
    )
    console = Console(width=80)
    with console.capture() as captured:
        console.print(as_table(report))
    return captured.get().splitlines()


def test_a_night_of_many_counts_fits_80_columns_in_whole_words() -> None:
    counts = {"new": 12_345, "changed": 2_517, "quarantined": 34, "flagged": 5, "missing": 610}
    lines = _lines(_one("[b]ibm.us[/b]"), _one("aapl.us", **counts))
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    assert lines[0].split() == (
        ["instrument", "new", "changed", "quarantined", "flagged", "missing", "first", "last"]
    )
    assert lines[2].split() == (
        ["aapl.us", "12,345", "2,517", "34", "5", "610", "1990-01-02", "2024-12-31"]
    )
    assert lines[3].split()[0] == "[b]ibm.us[/b]"


def test_counts_that_are_zero_for_all_have_no_column() -> None:
    assert _lines(_one("A", unchanged=7))[0].split() == [
        "instrument",
        "new",
        "quarantined",
        "first",
        "last",
    ]


def test_what_there_is_to_look_at_comes_first_and_is_never_left_out() -> None:
    quiet = [_one(f"A{place:03}", new=9) for place in range(ROWS_SHOWN)]
    lines = _lines(*quiet, _one("ZZZ", missing=1))
    assert lines[2].split()[0] == "ZZZ"
    assert lines[3].split()[0] == "A000"
    assert len(lines) == 2 + ROWS_SHOWN
