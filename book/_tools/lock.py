"""One constraints file of the environments of two Python versions.

    python book/_tools/lock.py OLDER NEWER > constraints.txt

Each argument is the output of pip freeze. A package that both have in the same version has one line; one that differs,
since its newest release needs the newer Python, has a line per Python, told apart by a marker of pip.
"""

import re
import sys
from pathlib import Path

NEWER = "3.12"  # and what is newer still
HEAD = """\
# The environment in which the notebooks were executed and are compared. Made by: make lock
# (pip freeze, in fresh environments of Python 3.11 and 3.12, of what pyproject.toml names, without local labels such as
# +cpu and without the CUDA libraries, which only the GPU builds of PyTorch ask for).
"""
LEFT_OUT = re.compile(r"nvidia-|cuda-|triton=|setuptools=|wheel=|#|-e ")


def pinned(frozen: str) -> dict[str, str]:
    """Versions by package, from the output of pip freeze."""
    lines = [re.sub(r"\+[a-z0-9.]+$", "", line) for line in frozen.splitlines() if not LEFT_OUT.match(line)]
    return dict(line.split("==") for line in lines)


def merged(older: dict[str, str], newer: dict[str, str]) -> list[str]:
    """The lines of the constraints file."""
    lines = []
    for name in sorted(older | newer, key=str.lower):
        if older.get(name) == newer.get(name):
            lines.append(f"{name}=={older[name]}")
            continue
        if name in older:
            lines.append(f'{name}=={older[name]}; python_version < "{NEWER}"')
        if name in newer:
            lines.append(f'{name}=={newer[name]}; python_version >= "{NEWER}"')
    return lines


if __name__ == "__main__":
    old, new = (pinned(Path(name).read_text("utf8")) for name in sys.argv[1:])
    print(HEAD, *(f"{line}\n" for line in merged(old, new)), sep="", end="")
