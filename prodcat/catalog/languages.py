"""The language of each product: as the feed names it, else detected from its title and the start of its description.

Detection is the naive Bayes model over byte n-grams that py3langid ships (Lui and Baldwin, "langid.py", ACL 2012), here walked over a whole chunk at
once instead of title by title, and then weighed with what the other products of the same platform in the chunk are written in: a title of two words
("Nike Air Max") says little of itself, and a shop writes mostly one language. benchmarks/languages.py measures both.

A text without a letter has no language, and one that nothing speaks for keeps none.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import Field, field_validator
from scipy.sparse import csr_array

from prodcat.catalog.language_codes import CODES, language_code
from prodcat.config import Config
from prodcat.errors import ConfigError

FEED, DETECTED = "feed", "detected"
# py3langid divides a text's score by the root of its bytes, which makes short titles less sure than they are. Tried on mixtures of ten pairs of real
# shops, 20 or 100 titles of a second language in 1,000: at 1 half of a rare second language drowned in the main one where titles are short, at 2.5 up
# to a tenth of the main one was lost. benchmarks/languages.py says what this value gives.
_SHARPNESS = 1.67
# The platform's shares are estimated from its own products: begun with this many products spread over all languages, and taken from the answers
# that they themselves lead to, three times over.
_SPREAD = 5.0
_ROUNDS = 3
# A column mapped to `language` by mistake may hold descriptions.
_MOST_OF_A_NAME = 60


class LanguageConfig(Config):
    """How products get their language."""

    detect: bool = Field(True, description="false: a product has the language that its feed names, or none")
    among: tuple[str, ...] = Field(
        (
            *("en", "de", "fr", "es", "it", "nl", "pt", "pl", "cs", "ro", "hu", "sv", "da", "fi", "tr"),
            *("ru", "uk", "el", "ar", "he", "hi", "th", "vi", "id", "ko", "ja", "zh"),
        ),
        min_length=2,
        description="ISO 639-1 codes that are detected; the fewer, the better short titles are told apart",
    )
    platform_prior: bool = Field(True, description="weigh with what the platform's other products around it are written in")
    min_confidence: float = Field(0.5, ge=0, le=1, description="below, a product has no language")
    title_characters: int = Field(100, ge=10, description="of the title that are read")
    description_characters: int = Field(140, ge=0, description="of the description that are read; 0 for none")

    @field_validator("among")
    @classmethod
    def _known(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [code for code in codes if code not in CODES]
        if unknown:
            raise ValueError(f"{unknown} are no ISO 639-1 codes")
        return tuple(dict.fromkeys(codes))


def normalise(named: str | None) -> tuple[str | None, str | None]:
    """What the feed calls the language -> (code, None), or (None, the start of what it says) if that is none that is known; (None, None) for None."""
    if named is None:
        return None, None
    code = language_code(named)
    return (code, None) if code is not None else (None, named[:_MOST_OF_A_NAME])


def fill(rows: Sequence[dict[str, Any]], config: LanguageConfig) -> None:
    """Set `language` and `language_source` in rows of PRODUCTS (dicts); those whose feed names a language keep it.

    Args:
        rows: one chunk, with `platform`, `title`, `description`, `language`.
        config: how.
    """
    by_platform: dict[str, list[int]] = {}
    texts: list[str] = []
    for place, row in enumerate(rows):
        row["language_source"] = FEED if row["language"] is not None else None
        if config.detect:
            texts.append(_text_of(row, config))
            by_platform.setdefault(row["platform"], []).append(place)
    if not config.detect or not any(text and row["language"] is None for text, row in zip(texts, rows, strict=True)):
        return
    for places in by_platform.values():
        wanted = [place for place in places if rows[place]["language"] is None and texts[place]]
        if not wanted:
            continue
        given = [rows[place]["language"] for place in places if rows[place]["language"] is not None]
        for place, language in zip(wanted, detect([texts[place] for place in wanted], config, given), strict=True):
            if language is not None:
                rows[place].update(language=language, language_source=DETECTED)


def detect(texts: Sequence[str], config: LanguageConfig, given: Sequence[str] = ()) -> list[str | None]:
    """n texts of one platform -> n codes, or None where nothing is sure enough.

    Args:
        given: languages that are known of other products of the platform.
    """
    model = _model(config.among)
    probabilities, letters = model.probabilities(texts)
    if config.platform_prior:
        known = np.array([given.count(code) for code in model.codes], dtype=np.float64)
        probabilities = _with_prior(probabilities, letters, known)
    best = probabilities.argmax(axis=1)
    sure = letters & (probabilities[np.arange(len(best)), best] >= config.min_confidence)
    return [model.codes[code] if is_sure else None for code, is_sure in zip(best.tolist(), sure.tolist(), strict=True)]


def _with_prior(probabilities: np.ndarray, letters: np.ndarray, known: np.ndarray) -> np.ndarray:
    """float [n, K] -> the same, each row weighed with the platform's shares: expectation maximisation of the mixture's weights."""
    spread = _SPREAD / probabilities.shape[1]
    weighed = probabilities
    for _ in range(_ROUNDS + 1):
        # Of the others: a text must not be taken for evidence of itself.
        counted = weighed * letters[:, None]
        weighed = probabilities * (counted.sum(axis=0) - counted + known + spread)
        weighed /= weighed.sum(axis=1, keepdims=True)
    return weighed


def _text_of(row: dict[str, Any], config: LanguageConfig) -> str:
    title = (row["title"] or "")[: config.title_characters]
    description = (row["description"] or "")[: config.description_characters]
    return f"{title}. {description}" if title and description else title or description


class _Model:
    """py3langid's automaton and its table of log-probabilities, for the languages wanted."""

    def __init__(self, among: tuple[str, ...]) -> None:
        # Here and not above: its model takes a second to unpack, and only ingestion reads languages.
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
        unknown = sorted(set(among) - set(identifier.nb_classes))
        if unknown:
            raise ConfigError(f"key 'languages.among': {unknown} cannot be detected; leave them out")
        identifier.set_languages(among)
        # Serbian has a column a script.
        self.codes: list[str] = sorted(set(identifier.nb_classes))
        self._columns = np.array([self.codes.index(code) for code in identifier.nb_classes])
        self._log_prior = np.asarray(identifier.nb_pc, dtype=np.float32)
        self._table = np.asarray(identifier.nb_ptc, dtype=np.float32)
        self._next = np.asarray(identifier.tk_nextmove)
        self._row = np.asarray(identifier.tk_row).astype(np.int64) << 8
        self._feature = np.asarray(identifier.tk_output, dtype=np.int64)

    def probabilities(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """n texts -> float64 [n, K], and bool [n]: has a letter. A text without a feature is equally of all languages."""
        letters = np.array([any(map(str.isalpha, text)) for text in texts], dtype=bool)
        # In capitals the library reads a text as if it were small; so does it here.
        data = [unicodedata.normalize("NFC", text.lower() if text.isupper() else text).encode("utf-8", "surrogatepass") for text in texts]
        scores = self.scores(data).astype(np.float64)
        lengths = np.array([max(len(text), 1) for text in data], dtype=np.float64)
        scores *= (_SHARPNESS / np.sqrt(lengths))[:, None]
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        folded = np.zeros((len(self.codes), len(texts)))
        np.add.at(folded, self._columns, shares.T / shares.sum(axis=1))
        return folded.T, letters

    def scores(self, data: Sequence[bytes]) -> np.ndarray:
        """n texts in UTF-8 -> float32 [n, columns], LanguageIdentifier's log-posteriors (its `rank`); 0 for a text without a feature.

        Column j of all texts is read at once, longest first, so that those still running stand at the front.
        """
        n, lengths = len(data), np.array([len(text) for text in data], dtype=np.int64)
        order = np.argsort(-lengths, kind="stable")
        longest = int(lengths.max(initial=0))
        letters = np.frombuffer(b"".join(data[place].ljust(longest, b"\0") for place in order), dtype=np.uint8).reshape(n, longest)
        running = np.searchsorted(-lengths[order], -np.arange(longest), side="left")
        state = np.zeros(n, dtype=np.int64)
        texts, features = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        for column, count in enumerate(running.tolist()):
            state[:count] = self._next[self._row[state[:count]] + letters[:count, column]]
            feature = self._feature[state[:count]]
            hits = np.flatnonzero(feature >= 0)
            texts.append(hits)
            features.append(feature[hits])
        pairs, occurrences = np.unique(np.concatenate(texts) * len(self._table) + np.concatenate(features), return_counts=True)
        row, feature = np.divmod(pairs, len(self._table))
        counts = csr_array((np.log1p(occurrences.astype(np.float32)), (row, feature)), shape=(n, len(self._table)))
        scored = np.asarray(counts @ self._table)
        scored[np.bincount(row, minlength=n) > 0] += self._log_prior
        result = np.empty_like(scored)
        result[order] = scored
        return result


@lru_cache(maxsize=2)
def _model(among: tuple[str, ...]) -> _Model:
    return _Model(among)
