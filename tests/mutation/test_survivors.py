"""The verdict on a session of changes counts what was tested, and can fail."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mutation.survivors import verdict


@pytest.mark.parametrize(
    ("killed", "lived", "line", "good"),
    [(4, 2, "2 of 6 changes live", True), (3, 2, "2 of 5 changes live", False), (0, 0, "0 of 0 changes live", False)],
)
def test_what_a_filter_left_out_does_not_count(tmp_path: Path, killed, lived, line, good):
    outcomes = [("NORMAL", "KILLED")] * killed + [("NORMAL", "SURVIVED")] * lived + [("SKIPPED", None)] * 100
    with closing(sqlite3.connect(tmp_path / "session")) as file, file:
        file.execute("CREATE TABLE work_results (worker_outcome, test_outcome)")
        file.executemany("INSERT INTO work_results VALUES (?, ?)", outcomes)
    assert verdict(str(tmp_path / "session")) == (line, good)
