import contextlib
import io
import json
import re
import xml.etree.ElementTree as ElementTree

import msgspec
from rich.console import Console

from thumbwheel_demo.report.page import render
from thumbwheel_demo.report.record import Interval, read_report, write_json
from thumbwheel_demo.report.table import percent, print_report

from .reports import report, version


def _printed(of) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    print_report(of, console)
    return console.export_text()


def test_the_json_holds_what_the_issue_asks_for_with_the_base_first(tmp_path):
    write_json(tmp_path / "new" / "report.json", report())
    figures = json.loads((tmp_path / "new" / "report.json").read_text())
    assert next(v["version"] for v in figures["versions"]) == "base"
    assert set(figures["versions"][1]["satisfaction"]) == {"mean", "low", "high"}
    assert figures["versions"][2]["kl"] > 0
    assert figures["swaps"][0]["seconds"] == 0.12
    assert {"total", "lost", "truncated"} <= set(figures["chats"])
    assert {"accuracy", "auc", "ece"} <= set(figures["reward_model"])
    assert figures["seconds_after_setup"] == 420.0
    assert read_report(tmp_path / "new" / "report.json") == report()


def test_a_broken_write_leaves_the_old_figures(tmp_path):
    path = tmp_path / "report.json"
    write_json(path, {"fine": 1})
    with contextlib.suppress(TypeError):
        write_json(path, {"not json": object()})
    assert json.loads(path.read_text()) == {"fine": 1}


def test_the_page_needs_nothing_from_elsewhere_and_escapes_what_people_wrote():
    page = render(report())
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!#)", page.replace('xlink:href="#', ""))
    assert "<script" not in page
    assert "@import" not in page
    assert "url(http" not in page
    assert "&lt;b&gt;Where&lt;/b&gt;" in page
    assert "<b>Where" not in page
    assert "On its way &amp; soon there." in page


def test_every_plot_is_well_formed_svg_with_ids_of_its_own():
    page = render(report())
    plots = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(plots) == 4
    ids = [set(re.findall(r'\sid="((?:m|p)[0-9a-f]{8,})"', plot)) for plot in plots]
    for i, plot in enumerate(plots):
        ElementTree.fromstring(plot)
        assert not any(ids[i] & ids[j] for j in range(i))


def test_a_run_without_a_reward_model_or_a_swap_still_makes_a_page_and_a_table():
    bare = report(
        reward_model={"accuracy": None, "auc": None, "ece": None},
        versions=[version("base", 0.4)],
        swaps=[],
        gates=[],
        examples=[],
        timeline=[],
        feedback={},
    )
    page = render(bare)
    assert "No reward model was trained" in page
    assert "No swap." in page
    assert "not trained in this run" in _printed(bare)


def test_the_table_shows_gain_swap_and_losses():
    text = _printed(report())
    assert "75.0% [70.0, 80.0]" in text
    assert "+35.0 [+29.0, +41.0]" in text
    assert "80 ms" in text
    assert "lost 0, truncated 0" in text
    assert "accepted pol-0001: wins 70%" in text


def test_diversity_is_shown_where_it_was_measured():
    known = msgspec.structs.replace(version("pol-0001", 0.6), distinct_bigrams=Interval(0.815, 0.8, 0.83))
    both = report(versions=[version("base", 0.4), known])
    assert "82%" in _printed(both)
    assert "81.5% [80.0, 83.0]" in render(both)
    assert "distinct-2" in _printed(report())


def test_a_gain_is_printed_with_its_sign():
    assert percent(version("x", 0.3).gain, signed=True) == "-10.0 [-16.0, -4.0]"
