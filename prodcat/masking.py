"""Texts with the categories' own words taken out, so that what else they say can be measured and learned. Knows no model and no product.

A masked word is removed and nothing is put in its place: a token would tell a model that, and how often, a category was named, and it is a word that
no encoder has met. What is removed: every word of every category name in a tree, in singular and plural, with or without possessive, upper or lower
case, with or without accents, written in one word, with hyphens or with spaces (tshirt, T-Shirt, t shirt).

Limits: plurals are the English ones (s, es, ies, ves, men, feet ...). Scripts that put no space between words (Han, Kana, Hangul, Thai and their
like) have no boundary to look for: there a category's word is removed wherever it stands, as it stands in the name. Elsewhere a compound is a word of
its own: "Schuhe" leaves "Herrenschuhe".
"""

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypedDict

from prodcat.taxonomy import Taxonomy

Kind = Literal["word", "number", "unspaced", "gap"]

# First and last code point of scripts in which words are not parted: Thai and Lao, Myanmar, Khmer, Hangul, Kana and Han.
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1100, 0x11FF),
    (0x1780, 0x17FF),
    (0x3005, 0x3007),
    (0x3040, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7AF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x20000, 0x3FFFF),
)
# Marks that a reader takes for the same letter: Latin, Greek and Cyrillic accents, Hebrew and Arabic points. Not the vowel signs of Indic scripts.
_ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05c7\u0640\u064b-\u065f\u0670]")
# Letters that Unicode does not take apart, and people write without their stroke or dot.
_PLAIN = str.maketrans({"ı": "i", "ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe"})
# What may stand inside one word: hyphens (Pd) and invisible characters (Cf) too.
_INSIDE = frozenset("'\u2019`´._/·*+")
_POSSESSIVE = frozenset("'\u2019`´")
_IRREGULAR = {"man": "men", "woman": "women", "child": "children", "foot": "feet", "tooth": "teeth", "goose": "geese", "mouse": "mice"}
_EMPTY_BRACKETS = re.compile(r"\(\W*\)|\[\W*\]|\{\W*\}")
# "Blue - Dress - XL" leaves two dashes where one is meant.
_REPEATED = re.compile(r"([\-–—,;:/|&+])(?:\s+\1)+")
_EDGES = re.compile(r"^[\s\-–—,;:/|&'’.+*·_]+|[\s\-–—,;:/|&'’+*·_]+$")


@dataclass(frozen=True, slots=True)
class _Token:
    """A run of characters of one kind: text[start:end]."""

    kind: Kind
    start: int
    end: int


class ProductTexts(TypedDict):
    """What a classifier may read of a product beside its image."""

    title: str | None
    description: str | None
    brand: str | None


class CategoryMask:
    """Takes the words of a tree's categories out of texts. Holds strings only, so it travels to other processes."""

    def __init__(self, tree: Taxonomy) -> None:
        words, runs = _category_words(category.name for category in tree.categories)
        self._forms = frozenset(form for word in words for form in forms(word))
        self._longest = max(map(len, self._forms), default=0)
        # Longest first: of two categories that begin alike the longer one is meant.
        self._runs = re.compile("|".join(re.escape(run) for run in sorted(runs, key=lambda run: (-len(run), run)))) if runs else None

    def __call__(self, text: str | None) -> str | None:
        """The text without category words; None if no letter and no digit is left. A text that names no category comes back as it is."""
        # Again, until nothing is found: what a word has parted may be a name when it is gone, "t dress shirt".
        while text is not None and (rest := self._once(text)) != text:
            text = rest
        return text

    def fields(self, title: str | None, description: str | None, brand: str | None) -> ProductTexts:
        """Those of a product, each masked: some encoders read all of them, the description stands in for a title that is gone,
        and they name the category as well."""
        return {"title": self(title), "description": self(description), "brand": self(brand)}

    def _once(self, text: str) -> str | None:
        tokens = list(_tokens(text))
        removed = self._named(text, tokens)
        replaced = self._without_runs(text, tokens)
        if not removed and not replaced:
            return text if any(token.kind != "gap" for token in tokens) else None
        pieces = [" " if place in removed else replaced.get(place, text[token.start : token.end]) for place, token in enumerate(tokens)]
        return _tidy("".join(pieces))

    def _named(self, text: str, tokens: list[_Token]) -> set[int]:
        """Places of the words, and of what stands between their parts, that name a category."""
        named: set[int] = set()
        start = 0
        while start < len(tokens):
            end = self._end_of_name(text, tokens, start)
            named.update(range(start, end))
            start = max(end, start + 1)
        return named

    def _end_of_name(self, text: str, tokens: list[_Token], start: int) -> int:
        """The place after the longest name that begins at `start`; `start` itself if none does."""
        name, end = "", start
        for place in range(start, len(tokens)):
            token = tokens[place]
            if token.kind == "unspaced" or (token.kind == "gap" and (place == start or not _joins(text[token.start : token.end]))):
                break
            if token.kind != "gap":
                name += normalise(text[token.start : token.end])
                if len(name) > self._longest:
                    break
                if name in self._forms:
                    end = place + 1
        return end

    def _without_runs(self, text: str, tokens: list[_Token]) -> dict[int, str]:
        """What is left of those unspaced runs that hold a category's word, by place."""
        if self._runs is None:
            return {}
        replaced = {}
        for place, token in enumerate(tokens):
            if token.kind == "unspaced":
                rest, found = self._runs.subn(" ", normalise(text[token.start : token.end]))
                if found:
                    replaced[place] = rest
        return replaced


def normalise(word: str) -> str:
    """One spelling for all that a reader takes for the same word: no case, no accents, no width."""
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", word).casefold())
    # Composed again: Hangul and Kana come apart above, and their parts are letters, not accents.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", plain).translate(_PLAIN))


def forms(word: str) -> set[str]:
    """A normalised word with its singular and plural; some that are no word, which do no harm."""
    if not word.isalpha():
        return {word}
    singulars = {word}
    if word.endswith("s") and len(word) > 2:
        if not word.endswith("ss"):
            singulars.add(word[:-1])
        if word.endswith("ies") and len(word) > 3:
            singulars.add(word[:-3] + "y")
        if word.endswith("ves") and len(word) > 3:
            singulars |= {word[:-3] + "f", word[:-3] + "fe"}
        if word.endswith("es") and word[:-2].endswith(("s", "x", "z", "ch", "sh", "o")):
            singulars.add(word[:-2])
    singulars |= {singular for singular, plural in _IRREGULAR.items() if plural == word}
    found = set(singulars)
    for singular in singulars:
        found |= {singular + "s", singular + "es"}
        if singular.endswith("y"):
            found.add(singular[:-1] + "ies")
        if singular.endswith("f"):
            found.add(singular[:-1] + "ves")
        if singular.endswith("fe"):
            found.add(singular[:-2] + "ves")
        if singular in _IRREGULAR:
            found |= {_IRREGULAR[singular], _IRREGULAR[singular] + "s"}
    return found


def _category_words(names: Iterable[str]) -> tuple[set[str], set[str]]:
    """The normalised words of names, also joined to their neighbours, and the runs of their unspaced scripts."""
    words: set[str] = set()
    runs: set[str] = set()
    for name in names:
        parts: list[str] = []
        gap, joined_before = "", False
        tokens = list(_tokens(name))
        for place, token in enumerate(tokens):
            text = name[token.start : token.end]
            if token.kind == "gap":
                gap = text
                continue
            key = normalise(text)
            if token.kind == "unspaced":
                runs.add(key)
            elif key == "s" and parts and gap and set(gap) <= _POSSESSIVE:
                pass  # "Men's": the possessive is a form of the word before it
            else:
                joined_after = place + 2 < len(tokens) and _hyphen(name[tokens[place + 1].start : tokens[place + 1].end])
                # The T of T-Shirt is no word; the T of "Model T" is.
                if len(key) > 1 or not (joined_before or joined_after):
                    words.add(key)
                parts.append(key)
                joined_before = joined_after
        words.update("".join(parts[i:j]) for i, j in itertools.combinations(range(len(parts) + 1), 2) if j - i > 1)
    return words, runs


def _tokens(text: str) -> Iterator[_Token]:
    """Runs of one kind, covering the text. Letters and digits are parted, so that "tshirt2" holds a word."""
    start = 0
    kind: Kind = "gap"
    for place, character in enumerate(text):
        found = _kind(character)
        # A combining mark belongs to what it stands on.
        if found is None or found == kind:
            continue
        if place > start:
            yield _Token(kind, start, place)
        start, kind = place, found
    if start < len(text):
        yield _Token(kind, start, len(text))


@functools.lru_cache(maxsize=4096)
def _kind(character: str) -> Kind | None:
    """None for a combining mark."""
    if any(first <= ord(character) <= last for first, last in _UNSPACED):
        return "unspaced"
    category = unicodedata.category(character)
    if category.startswith("M"):
        return None
    return "word" if category.startswith("L") else "number" if category.startswith("N") else "gap"


def _joins(gap: str) -> bool:
    """Whether the two sides of a gap may be one word written apart."""
    return all(character.isspace() or character in _INSIDE or unicodedata.category(character) in ("Pd", "Cf", "Pc") for character in gap)


def _hyphen(gap: str) -> bool:
    return bool(gap) and all(unicodedata.category(character) == "Pd" for character in gap)


def _tidy(text: str) -> str | None:
    """Without the brackets, dashes and spaces that removed words leave behind."""
    text = _REPEATED.sub(r"\1", " ".join(_EMPTY_BRACKETS.sub(" ", text).split()))
    text = _EDGES.sub("", re.sub(r" ([,;:])", r"\1", text))
    return text if any(_kind(character) not in (None, "gap") for character in text) else None
