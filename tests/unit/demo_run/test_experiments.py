import json

import pytest

from thumbwheel_demo.experiments.wheel import grid
from thumbwheel_demo.experiments.wheel.__main__ import main, render
from thumbwheel_demo.experiments.wheel.compare import compare
from thumbwheel_demo.experiments.wheel.grid import Cell, RunFailed, cells, run_all
from thumbwheel_demo.report.record import write_json

from .reports import report, version


def _report(last: float, base: float = 0.0):
    prompts = {"base": {f"p{i}": base for i in range(20)}, "last": {f"p{i}": last for i in range(20)}}
    return report(versions=[version("base", base, base), version("last", last, base)], prompts=prompts)


def _write(cell: Cell, made) -> None:
    write_json(cell.folder / "report.json", made)
    (cell.folder / "arguments.json").write_text(json.dumps(cell.arguments(), separators=(",", ":")))


def test_every_arm_runs_with_every_seed_and_its_own_options(tmp_path):
    todo = cells(tmp_path, list(grid.ARMS), (1, 2, 3), ())
    assert len(todo) == 12
    by_name = {(c.arm, c.seed): c.arguments() for c in todo}
    assert "--stages" in by_name["sft-only", 2]
    assert by_name["thumbs-shuffled", 3][:3] == ["--corrections", "0", "--shuffle-votes"]
    assert len({c.folder for c in todo}) == 12


def test_finished_runs_are_not_made_again(tmp_path):
    todo = cells(tmp_path, ["full", "sft-only"], (1,), ())
    _write(todo[0], _report(0.6))
    made: list[str] = []
    reports, failures = run_all(todo, lambda cell: made.append(cell.arm) or _report(0.4), lambda _: None)
    assert made == ["sft-only"]
    assert set(reports) == {("full", 1), ("sft-only", 1)}
    assert failures == []


def test_a_run_made_with_other_options_does_not_count(tmp_path):
    _write(cells(tmp_path, ["full"], (1,), ())[0], _report(0.6))
    assert cells(tmp_path, ["full"], (1,), ("--chats", "10"))[0].finished() is None


def test_a_failed_run_is_told_and_the_others_go_on(tmp_path):
    def run(cell: Cell):
        if cell.seed == 1:
            raise RunFailed("ended with status 1")
        return _report(0.5)

    said: list[str] = []
    reports, failures = run_all(cells(tmp_path, ["full"], (1, 2), ()), run, said.append)
    assert list(reports) == [("full", 2)]
    assert failures == ["ended with status 1"]
    assert any("failed" in line for line in said)


def test_arms_are_compared_on_the_same_prompts_and_seeds():
    reports = {("full", seed): _report(0.8) for seed in (1, 2)} | {("sft-only", 1): _report(0.5)}
    found = compare(reports, [])
    assert {a.arm: a.gain.mean for a in found.arms} == pytest.approx({"full": 0.8, "sft-only": 0.5})
    [contrast] = found.contrasts
    assert (contrast.arm, contrast.over) == ("full", "sft-only")
    assert contrast.difference.mean == pytest.approx(0.3)
    assert contrast.by_seed == pytest.approx([0.3])


def test_the_page_shows_arms_and_contrasts():
    page = render(compare({("full", 1): _report(0.8), ("sft-only", 1): _report(0.5)}, []))
    assert "full − sft-only" in page
    assert "+30.0%" in page


def test_main_writes_figures_from_finished_runs(tmp_path, capsys):
    for cell in cells(tmp_path, ["full", "sft-only"], (1,), ()):
        _write(cell, _report(0.8 if cell.arm == "full" else 0.5))
    assert main(["--out", str(tmp_path), "--arms", "full,sft-only", "--seeds", "1"]) == 0
    figures = json.loads((tmp_path / "wheel.json").read_text())
    assert figures["contrasts"][0]["difference"]["mean"] == pytest.approx(0.3)
    assert (tmp_path / "wheel.html").exists()
    assert "full over sft-only: +30.0" in capsys.readouterr().out


def test_an_unknown_arm_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--arms", "magic"])
    assert "'magic'" in capsys.readouterr().err
