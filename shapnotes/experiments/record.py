"""Records of runs: one JSON object a line, appended as runs finish, so that nothing finished is lost.

A run is named by its experiment, scale, configuration and seed. A line that a kill cut short is dropped when the
record is opened again, and that run is done again.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from scipy.stats import t

Run = dict[str, object]


class Record:
    """The runs in a file; the file is made with the first run.

    >>> import tempfile
    >>> record = Record(Path(tempfile.mkdtemp()) / "runs.jsonl")
    >>> record.append({"experiment": "X", "scale": "smoke", "config": {"lr": 0.1}, "seed": 0, "result": 1.5})
    >>> record.has("X", "smoke", {"lr": 0.1}, 0), record.has("X", "smoke", {"lr": 0.1}, 1)
    (True, False)
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.runs: list[Run] = []
        if self.path.exists():
            whole = self._read()
            if whole < self.path.stat().st_size:  # cut short: leave only whole lines, or the next one would join it
                with self.path.open("r+b") as file:
                    file.truncate(whole)
        self._names = {self._name(run) for run in self.runs}

    def append(self, run: Run) -> None:
        """Add a run, on disk when this returns. A second run of the same name is refused."""
        name = self._name(run)
        if name in self._names:
            raise ValueError(f"{self.path} has this run already: {name}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(json.dumps(run, sort_keys=True).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._names.add(name)
        self.runs.append(run)

    def has(self, experiment: str, scale: str, config: dict, seed: int) -> bool:
        """Whether this run is done."""
        return self._name({"experiment": experiment, "scale": scale, "config": config, "seed": seed}) in self._names

    def select(self, scale: str | None = None, **config: object) -> list[Run]:
        """The runs of a scale whose configuration has these entries, by seed."""
        found = (
            run
            for run in self.runs
            if scale in (None, run["scale"]) and all(run["config"].get(key) == value for key, value in config.items())
        )
        return sorted(found, key=lambda run: run["seed"])

    def _read(self) -> int:
        """Read the whole lines; returns how many bytes they take."""
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    run = json.loads(line)
                    self._name(run)
                except (json.JSONDecodeError, KeyError, TypeError) as error:
                    raise ValueError(f"{self.path}, line {number}, is not a run: {error}. Mend or remove it") from error
                self.runs.append(run)
                whole += len(line)
        return whole

    @staticmethod
    def _name(run: Run) -> str:
        return json.dumps([run["experiment"], run["scale"], run["config"], run["seed"]], sort_keys=True)


def paired_interval(ahead: dict[int, float], behind: dict[int, float], level: float = 0.95) -> tuple[float, float]:
    """Mean difference over the seeds that both have, and the half-width of Student's interval for it."""
    differences = [ahead[seed] - behind[seed] for seed in sorted(ahead.keys() & behind.keys())]
    mean, error = mean_and_error(differences)
    return mean, float(t.ppf((1 + level) / 2, len(differences) - 1)) * error


def mean_and_error(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard error of independent runs (nan error for a single one)."""
    values = list(values)
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, float("nan")
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, (variance / len(values)) ** 0.5
