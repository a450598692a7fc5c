"""SN-F4, SN-F11 and SN-Tab7: scores and tests are as by hand, and the verdicts follow the record."""

import json

import pytest
import torch
from oracles import tolerance

from shapnotes.experiments import experiment, sn_f4, sn_f11, sn_tab7
from shapnotes.experiments.sn_f4 import CHECKPOINT, METHODS, PAIRS, RIVALS, TEST_IMAGES, batches, explained
from shapnotes.shapnet import ImageShapNet

F64 = tolerance(torch.float64)


def small() -> tuple[ImageShapNet, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    net = ImageShapNet((1, 4, 3))
    net.reset_parameters(generator)
    return net.double().requires_grad_(False), torch.randn(2, 1, 6, 8, generator=generator, dtype=torch.float64)


def scores(method: str, weights: list[float], seed: int = 0) -> torch.Tensor:
    net, x = small()
    config = {"method": method, "steps": 8, "patch": 2, "permutations": 4}
    weights = torch.tensor(weights, dtype=torch.float64)
    return explained(config, net, x, weights, torch.Generator().manual_seed(seed))


# --- explanations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("saliency", "random")])
def test_explaining_a_difference_is_the_difference_of_explanations(method):
    parts = [scores(method, row) for row in torch.eye(3).tolist()]
    assert parts[0].shape == (2, 6, 8)
    torch.testing.assert_close(scores(method, [1.0, 0.0, -1.0]), parts[0] - parts[2], **F64)


@pytest.mark.parametrize("method", ["ours", "deeplift", "deep_shap", "shapley"])
def test_what_is_efficient_sums_to_the_output(method):
    net, x = small()
    torch.testing.assert_close(scores(method, [1.0, -1.0, 0.0]).sum((1, 2)), net(x)[:, 0] - net(x)[:, 1], **F64)


def test_gradients_are_the_networks():
    net, x = small()
    x.requires_grad_()
    slopes = [torch.autograd.grad(net(x)[:, c].sum(), x)[0][:, 0] for c in range(3)]
    torch.testing.assert_close(scores("gradient", [1, 0, -1]), slopes[0] - slopes[2], **F64)
    torch.testing.assert_close(scores("saliency", [1, 0, -1]), slopes[0].abs() - slopes[2].abs(), **F64)
    torch.testing.assert_close(scores("input_x_gradient", [0, 1, 0]), slopes[1] * x.detach()[:, 0], **F64)


def test_a_random_order_is_of_its_seed():
    first, again, other = (scores("random", [1, 0, 0], seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other) and 0 <= first.min() < first.max() < 1


def test_patches_share_what_they_are_due():
    """Of a linear function a patch is due the sum of its terms, and each of its pixels an equal part of that."""
    generator = torch.Generator().manual_seed(5)
    c, x = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((5, 6), (3, 1, 5, 6)))
    found = sn_f4._patches(lambda z: (z[:, 0] * c).sum((1, 2))[:, None], x, 4, 4, generator)
    for rows in (slice(0, 4), slice(4, 5)):
        for columns in (slice(0, 4), slice(4, 6)):
            part = (x[:, 0] * c)[:, rows, columns]
            wanted = part.mean((1, 2), keepdim=True).expand_as(part)
            torch.testing.assert_close(found[:, rows, columns], wanted, **F64)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="no method 'occlusion'; choose from ours, deeplift"):
        scores("occlusion", [1, 0, 0])


# --- tests ---------------------------------------------------------------------------------------------------------


def test_flipping_pixel_by_pixel(monkeypatch):
    net, x = small()
    monkeypatch.setattr(sn_f4, "PAIRS", {"a": (2, 0)})
    result = sn_f4._flipped({"method": "ours", "task": "a"}, net, x, 0)
    h = net.explain(x).attributions
    for image, due, change in zip(x, h[..., 2] - h[..., 0], result["change"], strict=True):
        emptied = image.clone()
        for flat in due.flatten().argsort(descending=True)[: round(0.2 * 48)].tolist():
            if due.flatten()[flat] > 0:
                emptied[0, flat // 8, flat % 8] = 0
        before, after = (float(net(z[None])[0, 2] - net(z[None])[0, 0]) for z in (image, emptied))
        assert change == pytest.approx(before - after, rel=1e-4) and before - after != 0


def test_removal_is_of_the_predicted_class():
    net, x = small()
    result = sn_f4._removed({"method": "ours", "task": "removal"}, net, x, 0)
    remaining, change = torch.zeros(2, len(sn_f4.FRACTIONS), len(x), dtype=torch.float64)
    for i, image in enumerate(x):
        c = int(net(image[None]).argmax())
        due, whole = net.explain(image[None]).attributions[0, ..., c].flatten(), float(net(image[None])[0, c])
        for step, fraction in enumerate(sn_f4.FRACTIONS):
            for to, order in ((remaining, due.argsort(descending=True)), (change, due.abs().argsort())):
                emptied = image.clone().flatten()
                emptied[order[: round(fraction * 48)]] = 0
                left = float(net(emptied.view(1, 1, 6, 8))[0, c])
                to[step, i] = left if to is remaining else abs(left - whole) / abs(whole)
    for name, values in (("remaining", remaining), ("change", change)):
        area = torch.trapezoid(values, torch.tensor(sn_f4.FRACTIONS, dtype=torch.float64), dim=0)
        assert result[name]["area"] == pytest.approx(area.tolist(), rel=1e-4)
        assert result[name]["mean"] == pytest.approx(values.mean(1).tolist(), rel=1e-4, abs=1e-9)
    assert result["gap"] < 1e-10


def test_the_papers_runs_are_all_test_images():
    configs = [batch.config for batch in batches("paper")]
    assert len(configs) == len(METHODS) * 5 and {c["checkpoint"] for c in configs} == {CHECKPOINT}
    assert {c["task"]: c["images"] for c in configs} == {**TEST_IMAGES}
    assert [TEST_IMAGES[pair] - 1 for pair in PAIRS] == [1008, 981, 973, 973]  # the table's degrees of freedom
    assert [b.config for b in sn_tab7.batches("paper")] == [b.config for b in sn_f11.batches("paper")] == configs


def test_a_missing_network_is_told(tmp_path):
    (config,) = [b.config for b in batches("cpu") if b.config["task"] == "9->1" and b.config["method"] == "ours"]
    with pytest.raises(FileNotFoundError, match="shapnotes reproduce SN-F5 trains it"):
        sn_f4.run(config, (0,), "cpu", tmp_path / "SN-F4")


# --- verdicts ------------------------------------------------------------------------------------------------------


def made(change=None, images: dict = TEST_IMAGES, width: int = 128) -> list[dict]:
    """Runs in which everything is as the paper says, with its effects; `change` moves a mean in units of the spread."""
    runs = []
    for task in TEST_IMAGES:
        count = images[task]
        wave = torch.linspace(-1, 1, count, dtype=torch.float64) * 1.732  # of spread 1
        for method in ("ours", *RIVALS):

            def level(quantity, task=task, method=method):
                if method == "ours":
                    return 0.0
                usual = -sn_tab7.effect(task, method) if task != "removal" else 1.0
                if (quantity, method) == ("least", "deeplift"):
                    usual = -1.0
                return usual + (change(task, method, quantity) if change else 0.0)

            spread = torch.zeros_like(wave) if method == "ours" else wave
            lists = {q: (level(q) + spread).tolist() for q in ("flip", "least", "top")}
            result = {"network": {"channels": [1, width, 10], "sha256": "x"}, "gap": 0.0, "change": lists["flip"]}
            if task == "removal":
                result |= {"change": {"area": lists["least"]}, "remaining": {"area": lists["top"]}, "fractions": [0, 1]}
            runs.append({"config": {"task": task, "method": method}, "seed": 0, "result": result})
    return runs


def test_the_papers_numbers_reproduce_the_paper():
    for identifier in ("SN-F4", "SN-F11", "SN-Tab7"):
        word, ours, paper = experiment(identifier).verdict(made())
        assert word == "reproduced" and ours and paper
    assert sn_tab7.against(made(), "4->1", "saliency").t == pytest.approx(122.93, rel=0.01)


def test_the_verdicts_follow_the_numbers():
    third = made(lambda task, method, quantity: -3.0 * (quantity == "least" and method == "deep_shap"))
    assert [name for name, held in sn_f4.statements(third).items() if not held] == ["second in least-k removal"]
    assert sn_f4.verdict(third)[0] == "partly" and sn_tab7.verdict(third)[0] == "reproduced"

    behind = made(lambda task, method, quantity: 4.0 * (task == "9->1" and method == "saliency" and quantity == "flip"))
    assert not sn_f4.statements(behind)["best in digit flipping"] and sn_f11.verdict(behind)[0] == "partly"
    assert sn_tab7.verdict(behind)[0] == "not reproduced"

    same = made(lambda task, method, quantity: 2.5 * (method == "deep_shap" and quantity == "flip"))
    assert list(sn_tab7.statements(same).values()) == [True, False] and sn_tab7.verdict(same)[0] == "partly"

    worse = made(lambda task, method, quantity: 9.0 if quantity == "flip" else -9.0)
    assert {sn_f4.verdict(worse)[0], sn_f11.verdict(worse)[0], sn_tab7.verdict(worse)[0]} == {"not reproduced"}


def test_less_than_the_paper_is_no_reproduction():
    fewer = {**TEST_IMAGES, "8->6": 100}
    for runs, identifiers in (
        (made(images=fewer), ("SN-F11", "SN-Tab7")),
        (made(images={**TEST_IMAGES, "removal": 200}), ("SN-F4",)),
        (made(width=16), ("SN-F4", "SN-F11", "SN-Tab7")),
        (made()[:-1], ("SN-F4",)),
        (made()[6:], ("SN-F4", "SN-F11", "SN-Tab7")),
    ):
        for identifier in identifiers:
            word, ours, _ = experiment(identifier).verdict(runs)
            assert word == "not run at full scale" and "network of width" in ours
    assert "width 16 (the paper's: 128)" in sn_f4.verdict(made(width=16))[1]


def test_a_run_is_json_and_told(tmp_path):
    config = next(b.config for b in batches("smoke") if b.config["method"] == "integrated_gradients")
    (result,) = sn_f4.run(config, (0,), "cpu", tmp_path)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    lines = sn_tab7.summary(made())
    assert any("8->6" in line and "Saliency" in line and "90.17" in line for line in lines) and len(lines) == 21
