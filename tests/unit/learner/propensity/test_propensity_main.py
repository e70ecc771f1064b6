from pathlib import Path

import msgspec
import numpy as np
import pytest

from thumbwheel_learner.propensity.__main__ import main
from thumbwheel_learner.propensity.model import Desk
from thumbwheel_learner.propensity.weigh import weigh_votes

from .desk_made import made


def written(desk: Desk, file: Path) -> Path:
    with file.open("wb") as lines:
        for n in range(len(desk.voted)):
            said = bool(desk.up[n]) if desk.voted[n] else None
            seen = bool(desk.satisfied[n]) if desk.reviewed[n] else None
            row = {"id": str(n), "features": desk.features[n].tolist(), "up": said, "satisfied": seen}
            lines.write(msgspec.json.encode(row) + b"\n")
    return file


def test_a_file_of_conversations_gives_the_weights_of_its_votes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = made(1000, 300, seed=1).desk
    assert main([str(written(desk, tmp_path / "desk.jsonl"))]) == 0
    said = msgspec.json.decode(capsys.readouterr().out)
    wanted = {str(n): w for n, w in enumerate(weigh_votes(desk).weights.tolist()) if desk.voted[n]}
    assert said["weights"] == wanted
    assert said["basis"] == "reviews"
    assert main([str(tmp_path / "desk.jsonl"), "--min-reviews", "1000"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["reason"] == "300 reviews of the random slice, wanted 1000"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "no conversations"),
        ('{"id": "1", "features": [1]}\n{"id": "2", "features": []}', "not the same number"),
        ('{"id": "1", "features": [1]}\n{"id": "1", "features": [2]}', "two conversations"),
        ('{"id": "1", "features": [1], "vote": true}', "unknown field"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(
    rows: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "desk.jsonl").write_text(rows)
    with pytest.raises(SystemExit):
        main([str(tmp_path / "desk.jsonl")])
    assert message in capsys.readouterr().err


def test_few_votes_have_no_figure_for_what_they_stand_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = made(40, 5, seed=2).desk
    assert main([str(written(desk, tmp_path / "desk.jsonl"))]) == 0
    said = msgspec.json.decode(capsys.readouterr().out)
    assert said["stands_for"] is None
    assert np.unique(list(said["weights"].values())).tolist() == [1.0]
