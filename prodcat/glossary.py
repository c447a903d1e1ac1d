"""Product nouns of many languages and the English ones they stand for. Knows no model and no product; reads its words from a CSV.

Titles in a language that no training title was written in share no word with what a text model has learned. This finds the English noun for the
foreign one: "Vestido rojo de mujer" is read as "Vestido rojo de mujer (dresses, women)", or as the nouns alone (encoders/inputs.py). Where a
multilingual encoder is used it is not needed.

The shipped glossary.csv is hand-made: no dictionary was copied. Its columns:

    language    ISO 639-1, never en
    term        lower case, in the form shops write: every plural or case that is to be found has a row
    english     the noun that an English shop would write
    alone       yes: read in every text but an English one; no: only where the language is known, for it is also an English word, looks like a
                brand, or is another product in another language (German "rock", a skirt)

How a term is found. Case, width and Unicode form never matter. Accents may be left out ("pantalon"), but a word that has accents must have the
right ones. Vietnamese without accents is read in phrases only: one bare syllable means too much. In scripts with spaces a term is whole words; of
German, Dutch, Scandinavian, Finnish and Hungarian compounds the end counts (Damenkleid), of Korean words the beginning or the end. Han and Thai
terms are found anywhere, katakana ones where the katakana ends: ブラ (bra) begins ブラック (black).
"""

import csv
import functools
import importlib.resources
import io
import itertools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prodcat.errors import GlossaryError
from prodcat.masking import normalise

COLUMNS = ("language", "term", "english", "alone")

# Codes for what has its rows under another code.
_SAME_LANGUAGE = {"nb": "no", "nn": "no", "iw": "he", "in": "id", "bs": "hr"}
_COMPOUNDS = frozenset({"de", "nl", "sv", "da", "no", "fi", "hu"})
# A shorter end of a word is a term by chance too often: Dutch "pet" (cap) ends "trompet".
_SHORTEST_HEAD = 4
_ACCENTS_MATTER = frozenset({"vi"})
# Languages that write their article onto the noun.
_ARTICLES = {"ar": "ال", "he": "ה"}
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})

# Letters that are typed one for the other, points that are mostly left out, and what parts words or is no part of them.
_SPELLINGS = {
    **dict.fromkeys(map(chr, [*range(0x0591, 0x05C8), 0x0640, *range(0x064B, 0x0660), 0x0670, 0x093C]), ""),
    **dict.fromkeys(map(chr, [0x00AD, 0x200C, 0x200D, 0x200E, 0x200F, 0xFE0F]), ""),
    **dict.fromkeys(map(chr, [*range(ord("0"), ord("9") + 1), ord("_"), 0x200B, 0x30FB]), " "),
    **dict(zip("İЁёأإآىیکةۀ", "iееاااييكهه", strict=True)),
}
_RESPELLED = re.compile(f"[{''.join(_SPELLINGS)}]")
# Marks of Indic and Thai vowels belong to words, and \w does not know it.
_WORD = re.compile("[\\w\u0300-\u036f\u0900-\u0963\u0966-\u0dff\u0e00-\u0eff]+")
_HANGUL, _KATAKANA = "\uac00-\ud7af", "\u30a1-\u30fa\u30fc"
_JOINED = re.compile(f"[{_HANGUL}\u0e00-\u0eff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_PARTICLES = frozenset("을를은는이가의로와과도용")
_IS_HANGUL, _IS_KATAKANA = re.compile(f"[{_HANGUL}]"), re.compile(f"[{_KATAKANA}]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a glossary; the columns are described above."""

    language: str
    term: str
    english: str
    alone: bool


@dataclass(frozen=True, slots=True)
class _Index:
    """The terms that may be read in texts of one language.

    Args:
        words: first word -> (further words, English) of every term that begins so, longest first.
        heads: terms of one word that may end a compound -> English.
        ends: the last letters of those, as many as the shortest has: most words end in none and need no search.
        joined: terms of scripts without spaces, and Korean ones of one word -> English.
        lengths: first character -> how long the terms are that begin so, longest first.
    """

    words: dict[str, tuple[tuple[list[str], str], ...]]
    heads: dict[str, str]
    ends: frozenset[str]
    joined: dict[str, str]
    lengths: dict[str, tuple[int, ...]]


class Glossary:
    """Finds product nouns in titles. Holds strings only, so it travels to other processes.

    Args:
        entries: rows, each term of a language once, however it is typed; two that may be read alone and are spelled alike must have the same English.

    Raises:
        GlossaryError: names the two rows that contradict each other.
    """

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        met: dict[tuple[str, str], Entry] = {}
        for entry in entries:
            spelled = _spelling(entry.term)
            for key in [(entry.language, spelled), *([("alone", spelled)] if entry.alone else [])]:
                other = met.setdefault(key, entry)
                if other is entry:
                    continue
                if key[0] != "alone":
                    raise GlossaryError(f"{entry.language} {entry.term!r} and {other.term!r} are read as one; keep one of them")
                if other.english != entry.english:
                    raise GlossaryError(
                        f"{entry.language} {entry.term!r} is {entry.english!r} and {other.language} {other.term!r} is {other.english!r}, and both "
                        "may be read alone; set alone to no in both"
                    )
        self.entries = entries
        self.languages = frozenset(entry.language for entry in entries)
        self._indexes: dict[str | None, _Index] = {}

    @classmethod
    @functools.cache
    def shipped(cls) -> "Glossary":
        """The glossary that comes with prodcat, read once in a process."""
        text = importlib.resources.files("prodcat").joinpath("glossary.csv").read_text(encoding="utf-8")
        return cls(_entries(text, "prodcat/glossary.csv"))

    @classmethod
    def read(cls, file: Path) -> "Glossary":
        """A glossary of one's own: a CSV in UTF-8 with the columns above, in place of the shipped one.

        Raises:
            GlossaryError: names file, line and column, and what was expected there.
        """
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise GlossaryError(f"{file}: cannot be read as UTF-8: {error}") from error
        entries = _entries(text, str(file))
        try:
            return cls(entries)
        except GlossaryError as error:
            raise GlossaryError(f"{file}: {error}") from None

    def english(self, text: str, language: str | None) -> tuple[str, ...]:
        """The English nouns for the terms found in a text, in their order there, each once; of terms that overlap the first, and of those that
        begin at one place the longest.

        Args:
            language: ISO 639-1, with or without a region (pt-BR); its terms are read, and those that may stand alone in every other. None where it
                is not known: only the latter. en: none, for English needs no glossary.
        """
        if language is not None:
            language = language.lower().replace("_", "-").partition("-")[0]
            language = _SAME_LANGUAGE.get(language, language)
            if language == "en":
                return ()
            if language not in self.languages:
                language = None
        index = self._indexes.get(language)
        if index is None:
            index = self._indexes[language] = _index(self.entries, language)
        spelled = _spelling(text)
        return tuple(dict.fromkeys(_found(_WORD.findall(spelled), index, _JOINED.search(spelled) is not None)))


def _found(words: list[str], index: _Index, joined: bool) -> Iterator[str]:
    """Args: joined: some of the words are of a script without spaces, or a Korean one."""
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        for further, english in index.words.get(word, ()):
            if not further or words[place : place + len(further)] == further:
                yield english
                place += len(further)
                break
        else:
            if joined and _JOINED.search(word):
                yield from _in_joined(word, index)
            elif word[-_SHORTEST_HEAD:] in index.ends:
                # From the longest end to the shortest, each with a word before it: Rock (skirt) ends Barock.
                for start in range(3, len(word) - _SHORTEST_HEAD + 1):
                    if word[start:] in index.heads:
                        yield index.heads[word[start:]]
                        break


def _in_joined(word: str, index: _Index) -> Iterator[str]:
    place = 0
    while place < len(word):
        for length in index.lengths.get(word[place], ()):
            term = word[place : place + length]
            if term in index.joined and _stands(word, place, place + len(term)):
                yield index.joined[term]
                place += len(term)
                break
        else:
            place += 1


def _stands(word: str, start: int, end: int) -> bool:
    """Whether word[start:end] may be a word of its own there, by its script."""
    before, after = word[start - 1 : start], word[end : end + 1]
    if _IS_HANGUL.match(word[end - 1]):
        begins, ends = not _IS_HANGUL.match(before), not _IS_HANGUL.match(after) or word[end:] in _PARTICLES
        return begins and ends if end - start == 1 else begins or ends
    if _IS_KATAKANA.match(word[end - 1]):
        # Three signs end many other words: リング (ring) ends スプリング (spring).
        return not _IS_KATAKANA.match(after) and (end - start > 3 or not _IS_KATAKANA.match(before))
    # T恤, but not in Fit恤.
    return not (word[start].isascii() and before.isascii() and before.isalpha())


def _index(entries: tuple[Entry, ...], language: str | None) -> _Index:
    """What is nearer wins: the language's own rows before those of others, a term as it is written before one without its accents. Two of one
    rank that differ in English leave the spelling unread."""
    ranked: dict[tuple[str, ...], tuple[int, set[str]]] = {}
    heads: set[str] = set()
    for entry in entries:
        own = entry.language == language
        if not own and not entry.alone:
            continue
        written = _words(entry.term)
        for key in _variants(written, entry.language, own):
            rank = (0 if own else 2) + (key != written)
            best, english = ranked.get(key, (rank, set()))
            if rank <= best:
                ranked[key] = (rank, {entry.english} | (english if rank == best else set()))
            if own and entry.language in _COMPOUNDS and len(key) == 1 and len(key[0]) >= _SHORTEST_HEAD:
                heads.add(key[0])
    words: dict[str, list[tuple[list[str], str]]] = defaultdict(list)
    joined: dict[str, str] = {}
    lengths: dict[str, set[int]] = defaultdict(set)
    for key, (_, meanings) in sorted(ranked.items(), key=lambda item: (-len(item[0]), -len(item[0][0]), item[0])):
        if len(meanings) > 1:
            heads.discard(key[0])
            continue
        (meaning,) = meanings
        if len(key) == 1 and _JOINED.search(key[0]):
            joined[key[0]] = meaning
            lengths[key[0][0]].add(len(key[0]))
        else:
            words[key[0]].append((list(key[1:]), meaning))
    return _Index(
        {first: tuple(rows) for first, rows in words.items()},
        {head: next(english for further, english in words[head] if not further) for head in sorted(heads)},
        frozenset(head[-_SHORTEST_HEAD:] for head in heads),
        joined,
        {first: tuple(sorted(found, reverse=True)) for first, found in lengths.items()},
    )


def _variants(words: tuple[str, ...], language: str, own: bool) -> set[tuple[str, ...]]:
    """The term as it is written, and as it may be written: without accents, with its article."""
    spellings = []
    for word in words:
        found = {word}
        if language not in _ACCENTS_MATTER or (own and len(words) > 1):
            found.add(_plain(word))
        if language == "de":
            found.add(word.translate(_UMLAUTS))
        if language in _ARTICLES:
            found.add(_ARTICLES[language] + word)
        spellings.append(sorted(found))
    return set(itertools.product(*spellings))


# Every index asks for the same terms again.
_plain = functools.cache(normalise)


@functools.cache
def _words(term: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(_spelling(term)))


def _spelling(text: str) -> str:
    """One spelling for all that is one word to a reader of any language; accents stay."""
    text = _RESPELLED.sub(lambda found: _SPELLINGS[found[0]], unicodedata.normalize("NFKC", text))
    return unicodedata.normalize("NFC", text.casefold())


def _entries(text: str, name: str) -> tuple[Entry, ...]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    found: list[Entry] = []
    lines: dict[tuple[str, str], int] = {}
    try:
        header = tuple(next(reader, ()))
        if header != COLUMNS:
            raise GlossaryError(f"{name}, line 1: the columns are {', '.join(header) or 'none'}; expected are {','.join(COLUMNS)}")
        for row in reader:
            where = f"{name}, line {reader.line_num}"
            if len(row) != len(COLUMNS):
                raise GlossaryError(f"{where}: {len(row)} columns; expected are {len(COLUMNS)}: {','.join(COLUMNS)}")
            language, term, english, alone = (cell.strip() for cell in row)
            if not re.fullmatch("[a-z]{2}", language) or language == "en":
                raise GlossaryError(f"{where}, column language: {language!r}; expected are two small letters of ISO 639-1 other than en")
            if not _WORD.findall(_spelling(term)) or term != term.lower():
                raise GlossaryError(f"{where}, column term: {term!r}; expected is a word in lower case")
            if not english:
                raise GlossaryError(f"{where}, column english: empty; expected is the English noun for {term!r}")
            if alone not in ("yes", "no"):
                raise GlossaryError(f"{where}, column alone: {alone!r}; expected is yes or no")
            first = lines.setdefault((language, _spelling(term)), reader.line_num)
            if first != reader.line_num:
                raise GlossaryError(f"{where}, column term: {language} {term!r} is read as the term of line {first} is; keep one of them")
            found.append(Entry(language, term, english, alone == "yes"))
    except csv.Error as error:
        raise GlossaryError(f"{name}, line {reader.line_num}: cannot be read as CSV: {error}") from error
    return tuple(found)
