"""A trace is read as the kernel told it, and a sync counts for a request only in the right place and order."""

import re

import pytest
from tests.benchmarks.strace import Call, calls, chains

LOG = "/data/service.db-wal"
MARKER = re.compile(r"traced-\d{6}")
ASKED = r'11 read(9<socket:[77]>, "POST /v1/feedback HTTP/1.1\r\nx-request-id: traced-000001\r\n\r\n{}", 262144) = 210'
WRITTEN = f'12 pwrite64(7<{LOG}>, "\\2\\0traced-000001\\0", 4096, 4152) = 4096'
SYNCED = f"12 fdatasync(7<{LOG}>) = 0"
TOLD = r'11 write(9<socket:[77]>, "HTTP/1.1 201 Created\r\nx-request-id: traced-000001\r\n\r\n{}", 300) = 300'


def is_log(call: Call) -> bool:
    return call.path == LOG


def verdict(*lines: str) -> list[tuple[bool, bool]]:
    return [(one.synced, one.own) for one in chains(list(calls(lines)), MARKER, is_log)]


def test_a_call_that_another_thread_interrupted_in_the_trace_is_put_together() -> None:
    found = list(
        calls(
            [
                f"12 fdatasync(7<{LOG}> <unfinished ...>",
                '11 read(9<socket:[77]>, "x", 262144) = 1',
                "12 <... fdatasync resumed>) = 0",
            ]
        )
    )
    assert [(c.pid, c.name, c.path, c.result, c.began, c.ended) for c in found] == [
        (11, "read", "socket:[77]", "1", 1, 1),
        (12, "fdatasync", LOG, "0", 0, 2),
    ]


def test_what_a_resumed_read_brought_is_part_of_it() -> None:
    one, *others = calls(["5 read(9<socket:[77]>,  <unfinished ...>", '5 <... read resumed>"traced-000009", 99) = 13'])
    assert not others
    assert (one.path, MARKER.findall(one.arguments)) == ("socket:[77]", ["traced-000009"])


@pytest.mark.parametrize(
    "line",
    [
        "12 --- SIGCHLD {si_signo=SIGCHLD} ---",
        "12 +++ exited with 0 +++",
        f"12 fdatasync(7<{LOG}> <unfinished ...>",
        "",
    ],
)
def test_what_is_no_call_that_returned_is_left_out(line: str) -> None:
    assert list(calls([line])) == []


def test_arrival_write_sync_answer_is_a_synced_acknowledgement() -> None:
    assert verdict(ASKED, WRITTEN, SYNCED, TOLD) == [(True, True)]


@pytest.mark.parametrize(
    "lines",
    [
        (ASKED, WRITTEN, TOLD, SYNCED),
        (SYNCED, ASKED, WRITTEN, TOLD),
        (ASKED, WRITTEN, TOLD),
        (ASKED, WRITTEN, f"12 fdatasync(7<{LOG}>) = -1 EIO (Input/output error)", TOLD),
        (ASKED, WRITTEN, "12 fdatasync(7</data/other.db-wal>) = 0", TOLD),
        (ASKED, WRITTEN, f"12 fdatasync(7<{LOG}> <unfinished ...>", TOLD, "12 <... fdatasync resumed>) = 0"),
        (f"12 fdatasync(7<{LOG}> <unfinished ...>", ASKED, WRITTEN, "12 <... fdatasync resumed>) = 0", TOLD),
    ],
    ids=["after", "before", "none", "failed", "another file", "not finished", "begun before the arrival"],
)
def test_a_sync_at_any_other_place_does_not_count(lines: tuple[str, ...]) -> None:
    assert verdict(*lines) == [(False, False)]


def test_a_sync_of_another_request_alone_is_not_its_own() -> None:
    other = WRITTEN.replace("traced-000001", "traced-000002")
    assert verdict(ASKED, other, SYNCED, WRITTEN, TOLD) == [(True, False)]


def test_only_what_was_answered_with_a_2xx_is_looked_at() -> None:
    refused = TOLD.replace("201 Created", "503 Service Unavailable")
    assert verdict(ASKED, WRITTEN, SYNCED, refused) == []
