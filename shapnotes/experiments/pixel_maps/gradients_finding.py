"""What the record says of figures 6 and 7 side by side."""

from shapnotes.experiments._harness.finding import Comparison, Finding, Statement, above, below
from shapnotes.experiments._harness.statistics import Interval, paired_interval
from shapnotes.experiments._harness.study import Claim
from shapnotes.experiments.pixel_maps import gradients as study
from shapnotes.experiments.pixel_maps.gradients import GUESSES
from shapnotes.experiments.pixel_maps.relevance_finding import between_seeds, over_seeds, reduced

# Whether more or less of it is better.
BETTER = {"removal": -1, "shapley": 1, "resemblance": 1, "increase": 1}

BETTER_WHERE = {
    "removal": "without the pixels that relevance ranks first the probability falls further",
    "shapley": "maps of relevance are nearer to those of Shapley values",
    "resemblance": "maps of relevance look more like the digit",
    "increase": "maps of relevance are nearer to the increase in probability if a pixel grows by 1",
}

# A measure that the gradient is ahead in, with what that rests on.
TOLD = {
    "increase": "increase, which is what the paper says of brightness, and to which a gradient is near by construction"
}


def lead(runs: list[dict], measure: str, ahead: str = "relevance", behind: str = "gradient") -> Interval:
    """By how much one guess is better, over pairs: both are of the same network."""
    values = [
        {one["seed"]: BETTER[measure] * one["result"]["measures"][measure][name] for one in runs}
        for name in (ahead, behind)
    ]
    return paired_interval(*values)


def finding(runs: list[dict]) -> Finding:
    """What the record says of the paper's sentence that figure 6 is far superior to figure 7."""
    leads = {measure: lead(runs, measure) for measure in BETTER}
    statements = tuple(
        Statement(
            f"{measure}: {BETTER_WHERE[measure]}",
            "95 % interval of relevance's paired lead over the gradient, over the networks, is above 0",
            above(one),
        )
        for measure, one in leads.items()
    )
    table = []
    for measure, one in leads.items():
        what = measure + (" (less is better)" if BETTER[measure] < 0 else "")
        table += [Comparison(what, name, over_seeds(runs, "measures", measure, name)) for name in GUESSES]
        table.append(Comparison(what, "relevance better than the gradient by", one, form="+.3f"))
    ahead, behind = ([measure for measure, one in leads.items() if side(one) is True] for side in (above, below))
    decides = f"relevance ahead in {len(ahead)} of {len(leads)} measures ({', '.join(ahead) or 'none'})"
    told = ", ".join(TOLD.get(measure, measure) for measure in behind)
    return Finding(statements, tuple(table), f"{decides}, behind in {len(behind)} ({told or 'none'})", reduced(runs))


def summary(runs: list[dict]) -> list[str]:
    """The measures of the three guesses, and what sets the maps of gradients apart, over the networks."""

    def shown(*keys: str) -> str:
        return over_seeds(runs, *keys).shown(".4f")

    lines = [f"accuracy: training {shown('accuracy', 'train')}, test {shown('accuracy', 'test')}"]
    for measure in BETTER:
        lines.append(f"{measure}: " + ", ".join(f"{name} {shown('measures', measure, name)}" for name in GUESSES))
        lines.append(f"{measure}: relevance better than the gradient by {lead(runs, measure).shown('+.4f')}")
    for name in GUESSES[:2]:
        lines.append(f"light on dim pixels, {name}: {shown('light_on_dim_pixels', name)}")
    lines.append(f"agreement of the maps with those of relevance: {shown('agreement_with_relevance')}")
    return [*lines, f"agreement between networks: {between_seeds(runs):.4f}"]


CLAIM = Claim(
    "LC-F7",
    "Gradients of the probabilities on MNIST",
    finding,
    study="LC-F7",
    summary=summary,
    about=study.__doc__ or "",
)
