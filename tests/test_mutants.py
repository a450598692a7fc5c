"""Each mutant is the package with one line made wrong; at least one contract must reject it."""

import importlib
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path

import numba
import pytest
from contracts import CONTRACTS

import shapnotes

ROOT = Path(shapnotes.__file__).parent


@dataclass(frozen=True)
class Mutant:
    """`right`, found once in a file of the package, is replaced by `wrong`."""

    file: str
    right: str
    wrong: str
    what: str


MUTANTS = [
    Mutant(
        "coalitions.py",
        "1 / (n * comb(n - 1, s))",
        "1 / (n * comb(n, s))",
        "marginal weights of n players",
    ),
    Mutant("coalitions.py", "1 / (n * comb(n - 1, s))", "1 / 2 ** (n - 1)", "Banzhaf's weights"),
    Mutant(
        "coalitions.py",
        "torch.cat(sums)",
        "torch.cat(sums[::-1])",
        "the two halves of the players exchanged",
    ),
    Mutant(
        "coalitions.py",
        "grid.sum(0)",
        "grid[0]",
        "sums over some coalitions only",
    ),
    Mutant(
        "coalitions.py",
        "torch.block_diag(*present), torch",
        "torch.block_diag(*present).flip(0), torch",
        "subsets in another order",
    ),
    Mutant(
        "coalitions.py",
        "* a[size] - w[size]",
        "* a[size] - w[size] * 0",
        "no term for absent players",
    ),
    Mutant("coalitions.py", "[size, size + 1]", "[size, size]", "empty sizes"),
    Mutant("exact.py", "high.bit_count()", "0", "high players not counted in the size"),
    Mutant(
        "exact.py",
        "if high >> j & 1:",
        "if high >> (self.n - self.in_table - 1 - j) & 1:",
        "tables filed under the wrong player",
    ),
    Mutant(
        "exact.py",
        "self.everywhere = self.everywhere + everywhere",
        "self.everywhere = everywhere",
        "the last table's constant only",
    ),
    Mutant("coalitions.py", "1 - members for", "members for", "the absent taken for present"),
    Mutant("_coalition_rows.py", "one[others >> j & 1]", "one[1]", "far players always present"),
    Mutant(
        "_coalition_rows.py",
        "baseline * (1 - owns.sum(1, keepdim=True))",
        "baseline * 0",
        "features of no player set to zero",
    ),
    Mutant(
        "_coalition_rows.py",
        "z, ours = layer(z), False",
        "z, ours = layer(z), True",
        "a ReLU in memory that is not ours",
    ),
    Mutant(
        "_coalition_rows.py",
        "type(layer) is nn.ReLU and ours",
        "type(layer) in (nn.ReLU, nn.Tanh) and ours",
        "other activations taken for a ReLU",
    ),
    Mutant(
        "exact.py",
        "torch.where(moved[:, :, None], phi, phi - phi.detach())",
        "phi",
        "rounding left at the baseline",
    ),
    Mutant("exact.py", "phi, phi - phi.detach())", "phi, 0.0)", "no gradient at the baseline"),
    Mutant("exact.py", "everyone = graph and (x.requires_grad or", "everyone = graph and (", "no gradient to x there"),
    Mutant(
        "exact.py",
        "torch.nonzero(enumerated[inputs])[:, 1].view(-1, n)",
        "torch.nonzero(enumerated[inputs[:1]])[:, 1].expand(len(inputs), n)",
        "every input with the players of the first",
    ),
    Mutant(
        "_coalition_rows.py",
        "self.shifts[code % len(self.shifts)]",
        "self.shifts[0]",
        "high players' products lost",
    ),
    Mutant(
        "_coalition_rows.py",
        "(x - baseline)[:, None] * game",
        "x[:, None] * game",
        "products of x instead of x - r",
    ),
    Mutant("exact.py", "    check_closure(", "    (lambda *a, **k: None)(", "gaps silenced"),
    Mutant(
        "game.py",
        "self.x[inputs][:, None], self.baseline[inputs][:, None]",
        "self.baseline[inputs][:, None], self.x[inputs][:, None]",
        "present and absent exchanged",
    ),
    Mutant("sampling.py", "[ranks, n - 1 - ranks]", "[ranks, ranks]", "no reverse orders"),
    Mutant(
        "sampling.py", "everyone = graph and (x.requires_grad", "everyone = False and (x", "sampled without those there"
    ),
    Mutant(
        "sampling.py", "everyone = graph and (x.requires_grad or", "everyone = graph and (", "no gradient to x alone"
    ),
    Mutant("sampling.py", "[ranks, n - 1 - ranks]", "[ranks, ranks.roll(1, 0)]", "pairs of unrelated orders"),
    Mutant(
        "sampling.py",
        "draws.argsort(1).argsort(1)",
        "draws.sort(1).indices * 0 + torch.arange(n)",
        "one order for all",
    ),
    Mutant(
        "sampling.py",
        "(squares / (pairs - 1) / pairs)",
        "(squares / (pairs - 1))",
        "standard deviation for standard error",
    ),
    Mutant(
        "sampling.py",
        "delta**2 * (count * added / (count + added))",
        "0 * delta",
        "spread between chunks lost",
    ),
    Mutant("sampling.py", "(pairs - 1) / pairs", "pairs / pairs", "a variance over pairs, not over one less"),
    Mutant(
        "game.py",
        "        if gap > tolerance:\n            raise",
        "        if False:\n            raise",
        "rows mixed",
    ),
    Mutant("game.py", ").clone()  # f may", ")  # f may", "answers in memory that f writes over"),
    Mutant("game.py", "baseline = baseline.to(x.dtype)", "baseline", "a baseline in its own dtype"),
    Mutant("coalitions.py", "torch.inference_mode(False), torch", "torch", "cached tensors without a gradient"),
    Mutant(
        "coalitions.py",
        "torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0",
        "False",
        "fake tensors cached",
    ),
    Mutant(
        "players.py", "dict.fromkeys(labels.flat)", "sorted(set(labels.flat))", "names in the order of the alphabet"
    ),
    Mutant("players.py", "list(groups.values())", "list(groups.values())[::-1]", "a dictionary read from its end"),
    Mutant("neuron/li_cui.py", "/ 6 + total.square() / 12", "/ 12 + total.square() / 6", "sixth and twelfth exchanged"),
    Mutant("neuron/li_cui.py", "/ 6 + total.square() / 12", "/ 4", "dropout's variance"),
    Mutant(
        "neuron/li_cui.py", "(terms + b / terms.shape[-1] if shares_bias else terms)", "terms", "the bias not shared"
    ),
    Mutant("neuron/li_cui.py", "b / unit", "b", "the bias not rescaled"),
    Mutant("neuron/li_cui.py", "torch.where(moving, variance, 1.0).sqrt()", "variance.sqrt()", "a square root at zero"),
    Mutant(
        "nn/functional.py",
        "padding = (down // 2, right // 2)",
        "padding, x = (down // 2, right // 2), x.roll(1, -1)",
        "images moved",
    ),
    Mutant("nn/_random_prefix.py", "value=1 / 2) / 6", "value=1) / 12", "squares at half their weight"),
    Mutant("nn/_random_prefix.py", "(prefix.probability * s / guard)", "(torch.relu(s) / guard)", "SA is ReLU"),
    Mutant("nn/_random_prefix.py", "clamp(min=least)", "clamp(min=0)", "a spread of zero"),
    Mutant(
        "nn/_random_prefix.py",
        "z = z.clamp(-MAX_STANDARD_SCORE, MAX_STANDARD_SCORE)",
        "z = 1 * z",
        "infinite arguments of Phi",
    ),
    Mutant("nn/_random_prefix.py", ".to(wide).clamp(min=tiny)", ".to(wide) * 0 + 1", "squares of unscaled terms"),
    Mutant("nn/_random_prefix.py", ".clamp(torch.finfo(self.x.dtype).tiny, 1)", "* 0 + 1", "sums that overflow"),
    Mutant("nn/_random_prefix.py", "torch.addcmul(sums, units.per_neuron(bias), guard)", "sums", "SA without its bias"),
    Mutant(
        "nn/_random_prefix.py",
        "grad_z * prefix.z / prefix.sigma / -6\n            if",
        "grad_z * 0\n            if",
        "SA: sigma constant",
    ),
    Mutant(
        "nn/_random_prefix.py",
        "_bias_gradient(grad_s + grad_z, bias)",
        "_bias_gradient(grad_s, bias)",
        "SA: Phi constant in b",
    ),
    Mutant("nn/_random_prefix.py", "linear + grad_sums * guard", "linear", "half of the second derivative"),
    Mutant("nn/_random_prefix.py", "quadratic + 2 * grad_squares", "quadratic + grad_squares", "squares of slope one"),
    Mutant(
        "nn/_random_prefix.py",
        "density, prefix.s()), bias)",
        "density * 0, prefix.s()), bias)",
        "ShapLU: Phi constant in b",
    ),
    Mutant(
        "nn/_random_prefix.py",
        "_bias_gradient(torch.addcmul(grad_s,",
        "_bias_gradient(torch.addcmul(linear,",
        "ShapLU: a term of the inputs in b's gradient",
    ),
    Mutant(
        "nn/_random_prefix.py",
        "(prefix.z - prefix.t / 2) / n,",
        "(prefix.z - prefix.t / 2),",
        "ShapLU: the bias not shared",
    ),
    Mutant(
        "nn/_random_prefix.py", "bias_share * prefix.z / 6", "bias_share * prefix.z / 3", "ShapLU: a third for a sixth"
    ),
    Mutant(
        "nn/_random_prefix.py",
        "1 / 2 - self.z * self.t / 12",
        "1 / 2 + self.z * self.t / 12",
        "the sign of sigma's part",
    ),
    Mutant(
        "nn/_random_prefix.py", "prefix.sigma / prefix.sigma / -6", "prefix.sigma / -6", "ShapLU: cubes of another unit"
    ),
    Mutant("nn/_random_prefix.py", "factor * units.weight", "factor", "x's gradient not rescaled"),
    Mutant("nn/_random_prefix.py", "factor * units.x", "factor", "the weight's gradient not rescaled"),
    Mutant("nn/_random_prefix.py", "return torch.relu(s), s", "return s.clone(), s", "ShapLU: no ReLU forward"),
    Mutant(
        "nn/_random_prefix.py",
        "weight_unit.view(-1, *[1] * (weight.dim() - 2))",
        "weight_unit.flip(0).view(-1, *[1] * (weight.dim() - 2))",
        "each neuron with another's unit",
    ),
    Mutant(
        "nn/layers.py",
        "_convolution(self, x), full_gradient=self.full_gradient",
        "_convolution(self, x), full_gradient=False",
        "full_gradient ignored",
    ),
    Mutant(
        "nn/layers.py",
        "return functional.shapley_activation(x, self.weight, self.bias)",
        "return functional.shapley_activation(x, self.weight, None if self.bias is None else 0 * self.bias)",
        "a layer without its bias",
    ),
    Mutant(
        "nn/swap.py",
        "len(users) == 1 and",
        "len(users) >= 1 and",
        "a layer swapped whose output is used twice",
    ),
    Mutant(
        "nn/swap.py",
        "model = copied(model)",
        "model = model",
        "the model itself changed",
    ),
    Mutant(
        "nn/swap.py",
        "range(2)",
        "range(1)",
        "training flags turned over",
    ),
    Mutant(
        "nn/swap.py",
        "graph.call_function(torch.relu, (call,))",
        "graph.call_function(torch.abs, (call,))",
        "something else than ReLU put back",
    ),
    Mutant(
        "nn/swap.py",
        "KINDS[to][isinstance(layer, nn.Conv2d)]",
        "KINDS[to][0]",
        "convolutions become linear layers",
    ),
    Mutant("_runtime/tracing.py", 'hooks or "forward" in vars(module)', "hooks", "forwards of instances not seen"),
    Mutant("_coalition_rows.py", "all_are_hooked() and not", "False and not", "hooks of all modules not seen"),
    Mutant("activations.py", '(arguments["input"].clone())', '(arguments["input"])', "inputs shared"),
    Mutant("activations.py", "torch.relu, torch.relu_, Tensor.relu, Tensor.relu_", "torch.relu", "methods not seen"),
    Mutant(
        "metrics.py", ".abs().mean(1)\n    if logits", ".abs().sum(1)\n    if logits", "a sum for the mean over players"
    ),
    Mutant(
        "metrics.py",
        "torch.softmax(logits.double(), -1) * error",
        "torch.full_like(logits.double(), 1 / logits.shape[-1]) * error",
        "classes weighted equally",
    ),
    Mutant("metrics.py", "size.std(1, correction=correction)", "size.std(1)", "the other variance"),
    Mutant("metrics.py", "attributions).abs() <= threshold", "attributions) <= threshold", "negative counted as zero"),
    Mutant("metrics.py", "& (scores > 0)", "& (scores == scores)", "what speaks against the class erased too"),
    Mutant("metrics.py", "_pick(attributions, s) - _pick(attributions, t)", "_pick(attributions, s)", "no difference"),
    Mutant("metrics.py", "_rank(-scores)", "_rank(scores)", "the least erased first"),
    Mutant("metrics.py", "log_odds[0] - log_odds[1]", "log_odds[1] - log_odds[0]", "after minus before"),
    Mutant("metrics.py", '(-1 if order == "top" else 1)', '(1 if order == "top" else -1)', "top and least exchanged"),
    Mutant(
        "metrics.py", ".argsort(dim=1, stable=True).argsort(1)", ".argsort(dim=1, stable=True)", "an order for ranks"
    ),
    Mutant("metrics.py", "game.masked(~removed[:, None])", "game.masked(removed[:, None])", "the others removed"),
    Mutant("metrics.py", "mean / spread", "mean / spread**2", "the effect in parts of the variance"),
    Mutant("metrics.py", "/ (self.fractions[-1] - self.fractions[0])", "", "an area without its width"),
    Mutant("explainers.py", "(x - r).detach()", "x.detach()", "no baseline"),
    Mutant("explainers.py", '"l1_reg": False', '"l1_reg": "num_features(10)"', "shap's regularisation"),
    Mutant(
        "explainers.py",
        "_FlatOutputs(_copy(f).to(dtype))",
        "_FlatOutputs(f)",
        "the gradients of the model's owner lost",
    ),
    Mutant("explainers.py", "torch.stack(parts, -1)", "torch.stack(parts, 1)", "outputs before players"),
    Mutant(
        "explainers.py",
        "return _checked_closure(\n        game,\n        attributions",
        "return (lambda _, a, __: a)(\n        game,\n        attributions",
        "gaps of captum's silenced",
    ),
    Mutant(
        "explainers.py",
        "return _checked_closure(\n        game,\n        torch",
        "return (lambda _, a, __: a)(\n        game,\n        torch",
        "gaps of shap's silenced",
    ),
    Mutant(
        "shapnet/transform.py",
        "else shapley_matrix(k)[:, 1:]",
        "else shapley_matrix(k)[:, :-1]",
        "the value of everybody left out",
    ),
    Mutant(
        "shapnet/transform.py",
        "matrix[players, module] = of_module",
        "matrix[players.sort(1).values, module] = of_module",
        "values given out in another order than the set's",
    ),
    Mutant(
        "shapnet/transform.py",
        "return torch.where(moved, z, z - z.detach() if graph else 0.0)",
        "return z",
        "rounding left at the reference",
    ),
    Mutant(
        "shapnet/transform.py",
        "z - z.detach() if graph else 0.0",
        "0.0",
        "no gradient at the reference",
    ),
    Mutant(
        "shapnet/transform.py",
        "variance *= len(memberships) / memberships.total()",
        "variance *= 1",
        "weights of players that are in many modules",
    ),
    Mutant(
        "shapnet/inner/block.py",
        "torch.where(present, rows, rows + self.n_players * self.channels)",
        "torch.where(present, rows, rows)",
        "nobody is absent",
    ),
    Mutant(
        "shapnet/inner/block.py",
        "torch.cat([present, absent.flatten(0, 1).expand_as(present)])",
        "torch.cat([present, present * 0])",
        "absent players are zero",
    ),
    Mutant(
        "shapnet/inner/weights.py",
        "members.gathered(present - absent)",
        "members.gathered(present)",
        "products of x instead of x - r",
    ),
    Mutant(
        "shapnet/inner/weights.py",
        "self.bias + self.first @ members.gathered(absent)",
        "self.bias + 0",
        "the reference left out of the first layer",
    ),
    Mutant(
        "shapnet/inner/shared_sums.py",
        "sums[coalition ^ 1 << last]",
        "sums[coalition - 1]",
        "players added to other coalitions",
    ),
    Mutant(
        "shapnet/inner/weights.py",
        ".view(modules, width, k, -1).transpose(1, 2)",
        ".view(modules, width, k, -1).flip(2).transpose(1, 2)",
        "each player with another's weights",
    ),
    Mutant(
        "shapnet/inner/shared_sums.py",
        "2**k - 1, -1) - nobody",
        "2**k - 1, -1)",
        "values that are not measured from the empty coalition's",
    ),
    Mutant(
        "shapnet/inner/two_products.py",
        "torch.baddbmm(nobody, last, weights",
        "torch.baddbmm(0 * nobody, last, weights",
        "values without the empty coalition's",
    ),
    Mutant(
        "shapnet/inner/two_products.py",
        "x.device)[1:].repeat_interleave(members.channels, 1)",
        "x.device)[1:].repeat(1, members.channels)",
        "masks that take channels for players",
    ),
    Mutant(
        "shapnet/inner/unrolled.py",
        "weights.last.repeat_interleave(k, 0)",
        "weights.last.repeat(k, 1, 1)",
        "a compiled module with another's last layer",
    ),
    Mutant(
        "shapnet/inner/unrolled.py",
        "_combined(row, by_coalition) for row",
        "_combined(row[::-1], by_coalition) for row",
        "compiled coalitions in another order",
    ),
    Mutant(
        "shapnet/transform.py",
        "index_select(0, self.order)",
        "index_select(0, self.order.argsort())",
        "values given to the players whose place they have",
    ),
    Mutant(
        "shapnet/inner/weights.py",
        "torch.baddbmm(bias, weight, self.activated",
        "torch.bmm(weight, self.activated",
        "no bias in later hidden layers",
    ),
    Mutant(
        "shapnet/inner/perceptrons.py",
        "(gain / weight.shape[2]) ** 0.5",
        "weight.shape[2] ** -0.5",
        "weights as for no ReLU",
    ),
    Mutant("shapnet/learned_sets.py", "(-1.0) ** (k - code", "(1.0) ** (k - code", "sums of values for dividends"),
    Mutant(
        "shapnet/learned_sets.py",
        "        reference = None\n    return measured",
        "        reference = inputs[len(measured)].mean(0)\n    return measured",
        "later references",
    ),
    Mutant(
        "shapnet/inner/perceptrons.py",
        "parameter.detach()[modules]",
        "parameter.detach()[: len(modules)]",
        "others' weights",
    ),
    Mutant("shapnet/wide.py", "self.bias + self.weight", "self.bias - self.weight", "a neuron at the reference"),
    Mutant(
        "shapnet/wide.py", "change = gain(offset, moved", "change = gain(0 * offset, moved", "a neuron without its bias"
    ),
    Mutant("shapnet/wide.py", "values @ self.readout.T", "values @ self.readout.abs().T", "another readout"),
    Mutant("shapnet/wide.py", "terms, offset.to(terms.dtype)", "terms, 0 * offset", "values without the bias"),
    Mutant("shapnet/wide.py", "1 / (channels * value", "1 / (value", "weights that vectors make too large"),
    Mutant("shapnet/wide.py", "variance = 2 / (channels * n)", "variance = 2 / channels", "answers that grow with n"),
    Mutant("shapnet/windows/batched.py", "[masks(k), ", "[masks(k).flip(1), ", "terms of players in another order"),
    Mutant(
        "shapnet/windows/batched.py",
        "torch.where(positive, grad_sums, -grad_sums)",
        "grad_sums",
        "a gradient without the sign",
    ),
    Mutant(
        "shapnet/windows/batched.py",
        "z[at].add_(value)",
        "z[at].copy_(value)",
        "the last window of a pixel for all of them",
    ),
    Mutant(
        "shapnet/windows/numba_cpu.py",
        "abs(everybody[c] - row[c])",
        "abs(everybody[c])",
        "everybody for the complement",
    ),
    Mutant(
        "shapnet/windows/numba_cpu.py",
        "without, with_it = sums[coalition], sums[coalition + (1 << i)]",
        "without, with_it = sums[0], sums[coalition + (1 << i)]",
        "sums of single players only",
    ),
    Mutant(
        "shapnet/windows/numba_cpu.py",
        "without[c] += with_it[c]",
        "pass",
        "gradients of the sums of a player alone",
    ),
    Mutant(
        "shapnet/windows/numba_cpu.py",
        "grad_bias[c] += grad_sums[0, ",
        "grad_bias[c] = grad_sums[0, ",
        "a bias of the last windows",
    ),
    Mutant(
        "shapnet/windows/numba_cpu.py",
        "if everybody[c] - row[c] > 0",
        "if row[c] > 0",
        "slopes of others' sums",
    ),
    Mutant(
        "shapnet/windows/numba_cpu.py",
        "work(image, image * height * width)",
        "work(image, image)",
        "images on one another",
    ),
    Mutant(
        "shapnet/windows/numba_cpu.py",
        "z_at[m, i, place] = pixel * channels",
        "z_at[m, i, place] = players[i] * channels",
        "values at the first pixels",
    ),
    Mutant(
        "shapnet/windows/numba_cpu.py",
        "        if filled[m]:\n            _add_bucket(",
        "        if filled[m] == at_once:\n            _add_bucket(",
        "windows that wait for ever",
    ),
    Mutant(
        "shapnet/windows/numba_cpu.py",
        "(y + down * row) * width",
        "(y + row) * width",
        "runs that forget the stride",
    ),
    Mutant(
        "shapnet/windows/numba_cpu.py",
        "        row = rows[(t & ~below) + t + below + 1]\n",
        "        row = rows[t]\n",
        "values of other coalitions",
    ),
    Mutant(
        "shapnet/windows/numba_cpu.py",
        "neuron.p * term[c] - common[c]",
        "neuron.p * term[c]",
        "what all players have in common left out",
    ),
    Mutant(
        "shapnet/windows/numba_cpu.py",
        "a * grad_row[c] - w",
        "a * grad_row[c] + w",
        "gradients with weights of members for all",
    ),
    Mutant(
        "shapnet/windows/geometry.py",
        "corners=tuple((row + down * first, column)",
        "corners=tuple((row + first, column)",
        "rows of windows that forget the stride",
    ),
    Mutant(
        "shapnet/windows/op.py",
        "z[zero] *= (x[zero] != 0).any(-1, keepdim=True)",
        "pass",
        "rounding left at black pixels",
    ),
    Mutant(
        "shapnet/windows/reference.py",
        "z[at] += values",
        "z[at] = values",
        "the last window of a pixel in the definition",
    ),
    Mutant(
        "shapnet/windows/geometry.py",
        "stride * window - padding[0] + dilation * u",
        "stride * window - padding[1] + dilation * (kernel - 1 - u)",
        "windows turned round",
    ),
    Mutant(
        "shapnet/windows/geometry.py", "min(size - 1 + padding[0], ", "min(size - 2 + padding[0], ", "no last window"
    ),
    Mutant("shapnet/windows/geometry.py", "max(0, -((reach", "max(1, -((reach", "no first window"),
    Mutant("shapnet/pruning.py", "if pruned_net is net)", "if pruned_net is not net)", "rules of other networks"),
    Mutant(
        "shapnet/windows/inductor.py",
        "values[:, :-1] + position * (n_windows + 1)",
        "values[:, :-1]",
        "values of the players at the first position",
    ),
    Mutant(
        "shapnet/windows/inductor.py",
        "in_one_image + first_pixel",
        "in_one_image + 0 * first_pixel",
        "windows of the first image only",
    ),
    Mutant(
        "shapnet/windows/inductor.py",
        "table[rows] * factor for",
        "table[rows] for",
        "players outside the image",
    ),
    Mutant(
        "shapnet/windows/inductor.py",
        "p * grad_values[j] + q * (sum(inside)",
        "q * (sum(inside)",
        "gradients without the linear part",
    ),
    Mutant("shapnet/pruning.py", "z.detach().abs().sum(-1)", "z.detach().sum(-1).abs()", "channels that cancel"),
    Mutant("shapnet/pruning.py", "(_sizes(z) < amount)", "(_sizes(z) > amount)", "the large ones pruned"),
    Mutant("shapnet/pruning.py", "equal.cumsum(1) <=", "equal.cumsum(1) <", "one too few pruned"),
    Mutant(
        "shapnet/pruning.py", "sizes.kthvalue(count)", "sizes.flatten()[None].kthvalue(count)", "a share of all inputs"
    ),
    Mutant("shapnet/base.py", "z = rule.after(number, z", "rule.after(number, z", "nothing pruned"),
    Mutant(
        "shapnet/windows/blank_pixels.py",
        "active.cumsum(0) - 1, -1)",
        "active.cumsum(0) - 1, 0)",
        "the first row for blank pixels",
    ),
    Mutant(
        "shapnet/windows/blank_pixels.py",
        "x.abs().sum(3) != 0",
        "x[..., 0] != 0",
        "the first channel taken for the pixel",
    ),
    Mutant(
        "shapnet/inner/initialisation.py", "sign = 1 if a == b else -1", "sign = 1", "covariances added, not subtracted"
    ),
    Mutant("shapnet/inner/initialisation.py", "u + a * b", "u + a", "a player in both where it joined one"),
    Mutant(
        "shapnet/cascade.py",
        "if number == 0 else None",
        "if number == 0 else z.mean(0)",
        "later stages seen from a reference that is not zero",
    ),
    Mutant(
        "shapnet/cascade.py",
        "moved = z if reference is None else z - reference",
        "moved = z",
        "a residual that is not zero at the baseline",
    ),
    Mutant(
        "shapnet/base.py",
        "return h.sum(tuple(range(1, h.dim() - 1)))",
        "return h.mean(tuple(range(1, h.dim() - 1)))",
        "a mean over players",
    ),
    Mutant("shapnet/deep.py", "stride = 1 << digit", "stride = 1", "the same pairs at every stage"),
    Mutant(
        "shapnet/deep.py", "if i + stride < n else (i,)", "if i + stride < n else (i, 0)", "a pair instead of padding"
    ),
    Mutant("shapnet/penalties.py", "z.abs().flatten(1, -2).sum(1)", "z.flatten(1, -2).sum(1).abs()", "sums cancel"),
    Mutant("shapnet/penalties.py", "amax(1)", "amax(2)", "the largest channel, not the largest player"),
]


# For each contract a mutant that it rejects, so that no time is lost in looking for one.
EARNED = {
    "wide_networks_hand_on_values_of_neurons": "a neuron without its bias",
    "wide_weights_keep_the_size": "answers that grow with n",
    "coalitions_are_bits": "empty sizes",
    "neuron_has_its_closed_form": "sixth and twelfth exchanged",
    "neuron_has_its_limit": "a square root at zero",
    "shapley_activation_sums_the_closed_form": "sixth and twelfth exchanged",
    "shaplu_is_relu_with_the_shapley_gradient": "b's gradient without its second term",
    "convolutions_are_layers_on_patches": "ShapLU: squares not rescaled",
    "activations_have_their_limit": "no half at the kink",
    "activations_bear_any_scale": "infinite arguments of Phi",
    "layers_are_their_functions": "full_gradient ignored",
    "swapping_keeps_weights_and_comes_back": "a layer swapped whose output is used twice",
    "errors_are_means_under_the_predicted_probabilities": "a sum for the mean over players",
    "the_players_named_are_removed": "what speaks against the class erased too",
    "other_methods_meet_their_closed_forms": "no baseline",
    "table_agrees_with_both_oracles": "the two halves of the players exchanged",
    "matrix_is_the_table_rule": "no term for absent players",
    "gaps_are_found": "gaps silenced",
    "baselines_have_any_dtype": "a baseline in its own dtype",
    "groups_are_written_in_many_ways": "names in the order of the alphabet",
    "kept_tensors_serve_everywhere": "cached tensors without a gradient",
    "answers_may_lie_in_memory_of_the_function": "answers in memory that f writes over",
    "errors_are_those_of_few_pairs": "a variance over pairs, not over one less",
    "players_at_the_baseline_have_gradients": "rounding left at the baseline",
    "players_at_the_baseline_are_exactly_zero": "features of no player set to zero",
    "functions_may_do_as_they_like_with_their_input": "a ReLU in memory that is not ours",
    "pairs_cancel_pairwise_interactions": "no reverse orders",
    "sampling_does_not_depend_on_the_chunk": "spread between chunks lost",
    "groups_are_single_players": "other activations taken for a ReLU",
    "gradients_are_those_of_the_definition": "no gradient at the baseline",
    "streaming_agrees_with_the_definition": "high players not counted in the size",
    "chunks_may_be_much_smaller_than_the_game": "far players always present",
    "sampling_agrees_with_exact_values": "one order for all",
    "pruned_players_are_given_nothing": "channels that cancel",
    "blank_pixels_are_left_out_of_windows": "values at the first pixels",
    "windows_hand_out_shapley_values": "terms of players in another order",
    "kernels_of_windows_agree": "players outside the image",
    "modules_can_be_measured_and_taken_away": "sums of values for dividends",
    "penalties_are_norms_over_players": "sums cancel",
    "butterflies_let_all_features_meet": "a pair instead of padding",
    "any_function_can_be_an_inner_one": "values given out in another order than the set's",
    "features_at_the_baseline_stay_at_zero": "no gradient at the reference",
    "random_weights_keep_the_size": "weights of players that are in many modules",
    "deep_networks_are_transforms_on_transforms": "a residual that is not zero at the baseline",
    "shallow_networks_show_their_shapley_values": "rounding left at the reference",
    "transforms_are_their_definition": "the value of everybody left out",
    "written_out_coalitions_are_what_they_replace": "a compiled module with another's last layer",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.file}: {m.what}")
def test_a_contract_rejects(mutant):
    nearest_first = sorted(CONTRACTS, key=lambda check: ("shapnet" in check.__module__) != ("shapnet" in mutant.file))
    with mutated(mutant) as broken:
        assert any(_rejects(contract, broken) for contract in nearest_first), "no contract noticed"


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda check: check.__name__)
def test_a_contract_earns_its_place(contract):
    """It rejects some mutant, the one that is named above or any other."""
    for mutant in sorted(MUTANTS, key=lambda m: m.what != EARNED.get(contract.__name__)):
        with mutated(mutant) as broken:
            try:
                if _rejects(contract, broken):
                    return
            except Exception:  # a crash, which shows nothing
                continue
    raise AssertionError("it lets every mutant pass")


def test_the_harness_accepts_what_is_right():
    """Mutants fail for what they change, not for being loaded in this way."""
    with mutated(Mutant("coalitions.py", "of weights, one per size", "of weights, one per  size", "a comment")) as same:
        assert same is not shapnotes
        assert not any(_rejects(contract, same) for contract in CONTRACTS)


def _rejects(contract, package) -> bool:
    """Whether the contract finds a wrong number; a mutant that crashes shows nothing and fails the test."""
    try:
        contract(package)
    except (AssertionError, package.GapError):
        return True
    return False


@contextmanager
def mutated(mutant: Mutant):
    """The package imported anew with one file changed; the real one is back in place afterwards."""
    source = (ROOT / mutant.file).read_text()
    assert source.count(mutant.right) == 1, (
        f"{mutant.right!r} stands {source.count(mutant.right)} times in {mutant.file}"
    )
    name = "shapnotes." + mutant.file.removesuffix(".py").replace("/", ".")
    finder = _Changed(name, source.replace(mutant.right, mutant.wrong), ROOT / mutant.file)
    kept = {key: sys.modules.pop(key) for key in list(sys.modules) if key.split(".")[0] == "shapnotes"}
    sys.meta_path.insert(0, finder)
    jit, numba.config.DISABLE_JIT = numba.config.DISABLE_JIT, True  # code on disk is that of the file
    try:
        package = importlib.import_module("shapnotes")
        importlib.import_module("shapnotes.exact")
        yield package
    finally:
        numba.config.DISABLE_JIT = jit
        sys.meta_path.remove(finder)
        for key in [key for key in sys.modules if key.split(".")[0] == "shapnotes"]:
            del sys.modules[key]
        sys.modules.update(kept)


class _Changed(MetaPathFinder, Loader):
    """Finds one module in a string instead of in its file."""

    def __init__(self, name: str, source: str, path: Path):
        self.name, self.source, self.path = name, source, path

    def find_spec(self, fullname, path=None, target=None):
        return ModuleSpec(fullname, self, origin=str(self.path)) if fullname == self.name else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(self.source, str(self.path), "exec"), module.__dict__)
