from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from flows.night import Clock
from flows.progress import Bars, Lines, Silent, display, from_children, rough, showing


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that `Lines` sees, in seconds; a test moves it."""
    now = [0.0]
    monkeypatch.setattr("flows.progress.time.monotonic", lambda: now[0])
    return now


def test_lines_say_a_start_an_end_and_now_and_then_how_far(clock: list[float]) -> None:
    written = io.StringIO()
    lines = Lines(Console(file=written, width=20))
    lines.begin("train", "Train")
    for second in range(25):
        clock[0] = second
        lines.advance("train", second, 25, "shard-0000 with a long note")
    clock[0] = 25
    lines.end("train", "8 models")
    lines.end("train", "8 models")
    assert written.getvalue().splitlines() == [
        "Train …",
        "Train: 10/25, about 15 s left shard-0000 with a long note",
        "Train: 20/25, about 5 s left shard-0000 with a long note",
        "Train: 8 models (25.0 s)",
    ]


def test_progress_of_a_step_that_has_not_begun_is_not_shown() -> None:
    written = io.StringIO()
    lines = Lines(Console(file=written))
    lines.advance("train", 1, 2)
    assert written.getvalue() == ""


def test_shards_count_together_and_tell_the_time_left(clock: list[float]) -> None:
    written = io.StringIO()
    lines = Lines(Console(file=written))
    lines.begin("train", "Train")
    lines.expect("train", 4)
    clock[0] = 20  # TensorFlow is loaded: no part of the speed
    for second, piece, done in ((0, "a", 0), (50, "a", 50), (50, "b", 0), (100, "b", 50)):
        clock[0] = 20 + second
        lines.advance("train", done, 100, piece=piece)
    assert written.getvalue().splitlines() == [
        "Train …",
        "Train: 0/400",
        "Train: 50/400, about 6 min left",
        "Train: 100/400, about 5 min left",
    ]


def test_bars_count_shards_together() -> None:
    with Progress("{task.description}", console=Console(file=io.StringIO())) as drawn:
        bars = Bars(drawn)
        bars.begin("train", "Train")
        bars.expect("train", 3)
        bars.advance("train", 10, 10, piece="a")
        bars.advance("train", 2, 20, piece="b")
        (task,) = drawn.tasks
        assert (task.completed, task.total) == (12, 45)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.2, "5 s"), (41, "45 s"), (60, "1 min"), (61, "2 min"), (4700, "1 h 19 min")],
)
def test_time_left_is_said_roughly_and_not_too_short(seconds: float, expected: str) -> None:
    assert rough(seconds) == expected


def test_bars_move_and_fill_up() -> None:
    with Progress("{task.description}", console=Console(file=io.StringIO())) as drawn:
        bars = Bars(drawn)
        bars.begin("train", "Train")
        bars.advance("train", 3, 10, "note")
        (task,) = drawn.tasks
        assert (task.description, task.completed, task.total) == ("Train", 3, 10)
        bars.end("train", "8 models")
        assert task.finished
        assert task.fields["note"] == "8 models"
        bars.begin("gate", "Gate")
        bars.end("gate")
        assert all(task.finished for task in drawn.tasks)


def test_children_report_to_the_step_that_their_label_names() -> None:
    seen: list[tuple[object, ...]] = []

    class Seeing(Silent):
        def advance(
            self, step: str, done: int, total: int, note: str = "", *, piece: str = ""
        ) -> None:
            seen.append((step, done, total, note, piece))

    update = from_children(Seeing())
    update(("train shard-0001", "train", 76, 76))
    update(("train shard-0002", "train", 3, 20))
    update(("train shard-0001", "score", 1, 8))
    assert seen == [
        ("train", 76, 76, "shard-0001 train", "shard-0001"),
        ("train", 3, 20, "shard-0002 train", "shard-0002"),
        ("train", 76, 76, "shard-0001 score", "shard-0001"),
    ]


def test_nothing_is_shown_unless_somebody_looks() -> None:
    assert isinstance(display(), Silent)
    with showing(Console(file=io.StringIO())) as lines:
        assert display() is lines
        assert isinstance(lines, Lines)
    with showing(Console(file=io.StringIO(), force_terminal=True)) as bars:
        assert isinstance(bars, Bars)
    assert isinstance(display(), Silent)


def test_a_clock_times_shows_and_logs_every_part() -> None:
    written = io.StringIO()
    logged: list[str] = []
    clock = Clock(logged.append)
    with showing(Console(file=written)):
        with clock.part("pin", "Pin the run") as notes:
            notes.append("session 2013-03-01")
        with pytest.raises(ValueError, match="x"), clock.part("train", "Train"):
            raise ValueError("x")
    assert [part.name for part in clock.parts] == ["pin"]
    assert logged == ["Pin the run: session 2013-03-01 (0.0 s)"]
    assert written.getvalue().splitlines() == [
        "Pin the run …",
        "Pin the run: session 2013-03-01 (0.0 s)",
        "Train …",
        "Train: broken off (0.0 s)",
    ]
