"""The page: the figures stand in it, hostile text does not act in it, nothing is fetched from elsewhere."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from prodcat.evaluation.compose import evaluate
from prodcat.evaluation.figures import f1_intervals, gate_curve
from prodcat.evaluation.mistakes import ErrorExample
from prodcat.evaluation.report import render, write_report

HOSTILE = '<script>alert(1)</script>"><img src=http://evil.example/x onerror=alert(1)>'
CURVE = [{"threshold": t, "stage_two_share": t / 2, "f1": 0.9 + t / 20, "cost": 0.002 + 0.05 * t / 2} for t in (0.0, 0.5, 0.9, 1.0)]
OUTCOME = {"stage_two_share": 0.45, "f1": 0.945, "cost": 0.0245}
GATE = {
    "threshold": 0.9,
    "curve": CURVE,
    "chosen": OUTCOME,
    "outcome": OUTCOME,
    "validation_products": 1500,
    "platforms": {},
    "prices": {"stage_one": 0.002, "stage_two": 0.05},
    "masked": None,
}
PART = {"f1": 0.8, "precision": 0.8, "recall": 0.8, "f1_ci": [0.7, 0.9]}
BASELINE = {"name": "SVM", "products": 3, "unlabelled": 0, "hierarchical": PART, "levels": {"1": {"classes": 3, "accuracy": 0.5, "macro_f1": 0.25}}}


def example(**changes) -> ErrorExample:
    values = {"key": "a/1", "platform": "a", "truth": ("Apparel", "Dresses"), "predicted": ("Apparel", "Topwear"), "confidence": 0.97, "stage": 2}
    return ErrorExample(**{**values, **changes})


def picture(size: tuple[int, int] = (640, 480)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 60)).save(buffer, format="PNG")
    return buffer.getvalue()


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data + " "


@pytest.fixture(scope="module")
def metrics(tree, predictions, truth):
    labels = {"a/1": "Apparel > Dresses", "a/2": "Gifts", "b/1": "Footwear > Shoes > Casual", "b/2": None}
    answers = {"a/1": "Apparel > Topwear > Tops", "a/2": "Gifts", "b/1": "Footwear > Shoes > Casual", "b/2": "Gifts"}
    table = predictions(tree, answers, stage={"a/1": 2})
    probes = {"title": table, "image": table, "masked-title": table}
    masked = {**BASELINE, "name": "SVM, masked"}
    labelled = truth(labels, language={"a/1": "en"})
    return evaluate(table, labelled, tree, gate=GATE, baseline=BASELINE, probes=probes, seed=0, masked_baseline=masked, seeds={"title": [table] * 3})


def test_writes_both_files_and_returns_the_page(metrics, tmp_path):
    page = write_report(metrics, tmp_path / "new" / "out", errors=[example()], title="Shoes and shirts")
    assert page == tmp_path / "new" / "out" / "report.html"
    assert json.loads((page.parent / "metrics.json").read_text(encoding="utf-8")) == metrics
    assert "Shoes and shirts" in Page(page.read_text(encoding="utf-8")).text


@pytest.fixture(scope="module")
def page(metrics) -> str:
    """The page of these metrics, drawn once: plots take their time."""
    return render(metrics, errors=[], title="t")


def test_figures_stand_in_the_page(metrics, page):
    text = " ".join(Page(page).text.split())
    f1 = metrics["hierarchical"]["f1"]
    low, high = metrics["hierarchical"]["f1_ci"]
    assert f"Hierarchical F1 {100 * f1:.2f} % 95 %: {100 * low:.2f} to {100 * high:.2f}" in text
    assert "80.00 %" in text
    assert f"{metrics['baseline']['error_ratio']:.2f} ×" in text
    for words in (
        "Title and image",
        "Masked title alone",
        "Baseline: SVM, masked",
        "Title alone",
        "Image alone",
        "Baseline: SVM",
        "Classes among the labels",
        "gate, 0.9000",
    ):
        assert words in text


def test_hostile_text_is_shown_not_run():
    errors = [example(title=HOSTILE, key=HOSTILE, predicted=("Apparel", HOSTILE))]
    metrics = _hostile_metrics(HOSTILE)
    page = Page(render(metrics, errors=errors, title=HOSTILE))
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert page.text.count("alert(1)") >= 10  # title, heading, bundle, baseline, platform, language, confusion, card: as text


JUDGED = {"products": 30, "accuracy": 0.9333, "confidence": 0.94, "ece": 0.0123, "table": []}
RELIABILITY = {
    "levels": {"1": JUDGED},
    "ece": {"1": 0.0123},
    "answers": {**JUDGED, "ece": None},
    "risk_coverage": {"aurc": 0.01, "curve": [{"coverage": 0.5, "risk": 0.0, "threshold": 0.9}, {"coverage": 1.0, "risk": 0.07, "threshold": 0.2}]},
}


def _hostile_metrics(text: str) -> dict:
    """Metrics in which every word that comes from a shop is `text`."""
    part = {"products": 1, "unlabelled": 0, "hierarchical": PART, "levels": {"1": {"products": 1, "classes": 1, "accuracy": 0.5, "macro_f1": 0.5}}}
    part["leaf"] = {"products": 1, "accuracy": 0.5}
    rest = {"by_platform": {text: part}, "by_language": {text: part}, "seeds": None}
    return {
        **part,
        "bundle": text,
        "seed": 0,
        "outside_tree": 0,
        "classes": {"1": 1},
        "tree_classes": {"1": 1},
        "valid_paths": 1.0,
        "cascade": {
            "stage_two_share": 0.0,
            "stage_one": {"products": 1, "f1": 0.8},
            "stage_two": {"products": 0, "f1": None},
            "gate": {**GATE, "platforms": {text: {"threshold": 0.5, "validation_products": 300, "chosen": OUTCOME, "curve": CURVE}}},
        },
        "by_platform": {text: part},
        "by_language": {text: part},
        "languages_joined": {text: 1},
        "language_unknown": 0,
        "baseline": {"absent": text},
        "masked_baseline": {"absent": text},
        "reliability": {**RELIABILITY, "levels": {text: RELIABILITY["answers"]}},
        "probes": {"title+image": {**part, **rest, "left_out": 0}, "image": {**part, **rest, "hierarchical": None, "levels": {}, "left_out": 1}},
        "confusions": [{"parent": text, "truth": text, "predicted": text, "level": 1, "products": 1, "of": 1}],
    }


def test_what_was_set_aside_or_changed_before_and_who_judged_confidence_is_said(metrics, page):
    before = {
        "left_out": {"seen": 7801, "near_duplicates_of_seen": 12},
        "unreadable": 3,
        "small_leaves": {"min_products": 10, "leaves": 4, "products": 13},
        "labels": {"changed": 5, "dropped": 2, "test": 1},
        "reliability": RELIABILITY,
    }
    without_seeds = {name: {**probe, "seeds": None} for name, probe in metrics["probes"].items()}
    told = render({**metrics, **before, "probes": without_seeds}, errors=[], title="t")
    assert "Not scored: 7,801 products" in told
    assert "12 near-duplicates" in told
    assert "Not scored: 3 labelled products" in told
    assert "Not scored: 13 products of 4 leaves that have fewer than 10 products" in told
    assert "5 changed and 2 dropped, of test products 1, so these figures do not compare" in told
    assert "<h2>Confidence</h2>" in told
    assert "0.0123" in told
    assert "93.33" in told
    assert "seeds" not in Page(told).text
    assert not [words for words in ("Not scored", "Labels were reviewed", "<h2>Confidence</h2>") if words in page]


def test_seeds_stand_beside_the_input(metrics, page):
    f1 = f"{100 * metrics['probes']['title']['hierarchical']['f1']:.2f}"
    assert f"{f1} ({f1} to {f1}, 3 seeds)" in Page(page).text


def test_each_input_is_shown_by_platform_with_its_interval_and_classes(metrics, page):
    text = " ".join(Page(page).text.split())
    part = metrics["probes"]["masked-title"]["by_platform"]["a"]["hierarchical"]
    low, high = part["f1_ci"]
    assert f"{100 * part['f1']:.2f} {100 * low:.2f} to {100 * high:.2f}" in text
    levels = metrics["probes"]["image"]["levels"]
    assert " / ".join(str(levels[level]["classes"]) for level in ("1", "2", "3")) in text


@pytest.fixture(scope="module")
def gallery(metrics):
    """A page with 40 errors: one with an image, one with a damaged one, the others without."""
    images = [picture(), b"this is text", *[None] * 38]
    return render(metrics, errors=[example(key=f"a/{i:03}", image=image) for i, image in enumerate(images)], title="t")


def test_languages_stand_in_the_page_with_those_that_were_joined(metrics, page):
    assert "By language" in page
    assert "Each input by language" in page
    assert "Leaf acc." in page
    assert "Others:" not in page
    joined = {**metrics, "languages_joined": {"ko": 4, "vi": 1234}, "by_language": {"others": metrics["by_language"]["en"]}}
    text = " ".join(Page(render(joined, errors=[], title="t")).text.split())
    assert re.search(r"Others: +ko +4 *, +vi +1,234 *\.", text)
    assert "3 products are of unknown language" in text


def test_opens_offline(gallery):
    page = Page(gallery)
    sources = [attrs[name] for _, attrs in page.tags for name in ("src", "href") if name in attrs]
    assert len(sources) == 3  # two plots, one thumbnail
    assert all(source.startswith("data:image/") for source in sources)
    policy = next(attrs["content"] for tag, attrs in page.tags if tag == "meta" and attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_thumbnails_are_small_jpegs(gallery):
    data = base64.b64decode(re.search(r"data:image/jpeg;base64,([^\"]+)", gallery)[1])
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.size) == ("JPEG", (96, 72))


def test_missing_and_damaged_images_and_titles_are_said(gallery):
    text = Page(gallery).text
    assert text.count("image not an image") == 1
    assert text.count("no image") == 22
    assert text.count("no title") == 24


def test_gallery_shows_the_first_24(gallery):
    assert "a/023" in gallery
    assert "a/024" not in gallery


def test_the_page_is_the_same_for_the_same_metrics(metrics, page):
    assert render(metrics, errors=[], title="t") == page


def with_gate(metrics: dict, cost: dict | None = None, **changes) -> dict:
    return {**metrics, "cascade": {**metrics["cascade"], **(cost or {}), "gate": {**GATE, **changes}}}


def rows_of(page: str) -> list[str]:
    """The table rows of a page as text."""
    return [" ".join(Page(row).text.split()) for row in re.findall(r"<tr>.*?</tr>", page, flags=re.DOTALL)]


def test_the_report_shows_what_each_gate_costs(metrics):
    page = render(metrics, errors=[], title="t")
    assert "All, under one threshold 1,500 0.9000 45.00 94.50 0.0245" in rows_of(page)
    assert "each under its own" not in page
    assert "The products scored above cost" not in page
    shops = {"a": {"threshold": 0.25, "validation_products": 700, "chosen": {"stage_two_share": 0.1, "f1": 0.98, "cost": 0.007}, "curve": CURVE}}
    both = render(with_gate(metrics, {"cost": 0.0312}, platforms=shops, outcome={**OUTCOME, "cost": 0.0123}), errors=[], title="t")
    rows = rows_of(both)
    assert "All, each under its own threshold 1,500 – 45.00 94.50 0.0123" in rows
    assert "a 700 0.2500 10.00 98.00 0.007" in rows
    assert "0.002 for stage one" in both
    assert "The products scored above cost 0.0312" in both


def test_no_gate_no_table_of_it(metrics):
    page = render({**metrics, "cascade": {**metrics["cascade"], "gate": None}}, errors=[], title="t")
    assert "What the gate was chosen on" not in page
    assert "The gate, " not in page


def test_the_report_says_what_the_gate_holds_of_masked_titles(metrics, tmp_path):
    assert "under titles without category words" not in write_report(metrics, tmp_path / "plain", errors=[], title="t").read_text()
    masked = {"f1": 0.9, "stage_two_share": 0.5, "stage_two_f1": 0.91}
    page = write_report(with_gate(metrics, masked=masked), tmp_path / "masked", errors=[], title="t").read_text()
    assert "the cascade reaches F1 90.00 %, stage two alone 91.00 %, and 50.00 % go to stage two" in page


def test_gate_curve_marks_the_chosen_gate():
    svg = gate_curve(0.5, GATE["curve"])
    assert svg.startswith("<svg")
    assert "gate 0.5000" in svg
    assert gate_curve(0.9, GATE["curve"]) != svg
    assert "cost of 1,000 products" in svg
    assert "by platform" not in svg
    assert "by platform" in gate_curve(0.5, CURVE, {**OUTCOME, "f1": 0.96})
    # All may cost nothing, and all may go one way.
    assert gate_curve(0.5, [{**point, "cost": 0.0, "stage_two_share": 1.0} for point in CURVE]).startswith("<svg")


def test_intervals_name_every_row():
    svg = f1_intervals([("All products", 0.99, 0.98, 0.995), ("Baseline", 0.97, 0.96, 0.98)])
    assert "All products" in svg
    assert "Baseline" in svg
    assert "99.00" in svg
