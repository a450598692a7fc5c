"""Records of runs: one JSON object per line, written as runs finish or grow, so that nothing finished is lost.

A run is named by its experiment, scale, configuration and seed, and stands in its record once. Reading never writes: a
last line that a kill cut short is left out, and removed when the next run is written. All writing happens under a lock
beside the file, so that two processes cannot store the same run.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import isinf
from pathlib import Path

from filelock import FileLock, Timeout

from shapnotes.experiments._harness.checkpoints import atomic

Run = dict[str, object]

_FIELDS = {"experiment": str, "scale": str, "config": dict, "seed": int, "result": dict, "date": str, "command": str}


class Entries(dict):
    """A configuration or a result; one that lacks an entry says of which run it is."""

    def __init__(self, entries: dict, whose: str):
        super().__init__({key: _entries(value, f"{whose}, {key!r},") for key, value in entries.items()})
        self.whose = whose

    def __missing__(self, key: object) -> None:
        raise ValueError(f"{self.whose} has no {key!r}")


def _entries(value: object, whose: str) -> object:
    return Entries(value, whose) if isinstance(value, dict) else value


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """While this lasts, what cannot be read from a record is a ValueError that names the record."""
    try:
        yield
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"{path} does not hold what is read from it ({type(error).__name__}: {error}); make it anew, or mend it"
        ) from error


class Record:
    """The runs in a file, all of one experiment where it is named; the file is made with the first run.

    >>> import tempfile
    >>> record = Record(Path(tempfile.mkdtemp()) / "runs.jsonl")
    >>> run = {"experiment": "X", "scale": "smoke", "config": {"lr": 0.1}, "seed": 0, "result": {"loss": 1.5}}
    >>> record.append(run | {"date": "2026-01-31", "command": "shapnotes reproduce X --scale smoke"})
    >>> record.has("X", "smoke", {"lr": 0.1}, 0), record.has("X", "smoke", {"lr": 0.1}, 1)
    (True, False)
    """

    def __init__(self, path: Path, experiment: str | None = None):
        self.path, self.experiment = Path(path), experiment
        self._lock = FileLock(self.path.with_name(self.path.name + ".lock"), timeout=10)
        self._runs: dict[str, Run] = {}
        self._read()

    @property
    def runs(self) -> list[Run]:
        """All runs, in the order of the file."""
        return list(self._runs.values())

    def append(self, run: Run) -> None:
        """Add a run, on disk when this returns. A second run of the same name is refused."""
        self._write(run, replace=False)

    def put(self, run: Run) -> None:
        """Add a run, or let it take the place of the run of that name, which it continues."""
        self._write(run, replace=True)

    def has(self, experiment: str, scale: str, config: dict, seed: int) -> bool:
        """Whether there is such a run."""
        return self.get(experiment, scale, config, seed) is not None

    def get(self, experiment: str, scale: str, config: dict, seed: int) -> Run | None:
        """The run of that name, None where there is none."""
        return self._runs.get(_name({"experiment": experiment, "scale": scale, "config": config, "seed": seed}))

    def select(self, scale: str | None = None, **config: object) -> list[Run]:
        """The runs of a scale whose configuration has these entries, by seed."""
        matching = (
            run
            for run in self._runs.values()
            if scale in (None, run["scale"]) and all(run["config"].get(key) == value for key, value in config.items())
        )
        return sorted(matching, key=lambda run: run["seed"])

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While this lasts nobody else can write: for a sweep, which decides once what is missing.

        Raises ValueError where another process has the record already, and where its folder cannot be written to.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"another process is adding runs to {self.path} (it holds {self._lock.lock_file}); wait until it is "
                "done, or give another folder by --out"
            ) from None
        except OSError as error:
            raise ValueError(f"{self.path} cannot be written: {error}. Give another folder by --out") from error
        try:
            self._read()
            yield
        finally:
            self._lock.release()

    def _write(self, run: Run, replace: bool) -> None:
        name = _name(run)
        try:
            line = json.dumps(run, sort_keys=True, allow_nan=False)
        except ValueError as error:
            raise ValueError(f"a run with NaN or infinity in it cannot be recorded: {name}") from error
        _check(json.loads(line), "the new run", self.experiment)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._lock:
                self._read()  # somebody else may have written since
                if name in self._runs and not replace:
                    raise ValueError(f"{self.path} has this run already: {name}")
                try:
                    if replace:
                        self._rewrite([*(self._runs | {name: run}).values()])
                    else:
                        self._append(line)
                except OSError as error:
                    raise OSError(error.errno, f"{self.path} could not be written: {error.strerror}") from error
                self._read()
        except Timeout:
            raise ValueError(f"another process is adding runs to {self.path}; the run was not recorded") from None

    def _append(self, line: str) -> None:
        with self.path.open("ab") as file:
            file.truncate(self._whole)
            start = b"" if self._ended else b"\n"
            file.write(start + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _rewrite(self, runs: list[Run]) -> None:
        with atomic(self.path) as new, new.open("wb") as file:
            for run in runs:
                file.write(json.dumps(run, sort_keys=True).encode() + b"\n")

    def _read(self) -> None:
        """Read the runs. `_whole` is how many bytes they take, `_ended` whether the last of them ends its line."""
        self._runs, self._whole, self._ended = {}, 0, True
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        first: dict[str, int] = {}
        for number, line in enumerate(lines, start=1):
            where = f"{self.path}, line {number},"
            try:
                run = json.loads(line.decode(), parse_constant=_refuse_constant, parse_float=_finite)
                _check(run, where, self.experiment)
            except ValueError as error:  # so are errors of JSON and of UTF-8
                if number == len(lines) and not line.endswith(b"\n"):
                    break  # a kill cut it short
                message = str(error) if str(error).startswith(where) else f"{where} is not a run: {error}"
                raise ValueError(f"{message}. Mend or remove the line") from error
            name = _name(run)
            if name in first:
                raise ValueError(
                    f"{where} has the name of line {first[name]}: {name}. A run counts once: remove one of the two"
                )
            first[name] = number
            for field in ("config", "result"):
                run[field] = Entries(run[field], f"{self.path}, seed {run['seed']}: its {field}")
            self._runs[name] = run
            self._whole += len(line)
            self._ended = line.endswith(b"\n")


def _name(run: Run) -> str:
    return json.dumps([run["experiment"], run["scale"], run["config"], run["seed"]], sort_keys=True)


def _check(run: object, where: str, experiment: str | None) -> None:
    if not isinstance(run, dict):
        raise ValueError(f"{where} is not a run: {type(run).__name__} in place of an object")
    for field, kind in _FIELDS.items():
        if field not in run:
            raise ValueError(f"{where} is not a run: it has no {field!r}")
        if not isinstance(run[field], kind) or isinstance(run[field], bool):
            raise ValueError(f"{where} is not a run: its {field!r} is {run[field]!r}, no {kind.__name__}")
    if experiment not in (None, run["experiment"]):
        raise ValueError(
            f"{where} is a run of {run['experiment']} with seed {run['seed']}, in the record of {experiment}"
        )


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _finite(text: str) -> float:
    if isinf(number := float(text)):
        raise ValueError(f"{text} is beyond the largest number")
    return number
