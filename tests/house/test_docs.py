"""What the documents say is what the code does."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "docs" / "configuration.md"
SETTINGS = (
    "service/thumbwheel_service/settings.py",
    "learner/thumbwheel_learner/settings.py",
    "learner/thumbwheel_learner/runs/settings.py",
    "learner/thumbwheel_learner/questions/settings.py",
)
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])
CODE = sorted(path for folder in ("sdk", "service", "learner", "deploy") for path in (ROOT / folder).rglob("*.py"))


def test_the_configuration_page_is_what_the_settings_say() -> None:
    page = runpy.run_path(str(ROOT / "deploy" / "config_table.py"))["page"]
    assert CONFIGURATION.read_text() == page(), "run: python3 deploy/config_table.py"


@pytest.mark.parametrize("source", SETTINGS)
def test_every_variable_that_is_read_is_on_the_page(source: str) -> None:
    text = (ROOT / source).read_text()
    read = set(re.findall(r'(?:given\.get\(|given, )"([A-Z_]*[A-Z])"', text))
    assert len(read) > 5
    assert not {name for name in read if f"`THUMBWHEEL_{name}`" not in CONFIGURATION.read_text()}


@pytest.mark.parametrize(
    "document",
    [document for document in DOCUMENTS if document != CONFIGURATION],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_every_variable_that_a_document_names_exists(document: Path) -> None:
    named = set(re.findall(r"THUMBWHEEL_[A-Z][A-Z_]*[A-Z]", document.read_text()))
    known = {name for path in CODE for name in re.findall(r"THUMBWHEEL_[A-Z_]+", path.read_text())}
    known |= set(re.findall(r"THUMBWHEEL_[A-Z_]+", CONFIGURATION.read_text()))
    assert {name for name in named if name not in known and "THUMBWHEEL_KAFKA_" not in name} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_that_a_document_links_to_is_there(document: Path) -> None:
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text())]
    local = [link for link in links if link and "://" not in link]
    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_make_target_that_a_document_names_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", document.read_text())) <= targets


def test_the_annotated_tree_of_the_readme_names_what_is_there() -> None:
    tree = re.search(r"<!-- tree -->\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tree is not None
    folder, missing = "", list[str]()
    for line in tree[1].splitlines():
        names = re.split(r"\s{2,}", line.strip())[0]
        if not line.startswith(" "):
            folder = names
            missing += [] if (ROOT / folder).exists() else [folder]
        else:
            missing += [folder + name for name in names.split() if not (ROOT / folder / name).exists()]
    assert missing == []
