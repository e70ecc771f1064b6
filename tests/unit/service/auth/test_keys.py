"""Keys are random, stored as digests, and their files are whole, private and made once."""

import stat
import threading
from pathlib import Path

import pytest

from thumbwheel_service.auth import keys


def test_a_key_is_named_by_its_prefix_and_proved_by_its_secret() -> None:
    key = keys.mint()
    assert keys.parse(key.text) == key
    assert key.secret not in key.digest
    assert keys.mint().secret != key.secret


@pytest.mark.parametrize("text", ["", "sk-123", "tw-", "tw-0123456789ab", "tw-0123456789ab.short", "TW-x.y"])
def test_other_tokens_are_not_ours(text: str) -> None:
    assert keys.parse(text) is None


def test_the_admin_key_is_private_and_stays_the_same(tmp_path: Path) -> None:
    path = tmp_path / "new" / "admin.key"
    key = keys.admin_key(path)
    assert keys.admin_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["admin.key"]


def test_a_file_with_something_else_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "admin.key"
    path.write_text("my notes")
    with pytest.raises(keys.BadKeyFile, match="move it away"):
        keys.admin_key(path)
    assert path.read_text() == "my notes"


def test_those_who_start_together_get_the_same_key(tmp_path: Path) -> None:
    path, found = tmp_path / "admin.key", set[keys.ApiKey]()
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        found.add(keys.admin_key(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1
