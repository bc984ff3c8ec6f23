"""SUP-02: nothing runs at the interpreter's start that is not known."""

from __future__ import annotations

import importlib.metadata
import os
import sysconfig
from pathlib import Path

import pytest

from tests.supply.requirements import ROOT, read_lock

# Start-up code that is known, by the whole line, so that a changed one is new.
ALLOWED_LINES: dict[str, str] = {
    "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') == 'local'; "
    "enabled and __import__('_distutils_hack').add_shim();": "setuptools' distutils; the image does not carry it",
    "import __editable___llm_gateway_0_1_0_finder; __editable___llm_gateway_0_1_0_finder.install()": "this project, "
    "installed editable by `make install`; the image does not carry it",
}

# Commands that the run-time requirements put on the path.
ALLOWED_COMMANDS: dict[str, str] = {
    "gateway": "this project",
    "idna": "idna's own command line, a requirement of yarl",
    "cffi-gen-src": "cffi's, a requirement of cryptography",
    "wheel": "builds this project; removed from the image",
    "f2py": "numpy, below presidio-analyzer",
    "faker": "faker's own command line",
    "genai-prices": "genai-prices' own command line",
    "httpx2": "httpx2, below genai-prices",
    "httpx": "httpx, below presidio-analyzer",
    "langid": "py3langid's own command line",
    "markdown-it": "markdown-it-py, below presidio-analyzer",
    "normalizer": "charset-normalizer, below presidio-analyzer",
    "numpy-config": "numpy, below presidio-analyzer",
    "pygmentize": "pygments, below presidio-analyzer",
    "spacy": "spacy, below presidio-analyzer",
    "tldextract": "tldextract, below presidio-analyzer",
    "tqdm": "tqdm, below presidio-analyzer",
    "typer": "typer, below presidio-analyzer",
    "weasel": "weasel, below presidio-analyzer",
}

_CUSTOM = ("sitecustomize", "usercustomize")


def hooks(site: Path) -> list[str]:
    """`FILE: LINE` for each line of a .pth that Python would execute, and each module that it imports by itself."""
    found = []
    for file in sorted(site.iterdir()):
        if file.suffix == ".pth":
            # As `site` reads it: a line that begins with import and a blank or a tab is run.
            lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
            found += [f"{file.name}: {line.rstrip()}" for line in lines if line.startswith(("import ", "import\t"))]
        elif file.name.split(".")[0] in _CUSTOM:
            found.append(f"{file.name}: imported at each start")
    return found


def sites() -> list[Path]:
    return sorted({Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")})


@pytest.mark.parametrize("site", sites(), ids=str)
def test_only_known_code_runs_at_the_interpreters_start(site):
    """SUP-02"""
    unknown = [hook for hook in hooks(site) if hook.split(": ", 1)[1] not in ALLOWED_LINES]
    assert unknown == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("zz.pth", "import os; os.system('true')\n"),
        ("zz.pth", "/a/folder\nimport\tos\n"),
        ("zz.pth", "\ufeffimport os\n"),
        ("distutils-precedence.pth", "import other\n"),
        ("sitecustomize.py", ""),
        ("usercustomize.cpython-311-x86_64-linux-gnu.so", ""),
    ],
)
def test_a_planted_hook_is_found(tmp_path, name, content):
    """SUP-02: the test above can fail."""
    (tmp_path / name).write_text(content, encoding="utf-8")
    (found,) = hooks(tmp_path)
    assert found.split(": ", 1)[1] not in ALLOWED_LINES


def test_a_planted_package_is_found(tmp_path):
    """SUP-02"""
    (tmp_path / "sitecustomize").mkdir()
    assert len(hooks(tmp_path)) == 1


def test_a_folder_in_a_pth_is_no_code(tmp_path):
    """SUP-02"""
    (tmp_path / "some.pth").write_text("# import os\n/a/folder\nimportant/folder\n")
    assert hooks(tmp_path) == []


def test_the_run_time_requirements_bring_only_known_commands():
    """SUP-02"""
    locked = read_lock((ROOT / "requirements" / "run.txt").read_text())
    wanted = [e.name for e in locked if e.requirement.marker is None or e.requirement.marker.evaluate()]
    points = [p for name in [*wanted, "llm-gateway"] for p in importlib.metadata.distribution(name).entry_points]
    commands = {p.name for p in points if p.group in {"console_scripts", "gui_scripts"}}
    assert commands - ALLOWED_COMMANDS.keys() == set()


def test_the_interpreter_does_not_take_modules_of_the_surroundings():
    """SUP-02: PYTHONSTARTUP and PYTHONPATH are not set where the tests (and so CI) run."""
    assert [name for name in ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME") if os.environ.get(name)] == []
