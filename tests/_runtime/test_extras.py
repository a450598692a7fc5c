"""What an extra brings is asked for by the extra's name."""

import subprocess
import sys

import pytest

from shapnotes import cli, datasets
from shapnotes._runtime.extras import extra


def test_the_extra_is_named():
    with pytest.raises(ImportError, match=r'^this needs the package no_such: pip install "shapnotes\[reproduce\]"$'):
        with extra("reproduce"):
            import no_such.part  # noqa: F401
    with pytest.raises(ImportError, match="cannot import name 'nothing'"), extra("reproduce"):
        from torch import nothing  # noqa: F401


def without(monkeypatch, package: str) -> None:
    """As if it were not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.parametrize(
    ("package", "name", "command"),
    [
        ("joblib", "reproduce", ["LC-F3", "--jobs", "2"]),
        ("safetensors", "reproduce", ["image-networks"]),
        ("dask", "sweeps", ["LC-F3", "--scheduler", "tcp://nowhere"]),
    ],
)
def test_what_only_some_runs_need_is_asked_for_where_they_need_it(
    package, name, command, monkeypatch, capsys, tmp_path
):
    datasets.digits()  # scikit-learn, which imports joblib
    where = ["--scale", "smoke", "--out", str(tmp_path)]
    without(monkeypatch, package)
    assert cli.main(["reproduce", *command, *where]) == 2
    assert f'needs the package {package}: pip install "shapnotes[{name}]"' in capsys.readouterr().err
    assert cli.main(["reproduce", "LC-F3", *where]) == 0  # one process on this machine needs none of them


def test_commands_start_without_what_only_some_runs_need():
    code = "import sys; sys.modules.update(safetensors=None, dask=None, shap=None, captum=None, numba=None); "
    code += "from shapnotes.cli import main; main(['bench', '--help'])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0 and "exact: Exact values beside" in run.stdout, run.stderr
