"""What the pages say is what the code does."""

import re
import shlex
from pathlib import Path

import pytest

from gateway.__main__ import parser
from gateway.policy.load import load, read_source
from tests.support.docs import FILE, reference
from tests.support.evasion import page as evasion_page
from tests.wire.coverage import page as coverage_page

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "deploy").glob("*.md"))]


def test_the_reference_page_is_what_the_code_says():
    assert FILE.read_text() == reference(), "run: make docs"


def test_the_coverage_and_evasion_pages_are_what_the_guards_do():
    """GRD-01, GRD-09: claims are measured, not written."""
    docs = ROOT / "docs"
    assert (docs / "coverage.md").read_text() == coverage_page(), "run: make docs"
    assert (docs / "evasion.md").read_text() == evasion_page(), "run: make docs"


def test_every_make_target_and_command_that_a_page_names_exists():
    text = "\n".join(page.read_text() for page in PAGES)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    known = {name for action in parser()._actions if action.choices for name in action.choices}
    assert set(re.findall(r"`gateway ([a-z]+)", text)) <= known


def test_every_setting_that_a_page_names_exists():
    text = "\n".join(page.read_text() for page in PAGES if page != FILE)
    named = set(re.findall(r"\bGATEWAY_[A-Z_]+[A-Z]\b", text))
    assert named
    assert {name for name in named if f"`{name}`" not in reference()} == set()


def test_every_file_that_a_page_links_or_names_exists():
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), (page.name, link)


def test_the_readmes_policy_is_sound(tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    policy = next(block for block in blocks if block.startswith("providers:"))
    (tmp_path / "policy.yaml").write_text(policy.replace("<digest>", "ab" * 32))
    loaded = load(read_source(tmp_path), tmp_path, {"OPENAI_API_KEY": "sk-canary-000000000000000"})
    assert loaded.models.targets_for("fast")[0].model == "gpt-4o-mini"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_gateway_commands_of_a_page_parse(page):
    for block in re.findall(r"```(?:sh|bash)\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["gateway"]:
                parser().parse_args(words[1:])
