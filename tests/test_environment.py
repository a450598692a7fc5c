"""The files that repeat pyproject.toml (versions, the public address) say what it says."""

import ast
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

# Where conda-forge calls a package something else.
CONDA_NAMES = {
    "torch": "pytorch-cpu",
    "matplotlib": "matplotlib-base",
    "huggingface-hub": "huggingface_hub",
    "playwright": "playwright-python",
}
# What only conda needs: Python itself, pip, and npm's home.
CONDA_ONLY = {"python", "pip", "nodejs"}
# Tools of contributors, not part of the reader's environment.
NOT_IN_CONDA = {"dev"}


def bounds(requirement: str) -> tuple[str, str]:
    """``"torch>=2.6"`` as ``("torch", ">=2.6")``."""
    name, bound = re.fullmatch(r"([\w.-]+?)\s*((?:[<>=!~].*)?)", requirement).groups()
    return name, bound.replace(" ", "")


def wanted_by_pyproject() -> dict[str, str]:
    extras = [line for name, lines in EXTRAS.items() if name not in NOT_IN_CONDA for line in lines]
    pairs = map(bounds, [*PROJECT["dependencies"], *extras])
    return {CONDA_NAMES.get(name, name): bound for name, bound in pairs}


def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text("utf8"))


def test_environment_yml_has_the_packages_and_bounds_of_pyproject():
    listed = dict(bounds(line) for line in conda()["dependencies"] if isinstance(line, str))
    assert listed.pop("python") == PROJECT["requires-python"]
    assert {k: v for k, v in listed.items() if k not in CONDA_ONLY} == wanted_by_pyproject()


def test_environment_yml_takes_only_the_package_itself_from_pip():
    assert conda()["channels"][0] == "conda-forge"
    assert conda()["dependencies"][-1] == {"pip": ["--no-deps -e ."]}


LINE = re.compile(r'([\w.-]+)==([\w.]+)(?:; python_version (<|>=) "3\.12")?')


def locked() -> dict[str, set[str]]:
    """Versions by package: one for all Pythons, or one per side of 3.12."""
    versions: dict[str, set[str]] = {}
    for line in (ROOT / "constraints.txt").read_text("utf8").splitlines():
        if not line.startswith("#"):
            found = LINE.fullmatch(line)
            assert found, f"constraints.txt holds only NAME==VERSION, with a marker at most; got {line}"
            versions.setdefault(found[1].lower().replace("_", "-"), set()).add(found[2])
    return versions


def test_both_pythons_of_the_lock_are_merged_line_by_line(tmp_path):
    older = "alpha==1.0\nnumpy==2.4.6\nold==1\ntorch==2.13.0+cpu\n-e .\n"
    newer = "alpha==1.0\nnew==3\nnumpy==2.5.5\nnvidia-nccl-cu13==2.29.7\nsetuptools==84.2.1\ntorch==2.13.0+cu130\n"
    files = [tmp_path / name for name in ("older.txt", "newer.txt")]
    for file, text in zip(files, (older, newer), strict=True):
        file.write_text(text, "utf8")
    tool = [sys.executable, ROOT / "book" / "_tools" / "lock.py", *files]
    printed = subprocess.run(tool, check=True, capture_output=True, text=True).stdout
    assert [line for line in printed.splitlines() if not line.startswith("#")] == [
        "alpha==1.0",
        'new==3; python_version >= "3.12"',
        'numpy==2.4.6; python_version < "3.12"',
        'numpy==2.5.5; python_version >= "3.12"',
        'old==1; python_version < "3.12"',
        "torch==2.13.0",
    ]


def test_the_lock_holds_every_package_that_pyproject_names():
    lines = [*PROJECT["dependencies"], *chain.from_iterable(EXTRAS.values())]
    named = {bounds(line)[0].lower().replace("_", "-") for line in lines}
    assert named - set(locked()) == set()


def test_actions_are_pinned_to_commits():
    """A tag can be moved to other code; beside the commit stands the version whose code it is."""
    used = [
        line.split("uses:")[1].strip()
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in path.read_text("utf8").splitlines()
        if "uses:" in line
    ]
    assert len(used) > 10
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []
    assert len({action.split("@")[0] for action in used}) == len(set(used)), "one version of each"


def imported() -> set[str]:
    """What the package imports at some place, but for what an extra brings."""
    names = set()
    for path in (ROOT / "shapnotes").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"shapnotes"}


def test_what_the_package_imports_is_declared():
    distributions = {
        "sklearn": "scikit-learn",
        "huggingface_hub": "huggingface-hub",
        "PIL": "pillow",
        "interpret": "interpret-core",
        "dask": "distributed",  # which is made for it, and brings it
    }
    lines = [*PROJECT["dependencies"], *chain.from_iterable(EXTRAS.values())]
    declared = {bounds(line)[0] for line in lines}
    assert {distributions.get(name, name) for name in imported()} - declared == set()


def tracked_texts() -> list[Path]:
    """The files that git would commit, as far as they are text."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    suffixes = {".md", ".ipynb", ".yml", ".yaml", ".toml", ".py", ".cff", ".txt", ".js"}
    paths = (ROOT / line for line in listed.stdout.splitlines())
    return [path for path in paths if path.suffix in suffixes and path.is_file()]


UNIX_ONLY = {"resource", "fcntl", "termios", "pwd", "grp"}


@pytest.mark.parametrize("path", sorted((ROOT / "shapnotes").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_not_there_on_windows_is_imported_where_it_is_used(path):
    """Inside a function: else the module, and every command that imports it, fails there."""
    tree = ast.parse(path.read_text("utf8"))
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    found = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if id(node) not in inside and isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
    }
    assert not found & UNIX_ONLY


def test_the_public_address_is_the_same_everywhere():
    """Badges, install commands and links point at the repository that pyproject.toml names."""
    address = PROJECT["urls"]["Repository"]
    owner, name = address.removeprefix("https://github.com/").split("/")
    forms = [
        rf"https://([\w-]+)\.github\.io/{name}\b",
        rf"(?:github\.com|raw\.githubusercontent\.com)[/:]([\w.-]+)/{name}\b",
        rf"colab\.research\.google\.com/github/([\w.-]+)/{name}\b",
    ]
    found = [
        (path.relative_to(ROOT).as_posix(), stated)
        for path in tracked_texts()
        for form in forms
        for stated in re.findall(form, path.read_text("utf8"))
    ]
    assert {path for path, _ in found} >= {"_config.yml", "book/01_games.ipynb"}
    assert [(path, stated) for path, stated in found if stated != owner] == []


def test_what_is_changed_once_a_week_is_there():
    """The parts of the workflow are those that are set up, as TOML with what they share, and name files that exist."""
    parts = {path.stem for path in (ROOT / "tests/mutation").glob("*.toml")} - {"common"}
    workflow = (ROOT / ".github/workflows/mutants.yml").read_text()
    assert set(re.search(r"part: \[(.*)\]", workflow)[1].split(", ")) == parts
    for part in parts:
        text = "".join((ROOT / f"tests/mutation/{name}.toml").read_text() for name in (part, "common"))
        settings = tomllib.loads(text)["cosmic-ray"]
        tests = [word.split("::")[0] for word in settings["test-command"].split() if word.startswith("tests/")]
        missing = [path for path in (*settings["module-path"], *tests) if not (ROOT / path).exists()]
        assert tests and settings["filters"] and not missing
