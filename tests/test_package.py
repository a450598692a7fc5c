"""The package as it is imported."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import shapnotes as sn


def test_importing_it_takes_little_more_than_torch():
    """What is slow to import and needed by few comes when it is asked for, unless torch has brought it."""
    code = (
        "import sys, torch; there = set(sys.modules); import shapnotes; "
        "late = {'captum', 'matplotlib', 'numba', 'pandas', 'scipy', 'shap', 'sklearn', 'torch._dynamo'}; "
        "print(*late & set(sys.modules) - there)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


def test_image_networks_work_without_numba():
    """As slowly as tensors do it: prediction, values of a blank image, and gradients are the same."""
    code = """
import sys, torch
from shapnotes.shapnet import ImageShapNet
net = ImageShapNet((1, 2, 3), dilations=(1,))
net.reset_parameters(torch.Generator().manual_seed(0))
x = torch.randn(1, 1, 40, 40, generator=torch.Generator().manual_seed(1)).requires_grad_()
net(x).square().sum().backward()
with torch.no_grad():
    blank = net.explain(x * (x > 1.5)).attributions
print(sys.modules.get("numba") is not None, x.grad.norm().item(), blank.norm().item(), net(x)[0, 0].item())
"""
    with_numba, without = (
        subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, check=True).stdout.split()
        for before in ("", "import sys; sys.modules['numba'] = None\n")
    )
    assert (with_numba[0], without[0]) == ("True", "False")
    assert [float(n) for n in without[1:]] == pytest.approx([float(n) for n in with_numba[1:]], rel=1e-5)


def test_importing_it_changes_nothing_in_the_process():
    """What the first values do for memory, the import has not done."""
    code = "import shapnotes as sn, torch; from shapnotes._runtime.memory import keep_freed_memory as kept; "
    code += "print(kept.cache_info().currsize); sn.shapley_values(lambda z: z.sum(1), torch.ones(1, 3)); "
    code += "print(kept.cache_info().currsize)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["0", "1"]


def test_doctests_and_tests_meet_the_same_modules():
    """Doctests first, which would load their module a second time: contracts that change one would change the other."""
    root = Path(__file__).parents[1]
    files = [str(root / "shapnotes" / "exact.py"), str(root / "tests" / "test_contracts.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "exact.py or streaming", *files]
    run = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert run.returncode == 0 and "10 passed" in run.stdout, run.stdout


def test_estimators_come_when_asked_for():
    import shapnotes

    assert shapnotes.estimators.ShapNetClassifier.__module__ == "shapnotes.estimators"
    assert not hasattr(shapnotes, "no_such_module")


def test_public_names_exist():
    assert all(hasattr(sn, name) for name in sn.__all__)
    assert sorted(sn.__all__) == sn.__all__


@pytest.mark.parametrize(("cuda", "mps", "best"), [(True, False, "cuda"), (False, True, "cpu"), (False, False, "cpu")])
def test_the_device_is_the_best_that_can_hold_float64(cuda, mps, best, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert sn.device() == torch.device(best)


def test_values_can_be_computed_on_the_device():
    x = torch.ones(1, 3, device=sn.device())
    values = sn.shapley_values(lambda z: z.sum(1), x)
    assert values.device == x.device and values.tolist() == [[1, 1, 1]]
