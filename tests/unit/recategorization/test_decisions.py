"""Decisions on proposals: what the trail keeps and notices, what proposals become by it, and what is refused by name."""

import csv
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from prodcat.errors import Outdated, ReviewError
from prodcat.recategorization.changes import Add, Merge, Move, Part, Rename, Split, apply
from prodcat.recategorization.decisions import TRAIL, Decision, State, Trail, accepted, decide, fold, read_decided
from prodcat.recategorization.proposal_file import load_proposals, save_proposals
from prodcat.recategorization.proposals import Proposal
from prodcat.taxonomy import Taxonomy, parse_path

TREE = Taxonomy(parse_path(line) for line in ("Footwear > Shoes", "Footwear > Sandals > Flats", "Footwear > Sandals > Heels", "Watches"))
CHANGES = {
    "add": Add(parent=("Footwear",), part=Part(name="Boots", products=("a/1", "a/2"))),
    "split": Split(path=("Footwear", "Shoes"), parts=(Part(name="Formal", products=("s/1", "s/2", "s/3")), Part(name="Sports", products=("s/4",)))),
    "merge": Merge(paths=(("Footwear", "Sandals", "Flats"), ("Footwear", "Sandals", "Heels")), into=("Footwear", "Sandals", "Flats")),
    "rename": Rename(path=("Watches",), name="Clocks"),
    "move": Move(path=("Footwear", "Sandals"), parent=()),
}
PROPOSALS = [Proposal(id=name, base=TREE.hash, change=change, reason="=because", evidence=({"products": 3},)) for name, change in CHANGES.items()]
BY_ID = {proposal.id: proposal for proposal in PROPOSALS}
AT = "2026-01-02T03:04:05+00:00"


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    return Trail(tmp_path / TRAIL, clock=lambda: AT)


def do(trail: Trail, proposal: str, action: Any, by: str = "Ada", seen: int | None = None, **more: Any) -> int:
    return decide(trail, BY_ID[proposal], Decision(by=by, proposal=proposal, action=action, **more), seen=seen).n


def test_an_entry_says_who_when_and_what_and_is_read_again_by_others(trail: Trail) -> None:
    assert do(trail, "split", "move", part=0, products=("s/3", "s/1"), to=1, note="they run") == 1
    assert do(trail, "rename", "accept", by="Grace") == 2
    first, second = Trail(trail.file).read()
    assert (first.n, first.by, first.at, first.proposal, first.action, first.part, first.to) == (1, "Ada", AT, "split", "move", 0, 1)
    assert first.products == ("s/3", "s/1")
    assert first.note == "they run"
    assert first.previous is None
    assert second.previous is not None
    assert trail.read() == [first, second]


def test_nothing_decided_is_nothing_accepted(trail: Trail) -> None:
    assert trail.read() == []
    assert accepted(PROPOSALS, []) == []
    assert {state.status for state in fold(PROPOSALS, []).values()} == {"open"}


def test_accepted_changes_have_the_names_as_edited_and_the_products_as_moved(trail: Trail) -> None:
    do(trail, "split", "rename", part=1, name="  Running ")
    do(trail, "split", "move", part=0, products=("s/1",), to=1)
    do(trail, "split", "move", part=0, products=("s/3",))
    do(trail, "add", "rename", part=0, name="Rain Boots")
    do(trail, "merge", "rename", name="Slippers")
    do(trail, "rename", "rename", name="Timepieces")
    for name in CHANGES:
        do(trail, name, "accept")
    made = {change.kind: change for change in accepted(PROPOSALS, trail.read())}
    assert made["split"] == Split(
        path=("Footwear", "Shoes"), parts=(Part(name="Formal", products=("s/2",)), Part(name="Running", products=("s/4", "s/1")))
    )
    assert made["add"] == Add(parent=("Footwear",), part=Part(name="Rain Boots", products=("a/1", "a/2")))
    assert made["merge"] == CHANGES["merge"].model_copy(update={"into": ("Footwear", "Sandals", "Slippers")})
    assert made["rename"] == Rename(path=("Watches",), name="Timepieces")
    assert made["move"] == CHANGES["move"]
    assert "Timepieces" in {str(category) for category in apply(TREE, [made["rename"], made["split"]]).tree.categories}


def test_rejected_and_reopened_proposals_change_nothing_and_keep_their_edits(trail: Trail) -> None:
    do(trail, "add", "rename", part=0, name="Wellingtons")
    do(trail, "add", "reject")
    do(trail, "split", "accept")
    do(trail, "split", "reopen")
    assert accepted(PROPOSALS, trail.read()) == []
    do(trail, "add", "reopen")
    state = fold(PROPOSALS, trail.read())["add"]
    assert (state.status, state.names) == ("open", ("Wellingtons",))
    assert [entry.action for entry in state.entries] == ["rename", "reject", "reopen"]


def test_products_that_were_taken_out_can_come_back(trail: Trail) -> None:
    do(trail, "add", "move", part=0, products=("a/1",))
    assert fold(PROPOSALS, trail.read())["add"].out == ("a/1",)
    do(trail, "add", "move", products=("a/1",), to=0)
    state = fold(PROPOSALS, trail.read())["add"]
    assert (state.products, state.out) == ((("a/2", "a/1"),), ())


def test_a_part_that_lost_all_its_products_is_not_made_and_an_empty_proposal_is_not_accepted(trail: Trail) -> None:
    do(trail, "split", "move", part=1, products=("s/4",), to=0)
    do(trail, "split", "accept")
    (change,) = accepted(PROPOSALS, trail.read())
    assert isinstance(change, Split)
    assert [part.name for part in change.parts] == ["Formal"]
    do(trail, "add", "move", part=0, products=("a/1", "a/2"))
    with pytest.raises(ReviewError, match="proposal add: no product is left in it; reject it"):
        do(trail, "add", "accept")


@pytest.mark.parametrize(
    ("proposal", "action", "more", "message"),
    [
        ("split", "rename", {"part": 2, "name": "X"}, "proposal split: there is no part 2; it has the parts 0 to 1"),
        ("split", "rename", {"name": "X"}, "there is no part None"),
        ("split", "rename", {"part": 0, "name": " "}, "' ' cannot be a category's name"),
        ("split", "rename", {"part": 0, "name": "A > B"}, "'A > B' cannot be a category's name"),
        ("split", "rename", {"part": 0, "name": "A\nB"}, "cannot be a category's name"),
        ("rename", "rename", {"part": 0, "name": "X"}, "has no parts; leave the part out"),
        ("move", "rename", {"name": "X"}, "makes no name"),
        ("split", "move", {"part": 0, "products": ("s/4",), "to": 1}, r"product 's/4' is not in part 0 \('Formal'\)"),
        ("split", "move", {"products": ("s/4",), "to": 1}, "product 's/4' is not among those taken out"),
        ("split", "move", {"part": 0, "products": ("s/1",), "to": 5}, "there is no part 5"),
        ("split", "move", {"part": 0, "products": ("s/1",), "to": 0}, "would stay where they are"),
        ("split", "move", {"part": 0, "to": 1}, "no product to move"),
        ("merge", "move", {"part": 0, "products": ("s/1",)}, "has no parts that products could be moved between"),
        ("merge", "reopen", {}, "is open; there is nothing to reopen"),
        ("merge", "note", {"note": "  "}, "the note is empty"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_leaves_no_line(
    trail: Trail, proposal: str, action: str, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReviewError, match=message):
        do(trail, proposal, action, **more)
    assert trail.read() == []


def test_what_was_decided_is_not_edited_until_it_is_reopened_but_noted_on(trail: Trail) -> None:
    do(trail, "split", "accept")
    for action, more in (("accept", {}), ("reject", {}), ("rename", {"part": 0, "name": "X"}), ("move", {"part": 0, "products": ("s/1",)})):
        with pytest.raises(ReviewError, match="proposal split: is accepted; reopen it before it is changed"):
            do(trail, "split", action, **more)
    do(trail, "split", "note", note="well done")
    assert [entry.note for entry in fold(PROPOSALS, trail.read())["split"].notes] == ["well done"]


def test_parts_of_one_name_are_not_accepted(trail: Trail) -> None:
    do(trail, "split", "rename", part=1, name="Formal")
    with pytest.raises(ReviewError, match="two parts are named 'Formal'; rename one"):
        do(trail, "split", "accept")


def test_who_decides_on_what_another_has_decided_meanwhile_is_told_what_happened(trail: Trail) -> None:
    do(trail, "split", "accept", by="Grace", seen=0)
    with pytest.raises(Outdated, match=r"proposal split: was decided on meanwhile: Grace: accept \(2026"):
        do(trail, "split", "reject", seen=0)
    do(trail, "split", "note", seen=0, note="notes disturb nobody")
    do(trail, "add", "reject", seen=0)
    do(trail, "split", "reopen", seen=3)


def test_an_entry_of_an_unknown_proposal_or_of_one_that_says_something_else_by_now_is_named(trail: Trail) -> None:
    do(trail, "split", "accept")
    with pytest.raises(ReviewError, match="entry 1 of the trail: there is no proposal 'split'"):
        fold([BY_ID["add"]], trail.read())
    other = BY_ID["split"].model_copy(update={"change": Split(path=("Footwear", "Shoes"), parts=(Part(name="Formal", products=("s/1",)),))})
    with pytest.raises(ReviewError, match="proposal split had other products or names when 'Ada' decided on it"):
        fold([other], trail.read())


def test_a_product_that_stands_twice_in_a_proposal_is_named() -> None:
    twice = Split(path=("Watches",), parts=(Part(name="A", products=("w/1",)), Part(name="B", products=("w/1",))))
    with pytest.raises(ReviewError, match="product 'w/1' stands in it twice"):
        State.of(BY_ID["split"].model_copy(update={"change": twice}))


def edited(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b"Ada", b"Eve"), *lines[1:]]


def edited_last(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1].replace(b"Ada", b"Eve")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edited, "line 1: was changed after it was written, as line 2 says"),
        (edited_last, "line 3: was changed after it was written, as trail.jsonl.head says"),
        (lambda lines: [lines[0], lines[2]], "line 2: is entry 3, so lines before it were taken out"),
        (lambda lines: lines[:2], "line 3: was taken out, trail.jsonl.head knows 3 lines"),
        (lambda lines: [lines[0], b"{}\n", lines[2]], "line 2: is no entry of a trail"),
        (lambda lines: [*lines, lines[2]], "line 4: is entry 3"),
    ],
)
def test_a_line_that_was_edited_or_taken_out_is_named(trail: Trail, change: Callable[[list[bytes]], list[bytes]], message: str) -> None:
    for name in ("add", "split", "merge"):
        do(trail, name, "accept")
    trail.file.write_bytes(b"".join(change(trail.file.read_bytes().splitlines(keepends=True))))
    with pytest.raises(ReviewError, match=message):
        Trail(trail.file).read()


def test_a_trail_that_shrinks_or_goes_while_it_is_open_is_noticed(trail: Trail) -> None:
    do(trail, "add", "accept")
    trail.file.write_bytes(b"")
    with pytest.raises(ReviewError, match="is shorter than it was"):
        trail.read()
    trail.file.unlink()
    for each in (trail, Trail(trail.file)):
        with pytest.raises(ReviewError, match="is gone, and decisions were in it"):
            each.read()


def test_a_line_that_a_crash_cut_off_is_named_and_put_aside_and_decided_nothing(trail: Trail) -> None:
    do(trail, "add", "accept")
    whole = trail.file.read_bytes()
    trail.file.write_bytes(whole + b'{"by":"Ad')
    for attempt in (Trail(trail.file).read, lambda: do(Trail(trail.file), "split", "accept")):
        with pytest.raises(ReviewError, match="line 2: is cut off"):
            attempt()
    assert "line 2: a crash had cut it off" in str(Trail(trail.file).repair())
    assert trail.file.with_name("trail.jsonl.cut-2").read_bytes() == b'{"by":"Ad'
    assert trail.file.read_bytes() == whole
    assert Trail(trail.file).repair() is None
    assert do(Trail(trail.file), "split", "accept") == 2


def test_a_crash_between_the_line_and_its_head_loses_nothing(trail: Trail) -> None:
    do(trail, "add", "accept")
    head = trail.file.with_name("trail.jsonl.head")
    before = head.read_bytes()
    do(trail, "split", "accept")
    head.write_bytes(before)
    assert [entry.n for entry in Trail(trail.file).read()] == [1, 2]
    head.unlink()
    with pytest.raises(ReviewError, match=r"trail.jsonl.head: knows 0 of 2 lines"):
        Trail(trail.file).read()


def test_many_who_append_at_once_make_one_whole_trail(trail: Trail) -> None:
    trails = [Trail(trail.file) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda n: do(trails[n % 4], "add", "note", note=str(n)), range(60)))
    assert sorted(numbers) == list(range(1, 61))
    assert sorted(int(entry.note or "") for entry in Trail(trail.file).read()) == list(range(60))


def test_a_folder_is_read_with_its_tree_proposals_and_decisions(tmp_path: Path, trail: Trail) -> None:
    save_proposals(tmp_path, PROPOSALS, TREE.hash)
    TREE.save(tmp_path / "taxonomy.json")
    assert read_decided(tmp_path).changes == ()
    do(trail, "rename", "accept")
    decided = read_decided(tmp_path)
    assert (decided.base, decided.tree, list(decided.proposals)) == (TREE.hash, TREE, PROPOSALS)
    assert decided.changes == (CHANGES["rename"],)
    assert [entry.by for entry in decided.entries] == ["Ada"]
    Taxonomy([("Else",)]).save(tmp_path / "taxonomy.json")
    with pytest.raises(ReviewError, match="the files are of two runs"):
        read_decided(tmp_path)


def test_proposals_are_read_as_they_were_written_and_listed_for_people(tmp_path: Path) -> None:
    save_proposals(tmp_path, PROPOSALS, TREE.hash)
    assert load_proposals(tmp_path) == (TREE.hash, PROPOSALS)
    with (tmp_path / "proposals.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["kind"] for row in rows] == list(CHANGES)
    assert rows[1]["parts"] == "Formal 3; Sports 1"
    # No spreadsheet runs it.
    assert rows[0]["reason"] == "'=because"


def test_proposals_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match=r"has no proposals.json; make proposals with `prodcat recategorize"):
        load_proposals(tmp_path)
    with pytest.raises(ReviewError, match="2 proposals have the id add"):
        save_proposals(tmp_path, [PROPOSALS[0], PROPOSALS[0]], TREE.hash)
    with pytest.raises(ReviewError, match="proposal add is of the tree"):
        save_proposals(tmp_path, PROPOSALS, "another")
    file = tmp_path / "proposals.json"
    for content, message in (
        ("[]", "no file of proposals"),
        (json.dumps({"format": 2, "base": "x", "proposals": []}), "proposals of format 2"),
        (json.dumps({"format": 1, "base": "x", "proposals": [{"id": 1}]}), "proposals.json, proposal 1: key"),
    ):
        file.write_text(content)
        with pytest.raises(ReviewError, match=message):
            load_proposals(tmp_path)
