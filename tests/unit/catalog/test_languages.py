"""The language of a product: what feeds call it, what is detected, what stays unknown."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.ingest import ingest
from prodcat.catalog.language_codes import CODES, language_code
from prodcat.catalog.languages import DETECTED, FEED, LanguageConfig, _model, detect, fill, normalise
from prodcat.catalog.store import Catalog
from prodcat.config import load
from prodcat.errors import ConfigError

CONFIG = LanguageConfig()
# Written for this test, one line a language.
SENTENCES = {
    "en": "Blue dress with long sleeves and a belt for women",
    "de": "Blaues Kleid mit langen Ärmeln und Gürtel für Damen",
    "fr": "Robe bleue à manches longues avec ceinture pour femme",
    "tr": "Kadın için uzun kollu kemerli mavi elbise",
    "vi": "Váy xanh dài tay có thắt lưng cho nữ",
    "ru": "Синее платье с длинным рукавом и поясом",
    "ko": "여성용 긴팔 벨트 파란 원피스",
    "ar": "فستان أزرق بأكمام طويلة وحزام للنساء",
    "ja": "レディース 長袖 ベルト付き 青いワンピース",
}


def row(title: str | None, platform: str = "shop", language: str | None = None, description: str | None = None) -> dict[str, Any]:
    return {"platform": platform, "title": title, "description": description, "language": language}


def filled(rows: list[dict[str, Any]], config: LanguageConfig = CONFIG) -> list[tuple[str | None, str | None]]:
    fill(rows, config)
    return [(found["language"], found["language_source"]) for found in rows]


@pytest.mark.parametrize(
    ("named", "code"),
    [
        *(("en", "en"), ("EN-us", "en"), ("en_GB", "en"), (" English ", "en"), ("English (US)", "en"), ("eng", "en"), ("ger", "de")),
        *(("zh-Hant-TW", "zh"), ("Türkçe", "tr"), ("turkce", "tr"), ("Tiếng Việt", "vi"), ("한국어", "ko"), ("русский", "ru")),
        *(("हिन्दी", "hi"), ("iw", "he"), ("norsk bokmål", "nb")),
        *(("Klingon", None), ("xx", None), ("en,fr", None), ("42", None), ("-", None), ("english shoes", None)),
    ],
)
def test_what_feeds_call_a_language(named: str, code: str | None) -> None:
    assert language_code(named) == code


def test_every_code_of_iso_639_1_is_its_own() -> None:
    assert len(CODES) == 183
    assert all(language_code(code.upper()) == code for code in CODES)


def test_a_name_that_is_none_is_kept_as_the_problem() -> None:
    assert normalise("en_US") == ("en", None)
    assert normalise(None) == (None, None)
    assert normalise("Klingon") == (None, "Klingon")
    found, problem = normalise("a long description " * 50)
    assert found is None
    assert problem is not None
    assert len(problem) == 60


def test_sentences_are_told_apart_each_on_its_own() -> None:
    for code, text in SENTENCES.items():
        assert detect([text], CONFIG) == [code]


def test_what_the_feed_names_stays_and_the_rest_is_detected() -> None:
    rows = [row(SENTENCES["fr"], language="en"), row(SENTENCES["fr"]), row(None, description=SENTENCES["de"])]
    assert filled(rows) == [("en", FEED), ("fr", DETECTED), ("de", DETECTED)]


@pytest.mark.parametrize("title", ["501", "12-34 / 56", "👗👠", "!!!", None])
def test_without_a_letter_there_is_no_language_even_in_a_shop_of_one(title: str | None) -> None:
    rows = [row(SENTENCES["en"])] * 1 + [row(title)]
    assert filled(rows) == [("en", DETECTED), (None, None)]


def test_a_title_that_says_nothing_is_unknown_alone_and_follows_its_shop() -> None:
    assert filled([row("Rosé")]) == [(None, None)]
    shop = [row(f"{SENTENCES['en']} {n}") for n in range(40)]
    assert filled([*shop, row("Rosé"), row("Rosé", platform="other")])[-2:] == [("en", DETECTED), (None, None)]
    assert filled([*shop, row("Rosé")], LanguageConfig(platform_prior=False))[-1] == (None, None)


def test_a_shop_s_second_language_is_still_found() -> None:
    rows = [row(f"{SENTENCES['tr']} {n}") for n in range(95)] + [row(f"{SENTENCES['en']} {n}") for n in range(5)]
    assert [language for language, _ in filled(rows)] == ["tr"] * 95 + ["en"] * 5


def test_languages_that_feeds_give_count_for_the_shop() -> None:
    given = [row("x", language="fr") for _ in range(50)]
    assert filled([*given, row("Rosé")])[-1] == ("fr", DETECTED)


def test_only_wanted_languages_are_answered_and_detection_can_be_off() -> None:
    assert detect([SENTENCES["vi"]], LanguageConfig(among=("en", "de"), min_confidence=0)) in (["en"], ["de"])
    assert filled([row(SENTENCES["vi"]), row("x", language="vi")], LanguageConfig(detect=False)) == [(None, None), ("vi", FEED)]


def test_a_description_helps_a_title_that_is_only_a_name() -> None:
    assert filled([row("Backbone", description="Soft jumper in fine-knit wool with a round neckline")]) == [("en", DETECTED)]
    assert filled([row("Backbone")], LanguageConfig(description_characters=0)) == [(None, None)]


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"languages\.among.*'klingon'"):
        load(IngestConfig, None, ["languages.among=[en, klingon]"])
    with pytest.raises(ConfigError, match=r"\['za'\] cannot be detected"):
        detect(["text"], LanguageConfig(among=("en", "za")))


def test_scores_are_those_of_the_library_whatever_stands_beside() -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    texts = [*SENTENCES.values(), "", "Rosé", "x" * 300, "\udc80", "Nike Air 90", "👗"]
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(CONFIG.among)
    model = _model(CONFIG.among)
    together = model.scores([text.encode("utf-8", "surrogatepass") for text in texts])
    for text, scores in zip(texts, together, strict=True):
        assert np.allclose(scores, model.scores([text.encode("utf-8", "surrogatepass")])[0], atol=1e-3)
        ranked = dict(identifier.rank(text))
        if scores.any():
            assert np.allclose(scores, [ranked[code] for code in identifier.nb_classes], atol=2e-2)
        else:
            assert len(set(ranked.values())) == 1


def test_a_catalog_says_where_its_languages_come_from(tmp_path: Path) -> None:
    feed = tmp_path / "shop.jsonl"
    rows = [
        {"product_id": "1", "title": SENTENCES["tr"], "language": "tr-TR", "level1": "A"},
        {"product_id": "2", "title": SENTENCES["tr"] + " 2", "language": "Klingon", "level1": "A"},
        {"product_id": "3", "title": "12345", "level1": "A"},
    ]
    feed.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in rows), encoding="utf-8")
    summary = ingest([str(feed)], tmp_path / "catalog", IngestConfig())
    products = Catalog.open(tmp_path / "catalog").products(["language", "language_source", "language_problem"]).to_pylist()
    assert [tuple(product.values()) for product in products] == [("tr", FEED, None), ("tr", DETECTED, "Klingon"), (None, None, None)]
    assert (summary.languages, summary.languages_detected, summary.language_problems) == ({"tr": 2, "unknown": 1}, 1, {"Klingon": 1})
    assert any("Klingon 1" in line for line in summary.lines())


@pytest.mark.shared_data
@pytest.mark.parametrize(("platform", "least"), [("hm", 0.99), ("koton", 0.99), ("tiki", 0.99), ("lamoda_ru", 0.99), ("nordstrom", 0.95)])
def test_real_titles_in_their_shop(shared: Path, platform: str, least: float) -> None:
    file = shared / "data" / "platforms" / f"{platform}.parquet"
    table = pq.read_table(file, columns=["title", "description", "language"]).slice(0, 1000).to_pylist()
    rows = [row(entry["title"], description=entry["description"]) for entry in table]
    fill(rows, CONFIG)
    assert np.mean([found["language"] == entry["language"] for found, entry in zip(rows, table, strict=True)]) >= least
