"""The mark of what may be stored."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Cleared(Generic[T_co]):
    """A value that went through the `Redactor`, or that lay in the database already.

    Repositories take turns and feedback in no other form, so the type check finds who would store past the redactor.
    """

    value: T_co
