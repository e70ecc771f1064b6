"""Write docs/configuration.md from the settings' own source, so that the two cannot disagree.

python3 deploy/config_table.py [--check]
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configuration.md"
PREFIX = "THUMBWHEEL_"
SERVICE = ROOT / "service" / "thumbwheel_service" / "settings.py"
LEARNER = ROOT / "learner" / "thumbwheel_learner" / "settings.py"
TRAINING = ROOT / "learner" / "thumbwheel_learner" / "runs" / "settings.py"
QUESTIONS = ROOT / "learner" / "thumbwheel_learner" / "questions" / "settings.py"
LABELER = ROOT / "learner" / "thumbwheel_learner" / "rlaif" / "settings.py"
ENGINE = ROOT / "service" / "thumbwheel_service" / "engine" / "options.py"

HEAD = """\
# Configuration

Every setting is an environment variable, read once at the start. `make up` and `thumbwheel up` take the common ones as
options; the rest, and all of them in a container, are set in the environment. A wrong value stops the start with a
message that names the variable. `thumbwheel doctor` reads the same variables.

This page is written by `python3 deploy/config_table.py` from the settings' source; a test keeps it up to date.
"""


class Setting(NamedTuple):
    """One row."""

    name: str
    default: str
    meaning: str


def main() -> int:
    """Write the page, or with `--check` only say whether it is up to date."""
    wanted = page()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.read_text() == wanted else 1
    PAGE.write_text(wanted)
    return 0


def page() -> str:
    """The whole page."""
    sections = [
        ("Service", "", settings_of(SERVICE, "Settings")),
        ("Service: limits", "What goes over one is refused with 413 or 429.", settings_of(SERVICE, "Limits")),
        ("Service: engine", "Passed on to vLLM.", engine_options()),
        ("Learner", "", settings_of(LEARNER, "Settings")),
        ("Learner: training", "0 keeps the algorithm's own default.", settings_of(TRAINING, "Training")),
        ("Learner: questions to people", "", settings_of(QUESTIONS, "QuestionSettings")),
        ("Learner: labeler", "", settings_of(LABELER, "LabelerSettings")),
    ]
    return HEAD + "".join(section(title, text, list(rows)) for title, text, rows in sections)


def section(title: str, text: str, rows: list[Setting]) -> str:
    """A heading, a sentence and a table."""
    lines = [f"\n## {title}\n"] + ([f"{text}\n"] if text else [])
    lines += ["| variable | default | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{row.name}` | {row.default} | {row.meaning} |" for row in rows]
    return "\n".join(lines) + "\n"


def settings_of(source: Path, name: str) -> Iterator[Setting]:
    """The fields of a settings class whose docstring begins with the variable's name in backticks."""
    for field, value, doc in fields(source, name):
        if not doc.startswith("`"):
            continue
        variable, _, meaning = doc[1:].partition("`")
        yield Setting(PREFIX + variable.removeprefix(PREFIX), default_of(value), tidy(meaning) or in_words(field))


def engine_options() -> Iterator[Setting]:
    """The engine's options, reached as `THUMBWHEEL_ENGINE_<OPTION>`; the model has a variable of its own."""
    for field, value, doc in fields(ENGINE, "EngineOptions"):
        if field != "model":
            yield Setting(f"{PREFIX}ENGINE_{field.upper()}", default_of(value), tidy(doc) or in_words(field))


def fields(source: Path, name: str) -> Iterator[tuple[str, ast.expr | None, str]]:
    """Name, default and docstring of each documented field of a class."""
    tree = ast.parse(source.read_text())
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    for field, doc in zip(body, [*body[1:], ast.Pass()], strict=True):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        text = doc.value.value if isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant) else ""
        yield field.target.id, field.value, str(text)


def default_of(value: ast.expr | None) -> str:
    """A plain default as code; nothing where there is none or the meaning tells it."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "Path" and value.args:
        value = value.args[0]
    try:
        plain = ast.literal_eval(value) if value is not None else None
    except ValueError:
        plain = computed(value)
    return "" if plain in (None, "", ()) else f"`{plain}`"


def computed(value: ast.expr | None) -> object:
    """Arithmetic on integers, such as `1 << 20`; None for calls and names."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.LShift):
        return int(ast.literal_eval(value.left)) << int(ast.literal_eval(value.right))
    return None


def tidy(meaning: str) -> str:
    """A sentence on one line, without the separators before it, safe inside a table."""
    text = " ".join(meaning.lstrip(":;. ").split()).replace("|", "\\|")
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def in_words(field: str) -> str:
    """A field that says it all by its name."""
    return field.replace("_", " ").capitalize() + "."


if __name__ == "__main__":
    sys.exit(main())
