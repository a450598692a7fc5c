"""The package as it is imported."""

import subprocess
import sys


def test_importing_it_takes_little_more_than_torch():
    """What is slow to import and needed by few comes when it is asked for, unless torch has brought it."""
    code = (
        "import sys, torch; there = set(sys.modules); import shapnotes; "
        "print(*{'sklearn', 'scipy.stats', 'torch._dynamo', 'shap', 'numba'} & set(sys.modules) - there)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


def test_estimators_come_when_asked_for():
    import shapnotes

    assert shapnotes.estimators.ShapNetClassifier.__module__ == "shapnotes.estimators"
    assert not hasattr(shapnotes, "no_such_module")
