"""All experiments at the papers' own scale as one plan, most important first: `shapnotes reproduce paper-scale`.

A stage of a study is done before the next one begins; what cannot be done on this machine is said and passed over. With
a time budget the plan stops where the time is up, and the same command goes on from there.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from shapnotes.experiments import record_of, study
from shapnotes.experiments._harness.sweep import sweep

PAPER_SCALE = "paper-scale"
PLAN = (  # study, stage
    ("image-networks", 0),
    ("SN-F5", 0),
    ("SN-F4", 0),
    ("image-networks", 1),
    ("LC-T2", 0),
    ("LC-F4", 0),
    ("image-networks", 2),
    ("SN-F5", 2),
    ("SN-F4", 2),
    ("LC-T2", 1),
    ("LC-T2", 2),
    ("LC-F5", 0),
    ("image-networks", 3),
    ("LC-F4", 1),
    ("SN-F4", 4),
    ("LC-F5", 1),
)


def paper_scale(
    folder: Path, scale: str = "paper", plan: Sequence[tuple[str, int]] = PLAN, **how: object
) -> Iterator[str]:
    """Do the plan, with records in `folder`; yields a line per stage. `how` is for `sweep`.

    scale : "smoke" is a rehearsal, of every study in small
    """
    for identifier, stage in plan:
        chosen = study(identifier)
        try:
            record = record_of(chosen, folder)
            count = sweep(chosen, scale, record, stages=(stage,), **how)
        except (ValueError, OSError, ImportError) as error:
            yield f"{identifier}, stage {stage}: passed over, {error}"
        else:
            yield f"{identifier}, stage {stage}: {count} runs added to {record.path}"
