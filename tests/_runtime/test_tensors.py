"""Tensors that cannot be computed with are refused by every function that takes numbers."""

import pytest
import torch

import shapnotes as sn

UNUSABLE = {
    "meta": (torch.ones(2, 3, 1, device="meta"), ValueError, "on the meta device, where tensors have a shape and no"),
    "float8": (
        torch.ones(2, 3, 1).to(torch.float8_e4m3fn),
        TypeError,
        r"is torch.float8_e4m3fn, .* \(use .*\.float\(\)",
    ),
    "sparse": (
        torch.ones(2, 3, 1).to_sparse(),
        TypeError,
        r"dense.*; got .*torch.sparse_coo \(use .*to_dense",
    ),
}
DOORS = {
    "shapley_from_table": sn.shapley_from_table,
    "standardise": sn.datasets.standardise,
    "sparsity": sn.metrics.sparsity,
    "coefficient_of_variation": sn.metrics.coefficient_of_variation,
    "shapley_error": lambda t: sn.metrics.shapley_error(t, t),
    "paired_comparison": lambda t: sn.metrics.paired_comparison(t, t),
    "shapley_values": lambda t: sn.shapley_values(lambda rows: rows.sum(1), t),
    "l1_penalty": sn.shapnet.l1_penalty,
    "linf_penalty": sn.shapnet.linf_penalty,
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("door", DOORS)
def test_what_cannot_be_computed_with_is_refused(door, kind):
    unusable, error, message = UNUSABLE[kind]
    if kind == "meta" and "penalty" in door:
        assert DOORS[door](unusable).is_meta, "a penalty looks at no number"
        return
    with pytest.raises(error, match=message):
        DOORS[door](unusable)


def test_nested_tensors_are_called_by_their_name():
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    with pytest.raises(TypeError, match="x must be a dense tensor; got a nested one"):
        sn.shapley_values(lambda rows: rows.sum(1), nested)
