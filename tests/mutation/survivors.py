"""How many of the changes that cosmic-ray tested no test noticed: `python survivors.py SESSION`.

Changes that a filter left out do not count, as they do for `cr-rate`. It fails where more than a third of the others
live, or where none was tested.
"""

import sqlite3
import sys
from contextlib import closing

MOST = 1 / 3


def verdict(session: str) -> tuple[str, bool]:
    """A line, and whether it is good, from a session's file."""
    with closing(sqlite3.connect(session)) as file:
        rows = file.execute("SELECT test_outcome FROM work_results WHERE worker_outcome != 'SKIPPED'").fetchall()
    lived, tested = rows.count(("SURVIVED",)), len(rows)
    return f"{lived} of {tested} changes live", tested > 0 and lived <= MOST * tested


if __name__ == "__main__":
    line, good = verdict(sys.argv[1])
    print(line)
    sys.exit(not good)
