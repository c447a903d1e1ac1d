"""English words for products, and the commoner ones that other shops write for the same. Knows no model and no product; reads its words from a CSV.

A shop writes jumper, trainers or kada, and what a text model has learned from are sweaters, sneakers and bangles. This puts the commoner word behind:
"Cable knit jumper" becomes "Cable knit jumper (sweater)". British, American, Indian and Australian words are there; what a reader would take for a
kind of something has that something behind it ("loafers (casual shoes)").

The shipped synonyms.csv is hand-made: no dictionary was copied. Its columns:

    term        lower case; whole words, the longest that begins at a place is meant. A plural that is to be found has a row
    commoner    what is put behind; words the text has already are left out. A term that stands for itself keeps a shorter one from being found in
                it: "track pants" are no trousers
"""

import csv
import functools
import importlib.resources
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from prodcat.errors import GlossaryError
from prodcat.masking import normalise

COLUMNS = ("term", "commoner")
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Synonyms:
    """Args: terms: words of a term -> what is put behind. Holds strings only, so it travels to other processes."""

    terms: dict[tuple[str, ...], str]

    @classmethod
    @functools.cache
    def shipped(cls) -> "Synonyms":
        """Those that come with prodcat, read once in a process."""
        text = importlib.resources.files("prodcat").joinpath("synonyms.csv").read_text(encoding="utf-8")
        return cls.read(text, "prodcat/synonyms.csv")

    @classmethod
    def read(cls, text: str, name: str) -> "Synonyms":
        """Args: text: a CSV with the columns above; name: of the file, for errors.

        Raises:
            GlossaryError: names file and line, and what was expected there.
        """
        header, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
        if tuple(header) != COLUMNS:
            raise GlossaryError(f"{name}, line 1: the columns are {', '.join(header) or 'none'}; expected are {','.join(COLUMNS)}")
        found: dict[tuple[str, ...], str] = {}
        for line, row in enumerate(rows, 2):
            words = _words(row[0]) if row else ()
            if len(row) != len(COLUMNS) or not words or not _words(row[1]):
                raise GlossaryError(f"{name}, line {line}: {','.join(row)!r}; expected are a term and the commoner words for it")
            if words in found:
                raise GlossaryError(f"{name}, line {line}: {row[0]!r} is there twice; keep one of them")
            found[words] = row[1]
        return cls(found)

    def commoner(self, text: str) -> tuple[str, ...]:
        """What is to be put behind an English text, in the order of its terms, each once; no word of the text is among it."""
        words, found = _words(text), dict[str, None]()
        have = set(words)
        for start, end in self._places(words):
            if rest := " ".join(word for word in self.terms[words[start:end]].split() if not set(_words(word)) <= have):
                found[rest] = None
        return tuple(found)

    def replaced(self, text: str) -> str:
        """The text with commoner words in the place of its terms; of a text with other letters than ASCII's, as it is."""
        if not text.isascii():
            return text
        tokens, pieces, last = list(_WORD.finditer(text)), [], 0
        words = tuple(normalise(token[0]) for token in tokens)
        for start, end in self._places(words):
            pieces += [text[last : tokens[start].start()], self.terms[words[start:end]]]
            last = tokens[end - 1].end()
        return "".join([*pieces, text[last:]])

    def _places(self, words: tuple[str, ...]) -> Iterator[tuple[int, int]]:
        """Where terms begin and end, from left to right, the longest first."""
        place = 0
        while place < len(words):
            for length in range(min(self._longest, len(words) - place), 0, -1):
                if words[place : place + length] in self.terms:
                    yield place, place + length
                    place += length
                    break
            else:
                place += 1

    def add(self, text: str) -> str:
        """The text, with what was found behind it in brackets; the text itself if nothing was."""
        found = self.commoner(text)
        return f"{text} ({', '.join(found)})" if found else text

    @functools.cached_property
    def _longest(self) -> int:
        return max(map(len, self.terms), default=0)


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(normalise(text)))
