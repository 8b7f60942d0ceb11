"""What one call to the index may write and read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.artifact.manifest import canonical
from modelyard.core.errors import BadInput, TooLarge
from modelyard.store.schema import ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelyard.store.rows import Entry

WHO_CHARS, TEXT_CHARS, EVIDENCE_BYTES = 200, 10_000, 1 << 20
MOST_ENTRIES, MOST_PAGE, MOST_WEIGHT = 64, 1000, 1_000_000


def check_text(what: str, text: str, most: int) -> str:
    """A text that a person wrote, if both databases can keep it.

    Raises:
        BadInput: it holds NUL or half of a character.
        TooLarge: it is too long.
    """
    if len(text) > most:
        raise TooLarge(f"the {what} has {len(text)} characters, the limit is {most}")
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise BadInput(f"the {what} holds a character that is none")
    return text


def check_release(entries: Sequence[Entry], who: str, why: str, evidence: Mapping[str, Any]) -> str:
    """Hold a release against what any release must be; the evidence as text.

    Raises:
        BadInput: a doubled version, an unknown role, a weight out of range, nothing that answers,
            or evidence that is not plain JSON.
        TooLarge: too many entries, or too much text.
    """
    check_text("who", who, WHO_CHARS)
    check_text("why", why, TEXT_CHARS)
    if len(entries) > MOST_ENTRIES:
        raise TooLarge(f"a release has {MOST_ENTRIES} versions at most, this one {len(entries)}")
    if len({entry.version for entry in entries}) != len(entries):
        raise BadInput("a release names each version once")
    for entry in entries:
        if entry.role not in ROLES:
            raise BadInput(f"{entry.role[:40]!r} is no role; roles are {', '.join(ROLES)}")
        if not 0 <= entry.weight <= MOST_WEIGHT:
            raise BadInput(f"a weight is a whole number from 0 to {MOST_WEIGHT}, not {entry.weight}")
    answering = [entry.weight for entry in entries if entry.role != "shadow"]
    if (answering or any(entry.weight for entry in entries)) and not any(answering):
        raise BadInput("no version of this release would answer; give one that is no shadow a weight above 0")
    try:
        text = canonical(evidence).decode()
    except (TypeError, ValueError, RecursionError):
        raise BadInput("the evidence of a release is plain JSON values") from None
    if len(text) > EVIDENCE_BYTES:
        raise TooLarge(f"the evidence has {len(text)} characters, the limit is {EVIDENCE_BYTES}")
    return check_text("evidence", text, EVIDENCE_BYTES)


def page(limit: int) -> int:
    """A page's size, held between 1 and the most."""
    return max(1, min(limit, MOST_PAGE))
