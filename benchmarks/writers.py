"""Many writers on one store: how long they take, and whether anything is lost or there twice.

    python -m benchmarks.writers [--writers 8] [--writes 250] [--folder DIR]

Every write is a commit of three facts, compared with the store first. Owns measuring; what is
checked is `tests.tasks.writers`'.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tasks.store import Store
from tests.tasks.writers import check, run_writers


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--writes", type=int, default=250)
    parser.add_argument("--folder", type=Path, help="where the temporary store is made")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        url = str(Path(folder) / "store")
        began = time.perf_counter()
        codes = run_writers(url, asked.writers, asked.writes)
        seconds = time.perf_counter() - began
        if any(codes):
            raise SystemExit(f"exit codes {codes}")
        store = Store.open(url, create=False)
        check(store, asked.writers, asked.writes)
        commits = asked.writers * asked.writes
        print(
            f"{asked.writers} writers × {asked.writes} writes: {seconds:.1f} s, "
            f"{commits / seconds:.0f} commits/s, {store.history('bars').num_rows:,} facts, "
            "nothing lost, nothing twice"
        )


if __name__ == "__main__":
    main()
