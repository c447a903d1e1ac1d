"""The review over HTTP: what the page is told, what it may decide, and who is let in."""

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from prodcat.catalog.ingest import IngestConfig, ingest
from prodcat.catalog.store import Catalog
from prodcat.contracts import PRODUCTS, rows_to_table
from prodcat.errors import ConfigError, FeedError, ReviewError
from prodcat.location import Location
from prodcat.recategorization.changes import Add, Part, Split
from prodcat.recategorization.decisions import Decision, Trail, read_decided
from prodcat.recategorization.proposal_file import save_proposals
from prodcat.recategorization.proposals import Proposal
from prodcat.reviewing.app import MAX_BODY, review_app
from prodcat.reviewing.pictures import Kept, Pictures
from prodcat.reviewing.review import Review, catalog_of, later_catalogs
from prodcat.reviewing.run import decide_by_hand, serve_review, state_lines, states
from prodcat.taxonomy import Taxonomy
from prodcat.versioning import tree_of

from .proposed import keys_below

HERE = "http://127.0.0.1:8484"


@pytest.fixture
def client(folder: Path, catalog: Catalog) -> Iterator[TestClient]:
    with TestClient(review_app(folder, catalog, "Ada"), HERE) as client:
        yield client


def post(client: TestClient, proposal: str, action: str, seen: int | None = None, by: str = "Ada", **more: Any) -> dict[str, Any]:
    number = client.get("/api/review").json()["seen"] if seen is None else seen
    answer = client.post(f"/api/proposals/{proposal}/decisions", json={"by": by, "action": action, "seen": number, **more})
    return {"http": answer.status_code, **answer.json()}


def ids(client: TestClient, **asked: Any) -> list[str]:
    return [each["id"] for each in client.get("/api/proposals", params=asked).json()["proposals"]]


# ---- what is told ---------------------------------------------------------------------------------------------------------------


def test_the_page_runs_its_own_script_and_nothing_else(client: TestClient) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "http://", "https://", "style="):
        assert forbidden not in answer.text
    assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-store")
    assert client.get("/docs").status_code == 404


def test_the_overview_counts(client: TestClient) -> None:
    found = client.get("/api/review").json()
    assert (found["proposals"], found["statuses"], found["reviewer"], found["seen"]) == (6, {"open": 6}, "Ada", 0)
    assert found["kinds"] == {"split": 1, "add": 1, "merge": 1, "rename": 2, "move": 1}
    assert found["branches"] == ["Footwear", "Footwear > Shoes", "Accessories"]
    assert (found["warnings"], found["conflicts"]) == ([], [])


def test_proposals_are_found_by_status_kind_branch_and_text_and_come_in_pages(client: TestClient) -> None:
    post(client, "merge", "reject", note="caps are no beanies")
    assert ids(client, status="rejected") == ["merge"]
    assert ids(client, kind="rename") == ["rename", "clash"]
    assert ids(client, branch="Footwear > Shoes") == ["split", "add", "clash"]
    assert ids(client, branch="Footwear") == []
    assert ids(client, text="EYEWEAR") == ["rename"]
    assert ids(client, text="no beanies") == ["merge"]
    assert ids(client, offset=1, limit=2) == ["add", "merge"]
    assert client.get("/api/proposals", params={"limit": 1}).json()["total"] == 6
    assert client.get("/api/proposals", params={"limit": 100_000}).status_code == 422


def test_a_proposal_is_told_with_its_parts_evidence_and_map(client: TestClient, catalog: Catalog) -> None:
    boots = len(keys_below(catalog, ("Footwear", "Shoes", "Boots")))
    found = client.get("/api/proposals/split").json()
    assert [(group["name"], group["products"]) for group in found["groups"]] == [("Ankle Boots", boots // 2), ("Rain Boots", boots - boots // 2)]
    assert found["evidence"][0]["tightness"] == 0.8312
    assert (found["movable"], found["status"], found["branch"], found["entries"]) == (True, "open", "Footwear > Shoes", [])
    assert client.get(f"/api/map/{found['map']}").headers["content-type"] == "image/png"
    assert client.get("/api/map/0").status_code == client.get("/api/map/99").status_code == 404
    assert client.get("/api/proposals/nothing").json()["error"]["message"].startswith("there is no proposal 'nothing'")


def test_products_come_exemplars_first_with_what_the_catalog_knows(client: TestClient) -> None:
    exemplars = client.get("/api/proposals/split").json()["evidence"][0]["exemplars"]
    found = client.get("/api/proposals/split/products", params={"group": "0", "limit": 3}).json()
    assert [product["key"] for product in found["products"]][:2] == exemplars
    assert all(product["label"] == "Footwear > Shoes > Boots" and product["title"] for product in found["products"])
    rest = client.get("/api/proposals/split/products", params={"group": "0", "offset": 3}).json()["products"]
    every = client.get("/api/proposals/split/keys", params={"group": "0"}).json()["keys"]
    assert [product["key"] for product in found["products"] + rest] == every
    word = found["products"][0]["key"].upper()
    assert [p["key"] for p in client.get("/api/proposals/split/products", params={"text": word}).json()["products"]] == exemplars[:1]
    assert "no group of products '7'" in client.get("/api/proposals/split/products", params={"group": "7"}).json()["error"]["message"]


def test_a_merge_shows_the_products_of_each_category_by_their_labels(client: TestClient, catalog: Catalog) -> None:
    found = client.get("/api/proposals/merge").json()
    assert [group["name"] for group in found["groups"]] == ["Accessories > Headwear > Caps", "Accessories > Headwear > Beanies"]
    assert (found["movable"], found["name"]) == (False, "Caps")
    keys = client.get("/api/proposals/merge/keys", params={"group": "1"}).json()["keys"]
    assert sorted(keys) == sorted(keys_below(catalog, ("Accessories", "Headwear", "Beanies")))
    moved = client.get("/api/proposals/move/keys").json()["keys"]
    assert sorted(moved) == sorted(keys_below(catalog, ("Home", "Kitchen")))


def test_products_that_are_not_in_the_catalog_any_more_are_shown_as_unknown(folder: Path, catalog: Catalog) -> None:
    assert catalog.taxonomy is not None
    change = Split(path=("Gift Cards",), parts=(Part(name="Gone", products=("gone/1",)),))
    save_proposals(folder, [Proposal(id="x", base=catalog.taxonomy.hash, change=change, reason="r", evidence=())], catalog.taxonomy.hash)
    client = TestClient(review_app(folder, catalog), HERE)
    (product,) = client.get("/api/proposals/x/products").json()["products"]
    assert (product["key"], product["known"], product["image"], product["title"]) == ("gone/1", False, False, None)
    assert client.get("/api/image/gone/1").status_code == 404


# ---- pictures -------------------------------------------------------------------------------------------------------------------


def test_images_are_small_jpegs_that_a_browser_keeps(client: TestClient, catalog: Catalog) -> None:
    products = catalog.products(["key", "image"]).to_pylist()
    key = next(row["key"] for row in products if row["image"])
    answer = client.get(f"/api/image/{key}", params={"size": 64})
    assert answer.headers["content-type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(answer.content)).size) == 64
    assert answer.headers["cache-control"] == "private, max-age=3600"
    again = client.get(f"/api/image/{key}", params={"size": 64}, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"/api/image/{key}", params={"size": 100_000}).status_code == 422
    without = next(row["key"] for row in products if not row["image"])
    assert client.get(f"/api/image/{without}").headers["content-type"] == "image/svg+xml"


def test_every_product_has_its_own_image_also_where_a_row_group_is_read_piece_by_piece(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    table = catalog.products(["key", "image"])
    keys = table["key"].to_pylist()
    kept = Pictures([catalog], keys)
    monkeypatch.setattr("prodcat.reviewing.pictures._GROUP_BYTES", 1000)
    pieces = Pictures([catalog], keys)
    assert pieces._images.bytes == 0
    for key, image in zip(keys, table["image"].to_pylist(), strict=True):
        one, other = kept.thumbnail(key, 48), pieces.thumbnail(key, 48)
        assert (one is None) == (other is None) == (image is None)
        assert one == other
    shown = {picture.tag for key in keys if (picture := kept.thumbnail(key, 48)) is not None}
    assert len(shown) > 150
    with pytest.raises(KeyError):
        kept.thumbnail("no/thing", 48)
    with pytest.raises(FeedError, match="keys were given"):
        Pictures([catalog], keys[1:])


def test_products_that_were_assigned_later_have_their_titles_and_pictures(folder: Path, catalog: Catalog, tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (90, 60), "red").save(stream, "PNG")
    feed = {"product_id": ["1"], "platform": ["late"], "title": ["clogs"], "image": [stream.getvalue()]}
    pq.write_table(pa.table(feed), tmp_path / "late.parquet")
    ingest([str(tmp_path / "late.parquet")], tmp_path / "later", IngestConfig())
    change = Add(parent=("Footwear",), part=Part(name="Clogs", products=("late/1",)))
    save_proposals(folder, [Proposal(id="late", base=tree_of(catalog).hash, change=change, reason="r", evidence=())], tree_of(catalog).hash)
    later = Catalog.open(tmp_path / "later")
    with TestClient(review_app(folder, catalog, "Ada"), HERE) as client:
        assert client.get("/api/image/late/1").status_code == 404
    with TestClient(review_app(folder, catalog, "Ada", later=[later]), HERE) as client:
        (product,) = client.get("/api/proposals/late/products", params={"group": "0"}).json()["products"]
        assert (product["key"], product["title"]) == ("late/1", "clogs")
        assert client.get("/api/image/late/1").headers["content-type"] == "image/jpeg"
    index = folder / "recategorization.json"
    assert later_catalogs(folder) == []
    index.write_text(json.dumps(json.loads(index.read_text()) | {"assigned": [str(later.path), str(tmp_path / "gone")]}))
    assert later_catalogs(folder) == [later.path]


def test_what_was_used_last_is_kept_up_to_a_number_of_bytes() -> None:
    kept: Kept[bytes] = Kept(10, len)
    for key in "abc":
        kept.put(key, b"1234")
    assert ("a" in kept, "b" in kept, "c" in kept, kept.bytes) == (False, True, True, 8)
    assert kept.get("b") == b"1234"
    kept.put("d", b"1234")
    assert "c" not in kept
    kept.put("huge", b"1" * 11)
    assert (kept.bytes, kept.get("huge")) == (0, None)


# ---- deciding -------------------------------------------------------------------------------------------------------------------


def test_a_proposal_is_edited_and_accepted_and_the_trail_has_it_all(client: TestClient, folder: Path) -> None:
    keys = client.get("/api/proposals/split/keys", params={"group": "0"}).json()["keys"]
    assert post(client, "split", "rename", part=0, name="Short Boots")["groups"][0]["name"] == "Short Boots"
    moved = post(client, "split", "move", part=0, products=keys[:2], to=1)
    assert moved["entries"][-1]["told"] == "moved 2 from Short Boots to Rain Boots"
    assert post(client, "split", "move", part=1, products=keys[:1])["out"]["products"] == 1
    assert client.get("/api/proposals/split/products", params={"group": "out"}).json()["products"][0]["key"] == keys[0]
    post(client, "split", "note", note="=ask the buyers")
    found = post(client, "split", "accept")
    assert (found["http"], found["status"], found["by"], found["entry"], found["seen"]) == (200, "accepted", "Ada", 5, 5)
    (change,) = read_decided(folder).changes
    assert isinstance(change, Split)
    assert [part.name for part in change.parts] == ["Short Boots", "Rain Boots"]
    assert keys[1] in change.parts[1].products
    assert not any(keys[0] in part.products for part in change.parts)
    trail = client.get("/api/trail").json()
    assert [entry["action"] for entry in trail["entries"]] == ["accept", "note", "move", "move", "rename"]
    rows = list(csv.DictReader(io.StringIO(client.get("/api/trail.csv").content.decode("utf-8-sig"))))
    assert rows[3]["note"] == "'=ask the buyers"
    assert rows[1]["products"] == " ".join(keys[:2])


def test_who_decides_on_what_another_has_decided_meanwhile_is_refused_and_told(client: TestClient) -> None:
    post(client, "split", "accept", by="Grace")
    found = post(client, "split", "reject", seen=0)
    assert (found["http"], found["error"]["reason"]) == (409, "outdated")
    assert "Grace: accept" in found["error"]["message"]
    assert post(client, "add", "reject", seen=0)["http"] == 200


def test_what_others_append_to_the_trail_is_seen_at_once(client: TestClient, folder: Path) -> None:
    decide_by_hand(folder, "rename", "accept", by="Grace", names=["Glasses"], note="shorter")
    found = client.get("/api/proposals/rename").json()
    assert (found["status"], found["by"], found["change"]) == ("accepted", "Grace", "rename 'Accessories > Sunglasses' to 'Glasses'")


@pytest.mark.parametrize(
    ("action", "more", "message"),
    [
        ("rename", {"part": 0, "name": "A > B"}, "'A > B' cannot be a category's name"),
        ("move", {"part": 0, "products": ["no/thing"], "to": 1}, "product 'no/thing' is not in part 0"),
        ("reopen", {}, "is open"),
        ("accept", {"by": ""}, "by: "),
        ("demolish", {}, "action: "),
        ("accept", {"unknown": 1}, "unknown: "),
    ],
)
def test_a_decision_that_does_not_fit_is_refused_by_name(client: TestClient, folder: Path, action: str, more: dict[str, Any], message: str) -> None:
    found = post(client, "split", action, **more)
    assert found["http"] == 422
    assert message in found["error"]["message"]
    assert not (folder / "trail.jsonl").exists() or (folder / "trail.jsonl").read_bytes() == b""


def test_accepted_proposals_that_cannot_be_made_together_are_named_and_the_rest_is_previewed(client: TestClient) -> None:
    for name in ("split", "merge", "clash"):
        post(client, name, "accept")
    (conflict,) = client.get("/api/review").json()["conflicts"]
    assert conflict["id"] == "clash"
    assert "both change 'Footwear > Shoes > Boots'" in conflict["why"]
    found = client.get("/api/preview").json()
    assert (found["accepted"], found["categories"] - found["before"]) == (3, 1)
    assert "Footwear > Shoes > Boots > Rain Boots" in found["tree"]
    assert {"what": "removed", "old": "Accessories > Headwear > Beanies", "new": "Accessories > Headwear > Caps"} in found["changes"]
    post(client, "clash", "reopen")
    assert client.get("/api/review").json()["conflicts"] == []


def test_a_catalog_that_changed_and_a_line_that_was_cut_off_are_said(folder: Path, catalog: Catalog) -> None:
    index = folder / "recategorization.json"
    index.write_text(index.read_text().replace(catalog.digest, "another"))
    decide_by_hand(folder, "add", "reject", by="Ada")
    with (folder / "trail.jsonl").open("ab") as stream:
        stream.write(b'{"n":2,')
    warnings = TestClient(review_app(folder, catalog), HERE).get("/api/review").json()["warnings"]
    assert "The catalog has changed" in warnings[0]
    assert "line 2: a crash had cut it off" in warnings[1]


def test_five_thousand_products_and_three_thousand_proposals_are_answered_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"key": f"s/{n}", "platform": "s", "product_id": str(n), "title": f"t {n}", "path": ["A"], "digest": "d", "source": "f", "row": n}
        for n in range(5000)
    ]
    (tmp_path / "products").mkdir()
    pq.write_table(rows_to_table(rows, PRODUCTS), tmp_path / "products/part-0.parquet")
    large = Catalog(Location(str(tmp_path)), {"digest": "d", "files": ["products/part-0.parquet"]})
    tree = Taxonomy([("A",), *(("B", f"b{n}") for n in range(3000))])
    change = Split(path=("A",), parts=(Part(name="One", products=tuple(row["key"] for row in rows)), Part(name="Two")))
    proposals = [Proposal(id="big", base=tree.hash, change=change, reason="r", evidence=())]
    split = [Split(path=("B", f"b{n}"), parts=(Part(name="x"), Part(name="y"))) for n in range(3000)]
    proposals += [Proposal(id=f"p{n}", base=tree.hash, change=each, reason="r", evidence=()) for n, each in enumerate(split)]
    save_proposals(tmp_path, proposals, tree.hash)
    tree.save(tmp_path / "taxonomy.json")
    client = TestClient(review_app(tmp_path, large), HERE)
    started = time.perf_counter()
    assert client.get("/api/proposals").json()["total"] == 3001
    assert client.get("/api/proposals/big").json()["groups"][0]["products"] == 5000
    assert len(client.get("/api/proposals/big/products", params={"limit": 60}).json()["products"]) == 60
    moved = post(client, "big", "move", part=0, products=[row["key"] for row in rows[:4000]], to=1)
    assert [group["products"] for group in moved["groups"]] == [1000, 4000]
    # Seconds on a busy machine; a fraction of one on a free one.
    assert time.perf_counter() - started < 5


# ---- who is let in --------------------------------------------------------------------------------------------------------------


def test_without_a_token_only_this_machines_own_names_are_answered(client: TestClient) -> None:
    assert client.get("/api/review", headers={"Host": "evil.example:8484"}).status_code == 403
    for name in ("localhost:8484", "127.0.0.1", "[::1]:8484"):
        assert client.get("/api/review", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:9999"}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_decisions_from_foreign_pages_are_refused(client: TestClient, folder: Path, headers: dict[str, str]) -> None:
    body = {"by": "Eve", "action": "accept", "seen": 0}
    assert client.post("/api/proposals/split/decisions", json=body, headers=headers).status_code == 403
    form = client.post("/api/proposals/split/decisions", content=b'{"by":"Eve","action":"accept","seen":0}', headers={"Content-Type": "text/plain"})
    assert form.status_code == 415
    assert not (folder / "trail.jsonl").exists()
    own = {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/proposals/split/decisions", json=body, headers=own).status_code == 200


def test_a_body_without_bounds_is_refused(client: TestClient) -> None:
    body = b'{"note":"' + b"x" * MAX_BODY + b'"}'
    answer = client.post("/api/proposals/split/decisions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_with_a_token_nothing_is_told_without_it(folder: Path, catalog: Catalog) -> None:
    app = review_app(folder, catalog, None, "a-long-secret")
    client = TestClient(app, "http://review.example", follow_redirects=False)
    for path in ("/", "/api/review", "/api/image/x/1", "/api/trail.csv", "/?token=wrong", "/api/review?token=a-long-secret"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert client.get("/api/review", headers={"Authorization": "Bearer a-long-secret"}).status_code == 200
    assert client.get("/api/review", headers={"Authorization": "Bearer wröng".encode()}).status_code == 401
    first = client.get("/?token=a-long-secret&x=1")
    assert (first.status_code, first.headers["location"]) == (303, "/?x=1")
    assert all(word in first.headers["set-cookie"] for word in ("HttpOnly", "SameSite=strict"))
    assert client.get("/").status_code == 200


# ---- without a browser ----------------------------------------------------------------------------------------------------------


def test_proposals_are_listed_and_decided_on_without_a_browser(folder: Path) -> None:
    found = decide_by_hand(folder, "split", "accept", by="Ada", names=["1=Wellingtons"], note="seen in the shop")
    assert (found["status"], found["change"]) == ("accepted", "split 'Footwear > Shoes > Boots' into Ankle Boots, Wellingtons")
    decide_by_hand(folder, "add", "reject", by="Grace")
    lines = state_lines(states(folder))
    assert lines[0].startswith("split  accepted")
    assert lines[1].strip() == "Ada: seen in the shop"
    assert "(Grace, " in lines[2]
    for name, names, message in (
        ("nothing", [], "there is no proposal 'nothing'; there are split, add"),
        ("merge", ["0=A > B"], "cannot be a category's name"),
        ("move", ["Kitchen"], "makes no name"),
        ("split", [], "is accepted; reopen it"),
    ):
        with pytest.raises(ReviewError, match=message):
            decide_by_hand(folder, name, "accept", by="Ada", names=names)
    decide_by_hand(folder, "split", "reopen", by="Ada")
    with pytest.raises(ReviewError, match="--name Boots: expected PART=NAME"):
        decide_by_hand(folder, "split", "accept", by="Ada", names=["0=Fine", "Boots"])
    assert len(Trail(folder / "trail.jsonl").read()) == 4


def test_the_catalog_that_proposals_were_made_of_is_found(folder: Path, catalog: Catalog) -> None:
    assert catalog_of(folder) == catalog.path
    (folder / "recategorization.json").unlink()
    with pytest.raises(ReviewError, match="name it with --catalog"):
        catalog_of(folder)
    review = Review(folder, catalog)
    assert (review.places, review.warnings) == ([], [])
    review.decide(Decision(by="Ada", proposal="add", action="reject"), 0)
    assert review.state("add")[0].status == "rejected"


def test_how_a_product_was_placed_is_told_where_it_is_known(folder: Path, catalog: Catalog) -> None:
    key = keys_below(catalog, ("Footwear", "Shoes", "Boots"))[0]
    pq.write_table(pa.table({"key": [key], "decisions": ["density 3 > merged 1"]}), folder / "products.parquet")
    assert Review(folder, catalog).products([key])[0]["how"] == "density 3 > merged 1"


def test_a_short_token_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="at least 12 characters"):
        serve_review(folder, catalog=None, host="0.0.0.0", port=1, reviewer=None, token="short", say=print)
