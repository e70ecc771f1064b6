"""What one check of the doctor found."""

from typing import Literal

from msgspec import Struct

State = Literal["ok", "warn", "fail"]


class Finding(Struct, frozen=True):
    """One line of the doctor's report."""

    check: str
    state: State
    found: str
    """What is there, in the reader's words."""
    mend: str = ""
    """What to do about it; empty when all is well."""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", found)


def warn(check: str, found: str, mend: str) -> Finding:
    """It works, but not for everything or not for long."""
    return Finding(check, "warn", found, mend)


def fail(check: str, found: str, mend: str) -> Finding:
    """It does not work like this."""
    return Finding(check, "fail", found, mend)
