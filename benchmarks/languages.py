"""How well and how fast the language of products is detected, beside two libraries as they come.

    python benchmarks/languages.py PLATFORMS [--lingua]

PLATFORMS is a folder of Parquet feeds with the columns title, description, language. Detected is as in an ingestion of one feed after the other, in
chunks of 1,000 rows, the column `language` hidden:

    prodcat          with the platform's prior (the default), and without it
    py3langid        title by title, told the same languages: the library whose model prodcat reads
    lingua           title by title, told the same languages; with --lingua, if it is installed (pip install lingua-language-detector)

Then mixtures: 950 titles of one platform and 50 of another in a second language, and how many of each side keep their language.
Prints a table and writes benchmarks/results/languages.json. A platform's language is not each product's: some sell with titles in another one, so
the shares stand below what a reader would find.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from prodcat.catalog.languages import LanguageConfig, fill

RESULTS = Path(__file__).parent / "results" / "languages.json"
CHUNK = 1000
MIXED = 950
# Titles alone -> codes.
TitleDetector = Callable[[Sequence[str]], list[str | None]]


def feeds(folder: Path) -> dict[str, list[dict[str, Any]]]:
    read = {}
    for file in sorted(folder.glob("*.parquet")):
        table = pq.read_table(file, columns=["title", "description", "language"])
        read[file.stem] = [{**row, "platform": file.stem} for row in table.to_pylist() if row["title"]]
    return read


def ours(rows: Sequence[dict[str, Any]], config: LanguageConfig) -> list[str | None]:
    found = []
    for start in range(0, len(rows), CHUNK):
        hidden = [{**row, "language": None} for row in rows[start : start + CHUNK]]
        fill(hidden, config)
        found += [row["language"] for row in hidden]
    return found


def py3langid(among: Sequence[str]) -> TitleDetector:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(among)
    return lambda titles: [identifier.classify(title)[0] for title in titles]


def lingua(among: Sequence[str]) -> TitleDetector:
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    codes = [getattr(IsoCode639_1, code.upper()) for code in among]
    detector = LanguageDetectorBuilder.from_iso_codes_639_1(*codes).with_preloaded_language_models().build()

    def detect(titles: Sequence[str]) -> list[str | None]:
        found = [detector.detect_language_of(title) for title in titles]
        return [language.iso_code_639_1.name.lower() if language else None for language in found]

    return detect


def judged(rows: Sequence[dict[str, Any]], call: Callable[[], list[str | None]]) -> dict[str, float]:
    found, seconds = timed(call)
    right = sum(code == row["language"] for code, row in zip(found, rows, strict=True))
    return {"right": right / len(rows), "unknown": sum(code is None for code in found) / len(rows), "seconds": seconds}


def timed(call: Callable[[], list[str | None]]) -> tuple[list[str | None], float]:
    started = time.perf_counter()
    return call(), time.perf_counter() - started


def mixtures(read: dict[str, list[dict[str, Any]]], config: LanguageConfig) -> list[dict[str, Any]]:
    """The first platform of each language beside the largest of every other language, titles alone, one shop."""
    largest: dict[str, str] = {}
    for name, rows in sorted(read.items(), key=lambda item: -len(item[1])):
        largest.setdefault(rows[0]["language"], name)
    rng = np.random.default_rng(0)
    results = []
    for main, name in largest.items():
        for other, second in largest.items():
            if main == other or len(read[name]) < MIXED:
                continue
            sides = [rng.choice(len(read[name]), MIXED, replace=False), rng.choice(len(read[second]), CHUNK - MIXED, replace=False)]
            rows = [
                {**read[shop][at], "platform": "mixed", "description": None} for shop, side in zip((name, second), sides, strict=True) for at in side
            ]
            hits = np.array([code == row["language"] for code, row in zip(ours(rows, config), rows, strict=True)])
            results.append({"main": name, "second": second, "main_right": hits[:MIXED].mean(), "second_right": hits[MIXED:].mean()})
    return results


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("platforms", type=Path)
    arguments.add_argument("--lingua", action="store_true", help="time lingua too; slow")
    a = arguments.parse_args()
    config = LanguageConfig()
    alone = config.model_copy(update={"platform_prior": False})
    read = feeds(a.platforms)
    # Not counted: the model is unpacked once a process.
    _, load_seconds = timed(partial(ours, next(iter(read.values()))[:1], config))
    detectors: dict[str, TitleDetector] = {"py3langid": py3langid(config.among)}
    if a.lingua:
        detectors["lingua"] = lingua(config.among)
    results: dict[str, Any] = {}
    for name, rows in read.items():
        titles = [row["title"] for row in rows]
        results[name] = {
            "language": rows[0]["language"],
            "products": len(rows),
            "prodcat": judged(rows, partial(ours, rows, config)),
            "prodcat without prior": judged(rows, partial(ours, rows, alone)),
            **{library: judged(rows, partial(detect, titles)) for library, detect in detectors.items()},
        }
        shown = ", ".join(f"{kind} {part['right']:.4f}" for kind, part in results[name].items() if isinstance(part, dict))
        print(f"{name:14} {rows[0]['language']} {len(rows):7,}  {shown}", flush=True)
    products = sum(entry["products"] for entry in results.values())
    kinds = ["prodcat", "prodcat without prior", *detectors]
    whole = {
        kind: {
            "right": sum(entry[kind]["right"] * entry["products"] for entry in results.values()) / products,
            "macro_right": float(np.mean([entry[kind]["right"] for entry in results.values()])),
            "rows_per_second": products / sum(entry[kind]["seconds"] for entry in results.values()),
        }
        for kind in kinds
    }
    mixed = mixtures(read, config)
    for kind, figures in whole.items():
        print(f"{kind}: right {figures['right']:.4f}, mean of platforms {figures['macro_right']:.4f}, {figures['rows_per_second']:,.0f} rows/s")
    main_right, second_right = (np.array([mixture[side] for mixture in mixed]) for side in ("main_right", "second_right"))
    print(f"mixtures of 950 and 50: main language {main_right.mean():.4f}, second {second_right.mean():.4f} (least {second_right.min():.2f})")
    written = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, one thread",
        "versions": {name: metadata.version(name) for name in ("py3langid", *(["lingua-language-detector"] if a.lingua else []))},
        "languages": list(config.among),
        "load_seconds": round(load_seconds, 2),
        "all": whole,
        "platforms": results,
        "mixtures": mixed,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
