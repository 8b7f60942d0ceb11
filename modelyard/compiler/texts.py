"""Made-up texts and categories that probe how a graph reads strings.

Pure and seeded. Sentences come from the model's own vocabulary, written as people write: capitals,
punctuation, digits, apostrophes, accents, repeats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.core.tensor import Array

_FALLBACK = ("the", "model", "answers", "good", "bad", "day", "rain", "very", "not", "an", "hour", "city")
_GLUE = (" ", " ", " ", " ", " ", ", ", ". ", "; ", " - ", "  ", "\n", "! ", "/")
_ENDS = ("", "", "", ".", "!", "?", "...", " :)")
_PLAIN_EXTRAS = (
    "42",
    "3.14",
    "a",
    "I",
    "2024",
    "x1",
    "snake_case",
    "state-of-the-art",
    "(so)",
    '"quoted"',
    "A B",
)
_WORLD_EXTRAS = (
    "Don't",
    "it's",
    "we'll",
    "l\u2019\u00e9t\u00e9",
    "na\u00efve",
    "caf\u00e9",
    "M\u00fcnchen",
    "\u00c9COLE",
    "\u00f1and\u00fa",
    "Stra\u00dfe",
    "\u4f60\u597d",
    "\u043f\u0440\u0438\u0432\u0435\u0442",
    "\u00bfqu\u00e9?",
    "\U0001f600",
    "5\u20ac",
    "co\u2011op",
    "a\u0301",
)
_ACCENTS = str.maketrans(
    {
        "a": "\u00e0",
        "c": "\u00e7",
        "e": "\u00e9",
        "i": "\u00ee",
        "n": "\u00f1",
        "o": "\u00f6",
        "u": "\u00fc",
        "y": "\u00fd",
    }
)


def words_of(vocabulary: Sequence[str]) -> tuple[str, ...]:
    """Single words of a vocabulary that may hold n-grams.

    >>> words_of(["good", "not good"])
    ('good', 'not')
    """
    found = dict.fromkeys(word for entry in vocabulary for word in entry.split())
    return tuple(found) or _FALLBACK


def plain_texts(rng: np.random.Generator, count: int, vocabulary: Sequence[str]) -> Array:
    """Sentences of ASCII words of the vocabulary and of others; BYTES of shape [count]."""
    words = [word for word in words_of(vocabulary) if word.isascii()] or list(_FALLBACK)
    known = [entry for entry in vocabulary if entry.isascii() and entry.strip()] or words
    return _bytes([_sentence(rng, words, known, _PLAIN_EXTRAS) for _ in range(count)])


def world_texts(rng: np.random.Generator, count: int, vocabulary: Sequence[str]) -> Array:
    """The same with accents, apostrophes and other scripts; BYTES of shape [count]."""
    words = words_of(vocabulary)
    known = [entry for entry in vocabulary if entry.strip()] or list(words)
    accented = [word.translate(_ACCENTS) for word in words]
    split = [f"{word[:2]}{accent[2:]}" for word, accent in zip(words, accented, strict=True) if len(word) > 3]
    cut = [f"{word}'{word[-1]}" for word in words]
    joined = [f"{word}\u00e9" for word in words] + [f"\u00fc{word}" for word in words]
    mixed = [*words, *words, *accented, *split, *cut, *joined]
    return _bytes([_sentence(rng, mixed, known, _WORLD_EXTRAS) for _ in range(count)])


def odd_texts(rng: np.random.Generator, count: int, vocabulary: Sequence[str]) -> Array:
    """Empty and blank texts, nothing known, one word, one word many times; BYTES of shape [count]."""
    words = words_of(vocabulary)
    fixed = ["", " ", "\t\n", "?!", "zzzyx qqqw", "\u00a0", "x" * 300]
    made = [str(rng.choice(words)) for _ in range(max(count - len(fixed), 0) // 2)]
    made += [" ".join([str(rng.choice(words))] * int(rng.integers(2, 30))) for _ in range(count)]
    return _bytes([*fixed, *made][:count])


def unseen(rng: np.random.Generator, count: int, values: Sequence[str]) -> Array:
    """Categories that are not among the known ones, most of them nearly; BYTES of shape [count]."""
    known = set(values)
    base = list(values) or ["a"]
    made = []
    for at in range(count):
        one = str(rng.choice(base))
        ways = (
            one + "_new",
            one.swapcase() + "~",
            f" {one} ",
            one[:-1] + "\u00e9",
            "unheard of",
            f"{one}{one}#",
        )
        choice = ways[at % len(ways)]
        made.append(choice if choice not in known else choice + "?")
    return _bytes(made)


def _sentence(
    rng: np.random.Generator, words: Sequence[str], known: Sequence[str], extras: Sequence[str]
) -> str:
    parts: list[str] = []
    for _ in range(int(rng.integers(1, 13))):
        draw = rng.random()
        pick = extras if draw < 0.12 else known if draw < 0.4 else words
        word = str(pick[int(rng.integers(len(pick)))])
        style = rng.random()
        word = word.upper() if style < 0.06 else word.capitalize() if style < 0.2 else word
        parts.append(word)
        if rng.random() < 0.1:
            parts.append(word)  # an n-gram of one word with itself
    glue = [str(_GLUE[int(rng.integers(len(_GLUE)))]) for _ in parts]
    end = _ENDS[int(rng.integers(len(_ENDS)))]
    return "".join(f"{part}{space}" for part, space in zip(parts, [*glue[:-1], ""], strict=True)) + end


def _bytes(texts: Sequence[str]) -> Array:
    out = np.empty(len(texts), dtype=object)
    out[:] = [one.encode() for one in texts]
    return out
