"""The experiments of both papers.

A study is a run and its record: a module with `ID`, `batches(scale)` and `run`. A finding is what a record says of one
claim: `finding(runs)` and `summary(runs)`. A study may have a finding of its own; a finding without runs of its own
names its `STUDY`, or the measurement of `shapnotes bench` that it reads, `BENCH`. A study that measures what another
has trained says so in `NEEDS`. `usable(runs)`, where there is one, says whether runs that are not complete yet are
enough for the finding.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from shapnotes.experiments.record import Record

MODULES = {
    "LC-F3": "lc_f3",
    "LC-F5": "lc_f5",
    "LC-F4": "lc_f4",
    "LC-T2": "lc_t2",
    "LC-F6": "lc_f6",
    "LC-F7": "lc_f7",
    "SN-Tab1": "sn_tab1",
    "SN-Tab3": "sn_tab3",
    "SN-Tab6": "sn_tab6",
    "SN-Tab4": "sn_tab4",
    "SN-Tab5": "sn_tab5",
    "image-networks": "image_networks",
    "SN-Tab2": "sn_tab2",
    "SN-F5": "sn_f5",
    "SN-F3": "sn_f3",
    "SN-F6": "sn_f6",
    "SN-F7": "sn_f7",
    "SN-F4": "sn_f4",
    "SN-F11": "sn_f11",
    "SN-Tab7": "sn_tab7",
    "rivals": "rivals",
}


def experiment(identifier: str) -> ModuleType:
    """The module of an experiment, by the claim's id (in any case)."""
    for known, module in MODULES.items():
        if known.upper() == identifier.upper():
            return import_module(f"{__name__}.{module}")
    raise ValueError(f"no experiment {identifier!r}; there are {', '.join(MODULES)}")


def study(identifier: str) -> ModuleType:
    """The study that a claim is read from: its own module, or another's."""
    chosen = experiment(identifier)
    return experiment(chosen.STUDY) if hasattr(chosen, "STUDY") else chosen


def recorded(identifier: str, results: Path) -> list[dict]:
    """The runs that a claim is read from: those at the paper's scale where the finding can use them, else the others.

    results : the folder of the records
    """
    chosen = experiment(identifier)
    record = Record(results / f"{study(identifier).ID}.jsonl")
    usable = getattr(chosen, "usable", bool)
    return next((runs for scale in ("paper", "cpu") if usable(runs := record.select(scale))), [])
