"""Raw rows to products: every row leaves once, as a product or with a reason that a person can act on."""

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from prodcat.catalog.feeds.reader import RawRow
from prodcat.catalog.mapping import FeedMapping, mapping_beside
from prodcat.catalog.pictures import PictureConfig
from prodcat.catalog.records import Record, RecordMaker, Rejection
from prodcat.config import validate
from prodcat.errors import ConfigError, FeedError
from prodcat.images import ImageLimits
from prodcat.location import Location
from prodcat.taxonomy import Taxonomy


def image_bytes(width: int = 40, height: int = 30, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def make(values: dict[str, Any], folder: Path = Path("/nowhere"), taxonomy: Taxonomy | None = None, **mapping: Any) -> Record | Rejection:
    feed = Location(str(folder / "myshop.csv"))
    return RecordMaker(feed, validate(FeedMapping, mapping, "test"), PictureConfig(), taxonomy).make(RawRow(3, values))


def product(*args: Any, **kwargs: Any) -> Any:
    made = make(*args, **kwargs)
    assert isinstance(made, Record), made
    return made.product


def reason(*args: Any, **kwargs: Any) -> str:
    made = make(*args, **kwargs)
    assert isinstance(made, Rejection), made
    return made.reason


def test_the_common_columns_need_no_mapping() -> None:
    values = {
        "platform": "hm",
        "product_id": 17.0,
        "title": "  Rosé ",
        "brand": "",
        "level1": "A",
        "level2": "B",
        "level3": None,
        "language": "en",
        "x": 1,
    }
    made = product(values)
    assert (made.key, made.title, made.brand, made.path, made.language) == ("hm/17", "Rosé", None, ("A", "B"), "en")


def test_platform_and_id_come_from_the_file_where_the_feed_has_none() -> None:
    assert product({"title": "x"}).key == "myshop/myshop:3"
    assert product({"title": "x"}, platform={"value": "other"}).key == "other/myshop:3"
    assert product({"shop": "s", "title": "x"}, platform="shop").platform == "s"


def test_the_label_in_one_column() -> None:
    label = {"column": "cat", "separator": ">>", "strip": '[]"'}
    assert product({"title": "x", "cat": '["Bags >> Hand Bags"]'}, label=label).path == ("Bags", "Hand Bags")
    assert product({"title": "x", "cat": None}, label=label).path is None
    assert product({"title": "x", "cat": ["A", "B"]}, label=label).path == ("A", "B")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"title": " ", "image": None}, "nothing_to_read"),
        ({"image": b"<html>"}, "nothing_to_read"),
        ({"title": "x", "level1": "A", "level2": None, "level3": "C"}, "label_has_gap"),
        ({"title": "x", "level1": "A > B"}, "label_not_a_path"),
        ({"title": "x", "platform": " "}, "platform_missing"),
        ({"title": "x", "platform": "a/b"}, "platform_has_slash"),
        ({"title": "x", "product_id": None}, "product_id_missing"),
        ({"title": {"en": "x"}}, "value_not_text"),
        ({"title": "\ud800"}, "undecodable_bytes"),
        ({"title": "a\0b"}, "nul_byte"),
        ({"title": "long " * 100_000}, "text_too_long"),
    ],
)
def test_rows_that_cannot_be_used(values: dict[str, Any], expected: str) -> None:
    assert reason(values) == expected


def test_a_label_outside_a_given_tree_is_rejected() -> None:
    tree = Taxonomy([("A", "B")])
    assert product({"title": "x", "level1": "A"}, taxonomy=tree).path == ("A",)
    assert reason({"title": "x", "level1": "A", "level2": "C"}, taxonomy=tree) == "unknown_category"
    assert product({"title": "x"}, taxonomy=tree).path is None


def test_a_rejection_keeps_the_row_without_the_image() -> None:
    made = make({"title": None, "image": b"x" * 9000, "note": "é" * 3000})
    assert isinstance(made, Rejection)
    assert made.raw is not None
    assert made.raw.startswith('{"title": null, "image": "<9000 bytes>", "note": "ééé')
    assert len(made.raw) == 2000


@pytest.mark.parametrize(
    "cell",
    [
        image_bytes(),
        {"bytes": image_bytes(), "path": "elsewhere.jpg"},
        {"bytes": None, "path": "images/a.jpg"},
        "images/a.jpg",
        "images\\a.jpg",
        base64.b64encode(image_bytes()).decode(),
        "data:image/jpeg;base64," + base64.b64encode(image_bytes()).decode(),
    ],
)
def test_every_form_of_an_image_is_understood(tmp_path: Path, cell: Any) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(image_bytes())
    made = product({"title": "x", "image": cell}, tmp_path)
    assert (made.image, made.image_problem) == (image_bytes(), None)


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("images/none.jpg", "image_not_found"),
        ("../secret.jpg", "image_outside_feed"),
        ("images/../../secret.jpg", "image_outside_feed"),
        ("/etc/passwd", "image_outside_feed"),
        ("C:\\pictures\\a.jpg", "image_outside_feed"),
        ("link.jpg", "image_outside_feed"),
        ("https://shop.example/a.jpg", "image_url_not_fetched"),
        ("a text.jpg", "image_not_an_image"),
        (".", "image_not_found"),
        (b"", "image_empty"),
        (17, "image_not_readable"),
        ("data:image/png;base64,@@@", "image_not_base64"),
    ],
)
def test_a_bad_image_leaves_the_product_with_its_title(tmp_path: Path, cell: Any, problem: str) -> None:
    folder = tmp_path / "feed"
    folder.mkdir()
    (tmp_path / "secret.jpg").write_bytes(image_bytes())
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "a text.jpg").write_bytes(b"this is a text file")
    made = product({"title": "x", "image": cell}, folder)
    assert (made.title, made.image, made.image_problem) == ("x", None, problem)


def test_a_bomb_is_refused_on_its_header() -> None:
    buffer = io.BytesIO()
    Image.new("1", (10_000, 6_000)).save(buffer, "PNG")
    made = make({"image": buffer.getvalue()})
    assert isinstance(made, Rejection)
    assert made.reason == "nothing_to_read"
    assert "image_too_many_pixels" in made.detail


def test_a_file_is_not_read_beyond_the_limit(tmp_path: Path) -> None:
    (tmp_path / "big.jpg").write_bytes(b"x" * 1001)
    maker = RecordMaker(Location(str(tmp_path / "s.csv")), FeedMapping(), PictureConfig(limits=ImageLimits(max_bytes=1000)))
    made = maker.make(RawRow(1, {"title": "x", "image": "big.jpg"}))
    assert isinstance(made, Record)
    assert made.product.image_problem == "image_too_many_bytes"


@pytest.mark.parametrize(("size", "kept"), [((512, 300), (512, 300)), ((513, 300), (512, 299)), ((1024, 1024), (512, 512)), ((200, 2000), (51, 512))])
def test_large_images_are_kept_small(size: tuple[int, int], kept: tuple[int, int]) -> None:
    data = image_bytes(*size)
    stored = product({"image": data}).image
    assert Image.open(io.BytesIO(stored)).size == kept
    assert (stored == data) == (size == kept)


def test_the_digest_tells_fields_apart() -> None:
    rows = [{"title": "ab"}, {"title": "a", "description": "b"}, {"title": "a", "brand": "b"}, {"title": "ab", "image": image_bytes()}]
    digests = [made.digest for made in map(make, rows) if isinstance(made, Record)]
    assert len(set(digests)) == 4
    same = make({"title": "ab", "raw_category": "c", "level1": "L", "product_id": "9"})
    assert isinstance(same, Record)
    assert same.digest == digests[0]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=2), max_leaves=3
)
COLUMNS = st.sampled_from(["platform", "product_id", "title", "description", "brand", "level1", "level2", "level3", "image", "language", "other"])


@given(st.dictionaries(COLUMNS, JSON | st.binary(max_size=30)))
def test_every_row_leaves_once_whatever_it_holds(values: dict[str, Any]) -> None:
    made = make(values)
    row = made.as_row("feed")
    assert row["row"] == 3
    for text in row.values():
        if isinstance(text, str):
            text.encode("utf-8")


def test_a_mapping_beside_the_feed_is_found(tmp_path: Path) -> None:
    (tmp_path / "shop.mapping.yaml").write_text("title: name\nimage: null\n")
    mapping = mapping_beside(Location(str(tmp_path / "shop.csv.gz")))
    assert (mapping.title, mapping.image, mapping.description) == ("name", None, "description")
    assert mapping_beside(Location(str(tmp_path / "other.csv"))) == FeedMapping()


def test_a_mapping_error_names_file_key_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "shop.mapping.yaml").write_text("titel: name\n")
    with pytest.raises(ConfigError, match=r"shop\.mapping\.yaml: unknown key 'titel'; did you mean 'title'"):
        mapping_beside(Location(str(tmp_path / "shop.csv")))
    with pytest.raises(ConfigError, match="either `columns`"):
        validate(FeedMapping, {"label": {"columns": ["a"], "column": "b"}}, "test")


def test_only_columns_that_the_user_named_must_be_there() -> None:
    FeedMapping().check("feed.csv", ["something"])
    with pytest.raises(FeedError, match=r"feed\.csv: .*title: 'name'.*it has \['a', 'b'\]"):
        FeedMapping(title="name").check("feed.csv", ["a", "b"])
    with pytest.raises(FeedError, match="label: 'cat'"):
        validate(FeedMapping, {"label": {"column": "cat"}}, "test").check("feed.csv", ["a"])


def test_no_path_leaves_the_feed_s_folder_on_other_file_systems() -> None:
    """Where no link can be followed, the path itself must not climb. mock:// is pyarrow's file system in memory."""
    maker = RecordMaker(Location("mock://feeds/shop.csv"), FeedMapping(), PictureConfig())
    made = maker.make(RawRow(1, {"title": "x", "image": "a/../../secret.jpg"}))
    assert isinstance(made, Record)
    assert made.product.image_problem == "image_outside_feed"


def test_html_becomes_text_unless_the_mapping_keeps_it() -> None:
    values = {
        "title": "Mugs &amp; cups",
        "description": "<p>For<br>tea</p>",
        "brand": "R&amp;D",
        "raw_category": "A &gt; B",
        "cat": "Tea &amp; Co &gt; Mugs",
    }
    made = product(values, label={"column": "cat"})
    assert (made.title, made.description, made.brand) == ("Mugs & cups", "For tea", "R&D")
    assert (made.raw_category, made.path) == ("A > B", ("Tea & Co", "Mugs"))
    assert product(values, html=False, label=None).title == "Mugs &amp; cups"
    assert reason({"title": "<br>"}) == "nothing_to_read"


def test_the_first_of_several_columns_that_is_not_empty_counts() -> None:
    mapping = {"product_id": ["sku", "ean"], "title": ["name", "model"], "raw_category": ["type", "kind"], "image": ["a", "b"]}
    made = product({"sku": None, "ean": "4", "name": "nan", "model": "M", "kind": ["A", "B"], "a": [], "b": ["", "x.jpg"]}, **mapping)
    assert (made.product_id, made.title, made.raw_category, made.image_problem) == ("4", "M", "A > B", "image_not_found")
    made = make({"sku": "", "ean": None, "name": "x"}, **mapping)
    assert isinstance(made, Rejection)
    assert made.detail.startswith("each of the columns ['sku', 'ean'] is empty in this row")


@pytest.mark.parametrize("text", ["nan", "NaN", "null", "NULL", "None", "\\N", "#N/A", " nan "])
def test_what_programs_write_for_nothing_is_nothing(text: str) -> None:
    assert product({"title": "x", "brand": text, "level1": text, "image": text}).brand is None
    assert product({"title": "x", "brand": text}, empty=[]).brand == text.strip()


@pytest.mark.parametrize(
    ("cell", "expected"),
    [(10.0, "10"), (2.0**53, "9007199254740992"), ("10.0", "10.0"), ("12.345.678", "12.345.678"), (12, "12"), ("1E5", "1E5"), ("\ufeff17", "17")],
)
def test_ids_stay_as_they_are(cell: Any, expected: str) -> None:
    assert product({"title": "x", "product_id": cell}).product_id == expected


@pytest.mark.parametrize("cell", ["1.23E+11", "1,23E+11", "9E+15", "1.5e+08", 2.0**53 + 2, 1e300])
def test_ids_that_lost_digits_are_refused(cell: Any) -> None:
    assert reason({"title": "x", "product_id": cell}) == "id_lost_digits"


def test_false_is_an_empty_field() -> None:
    assert product({"title": "x", "description": False}).description is None


@pytest.mark.parametrize("cell", [True, float("inf"), b"x", [1], {"a": 1}])
def test_what_is_no_text_is_refused(cell: Any) -> None:
    assert reason({"title": cell}) == "value_not_text"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ('["Bags >> Hand Bags"]', ("Bags", "Hand Bags")),
        ('["Bags >> Hand Bags", "Gifts >> Bags"]', ("Bags", "Hand Bags")),
        ('["Bags", "Hand Bags"]', ("Bags", "Hand Bags")),
        ('"Bags >> Hand Bags"', ("Bags", "Hand Bags")),
        ("[]", None),
        ("null", None),
        ("", None),
    ],
)
def test_a_label_as_json_in_text(cell: str, expected: tuple[str, ...] | None) -> None:
    assert product({"title": "x", "cat": cell}, label={"column": "cat", "separator": ">>", "is_json": True}).path == expected


@pytest.mark.parametrize("cell", ["[Bags", "17", '{"a": 1}', '["Bags", {"a": 1}]'])
def test_a_label_that_is_not_the_json_it_should_be_names_its_column(cell: str) -> None:
    made = make({"title": "x", "cat": cell}, label={"column": "cat", "is_json": True})
    assert isinstance(made, Rejection)
    assert made.reason in ("label_not_json", "value_not_text")
    assert "'cat'" in made.detail


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Shoes > Red running shoe", ("Shoes",)),
        ("Shoes > Red running shoe (Pack of 2)", ("Shoes",)),
        ("Red run...", None),
        ("Shoes > Red", ("Shoes", "Red")),
        ("Shoes > Blue running shoe", ("Shoes", "Blue running shoe")),
    ],
)
def test_a_name_that_repeats_the_title_is_no_category(path: str, expected: tuple[str, ...] | None) -> None:
    values = {"title": "Red running shoe", "cat": path}
    made = product(values, label={"column": "cat", "drop_title": True}, raw_category="cat")
    assert made.path == expected
    assert made.raw_category == (" > ".join(expected) if expected else path)
    assert product(values, label={"column": "cat"}).path == tuple(path.split(" > "))
