"""What a record says of one claim of a paper: statements, numbers beside the paper's, and the verdict that follows.

The verdict is a consequence of these, never chosen. Of claims that are experiments it is one of

    numbers agree      : every statement holds, also those about the size of the paper's numbers
    directions agree   : every statement holds that is not about a size, and not every one about a size
    disagrees          : at least one statement that is not about a size is refuted
    smaller scale only : something was reduced, so that the paper's claim is neither confirmed nor refuted
    not comparable     : the paper's numbers cannot be what they are said to be, or their setting cannot be known
    open               : there are no runs, or they leave such a statement undecided and refute none
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shapnotes.experiments._harness.statistics import Interval

SIMILAR = 0.02  # accuracies are similar where they differ by no more than this

Verdict = Literal["numbers agree", "directions agree", "disagrees", "smaller scale only", "not comparable", "open"]


@dataclass(frozen=True)
class Statement:
    """One thing that the paper says or shows.

    claim     : in words
    criterion : what is asked of the record, in words
    held      : True or False; None where the record does not decide
    size      : whether it is about the size of the paper's numbers; else it is about who is ahead, or what is so
    found     : the numbers that the answer rests on, where the table of the finding does not have them
    """

    claim: str
    criterion: str
    held: bool | None
    size: bool = False
    found: str = ""


@dataclass(frozen=True)
class Comparison:
    """One line of the table: a setting and a model, our number with its interval, the paper's, and whether they agree.

    paper : None where the paper has no number
    agree : what the finding's `agreement` asks; None where that is undecided, or nothing is compared
    form  : how the numbers are printed
    """

    setting: str
    model: str
    ours: Interval
    paper: float | None = None
    agree: bool | None = None
    form: str = ".3f"


@dataclass(frozen=True)
class Finding:
    """What a record says of one claim.

    decides    : the one number that decides, with what it is
    reduced    : what was made smaller than in the paper, in words; empty at the paper's scale
    comparable : whether the paper's numbers can be compared with ours at all
    fewer      : of what there is less than in the paper, in words, where intervals or ratios allow for it
    numbers    : what the numbers of the table are, where its lines do not say so
    agreement  : when two numbers of a line agree, the head of that column
    """

    statements: tuple[Statement, ...]
    table: tuple[Comparison, ...]
    decides: str
    reduced: str = ""
    comparable: bool = True
    fewer: str = ""
    numbers: str = ""
    agreement: str = "within √2 × ±?"

    @property
    def verdict(self) -> Verdict:
        if not self.comparable:
            return "not comparable"
        if self.reduced:
            return "smaller scale only"
        directions = [s.held for s in self.statements if not s.size]
        sizes = [s.held for s in self.statements if s.size]
        if False in directions or (not directions and False in sizes):
            return "disagrees"
        if None in directions or not self.statements:
            return "open"
        return "numbers agree" if sizes and all(sizes) else "directions agree"

    @property
    def count(self) -> str:
        """How many statements hold, and how many of the others do not or are undecided, for a summary."""
        answers = [one.held for one in self.statements]
        told = f"{answers.count(True)} of {len(answers)} statements hold"
        if n := answers.count(False):
            sizes = sum(one.size for one in self.statements if one.held is False)
            which = "" if sizes == n else f"{sizes} "
            told += f", {n} do{'es' * (n == 1)} not" + (f" ({which}about the size of numbers)" if sizes else "")
        return told + (f", {n} undecided" if (n := answers.count(None)) else "")

    @property
    def by_criterion(self) -> dict[str, list[Statement]]:
        """The statements by what is asked of the record, in their order: several may ask the same."""
        asked: dict[str, list[Statement]] = {}
        for one in self.statements:
            asked.setdefault(one.criterion, []).append(one)
        return asked


def above(lead: Interval, bound: float = 0.0) -> bool | None:
    """Whether a number is above a bound: True or False where its whole interval is on one side, else None.

    >>> above(Interval(0.2, 0.1)), above(Interval(0.2, 0.3)), above(Interval(-0.2, 0.1))
    (True, None, False)
    """
    return True if lead.low > bound else False if lead.high < bound else None


def below(lead: Interval, bound: float = 0.0) -> bool | None:
    """Whether a number is below a bound: see `above`."""
    return above(Interval(-lead.mean, lead.half), -bound)


def similar(difference: Interval, bound: float = SIMILAR) -> bool | None:
    """Whether a difference is small: True where its whole interval is within the bound of 0, False where none of it is.

    >>> similar(Interval(0.0, 0.01)), similar(Interval(0.0, 0.03)), similar(Interval(0.05, 0.01))
    (True, None, False)
    """
    sides = above(difference, -bound), below(difference, bound)
    return False if False in sides else every(sides)


def matches(ours: Interval, paper: float) -> bool | None:
    """Whether a number is the paper's, whose error is taken to be as large as ours; None for a single run."""
    return None if ours.half != ours.half else abs(ours.mean - paper) <= 2**0.5 * ours.half


def within_factor(ours: Interval, paper: float, factor: float) -> bool | None:
    """Whether a number is the paper's, a positive one, up to a factor: True or False where its whole interval says so.

    >>> [within_factor(Interval(mean, 0.2), 1.0, 1.5) for mean in (1.2, 1.4, 1.8)]
    [True, None, False]
    """
    return every([above(ours, paper / factor), below(ours, paper * factor)])


def every(answers: Sequence[bool | None]) -> bool | None:
    """Whether all hold: False where one is refuted, None where none is refuted and one is undecided."""
    return False if False in answers else None if None in answers or not answers else True
