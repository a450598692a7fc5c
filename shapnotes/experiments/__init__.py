"""The experiments of both papers and of the book itself, by the ids of their claims.

A study (`_harness.study.Study`) is one kind of run and its record; a claim (`Claim`) is what a record says of one
statement of a paper. Each study has a folder, with a file per finding. `_harness` runs and records, `_models` holds
networks that are not Shapley networks.
"""

from importlib import import_module
from pathlib import Path

from shapnotes.experiments._harness.record import Record, Run, told_of
from shapnotes.experiments._harness.study import Claim, Study

STUDIES = {  # the module whose STUDY it is
    "LC-F3": "mnist_perceptron.study",
    "LC-F4": "cifar_perceptron.study",
    "LC-T2": "cifar_perceptron.twelve_optimisers",
    "LC-F5": "cifar_resnet.study",
    "LC-F6": "pixel_maps.relevance",
    "LC-F7": "pixel_maps.gradients",
    "SN-Tab1": "tables.accuracy",
    "SN-Tab3": "distance.study",
    "SN-Tab4": "tables.penalties",
    "rivals": "tables.rivals",
    "wide": "tables.wide",
    "image-networks": "images.study",
    "SN-F5": "regularised_images.study",
    "SN-F4": "removal.study",
    "X-N1": "one_layer.study",
}
CLAIMS = {  # the module whose CLAIM it is
    "LC-F3": "mnist_perceptron.finding",
    "LC-F4": "cifar_perceptron.under_adam",
    "LC-T2": "cifar_perceptron.twelve_optimisers",
    "LC-P1": "timings.training_steps",
    "LC-F5": "cifar_resnet.finding",
    "LC-F6": "pixel_maps.relevance_finding",
    "LC-F7": "pixel_maps.gradients_finding",
    "SN-Tab1": "tables.accuracy_finding",
    "SN-Tab2": "images.finding",
    "SN-Tab3": "distance.finding",
    "SN-Tab4": "tables.penalties_finding",
    "SN-Tab5": "timings.explanations",
    "SN-Tab6": "distance.spread",
    "SN-Tab7": "removal.effect_sizes",
    "X-W": "tables.wide_finding",
    "SN-F3": "regularised_images.small_values",
    "SN-F4": "removal.three_tests",
    "SN-F5": "regularised_images.pruned_values",
    "SN-F6": "regularised_images.sparse_explanations",
    "SN-F7": "regularised_images.removed_pixels",
    "SN-F11": "removal.four_pairs",
    "X-N1": "one_layer.finding",
}
IDENTIFIERS = tuple(dict.fromkeys([*CLAIMS, *STUDIES]))


def study(identifier: str) -> Study | None:
    """The study of that id, or the one that the claim of that id is read from; None where it reads a benchmark."""
    known = _known(identifier)
    if known not in STUDIES:
        known = claim(known).study
    return None if known is None else import_module(f"{__name__}.{STUDIES[known]}").STUDY


def claim(identifier: str) -> Claim | None:
    """The claim of that id, in any case; None for a study that no claim is named after."""
    known = _known(identifier)
    return import_module(f"{__name__}.{CLAIMS[known]}").CLAIM if known in CLAIMS else None


def recorded(identifier: str, results: Path) -> list[Run]:
    """The runs that a claim is read from: those at the paper's scale where the finding can use them, else the others.

    results : the folder of the records
    """
    read, source = claim(identifier), study(identifier)
    record = record_of(source, results)
    usable = (read and read.usable) or bool
    with told_of(record.path):
        return next((runs for scale in ("paper", "cpu") if usable(runs := record.select(scale))), [])


def record_of(source: Study, results: Path) -> Record:
    """The record of a study in the folder of the records; runs of another one are refused."""
    return Record(results / f"{source.id}.jsonl", source.id)


def _known(identifier: str) -> str:
    for known in IDENTIFIERS:
        if known.upper() == identifier.upper():
            return known
    raise ValueError(f"no experiment {identifier!r}; there are {', '.join(IDENTIFIERS)}")
