"""Names and votes together, and a file that a person has worked on."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.crosswalk.mapping_file import Line
from prodcat.crosswalk.proposals import merge, proposal, proposals
from prodcat.crosswalk.rules import NameRules, RuleConfig
from prodcat.crosswalk.votes import Ballot, VoteConfig
from prodcat.taxonomy import CategoryPath, Taxonomy

SHIRTS, TOPS, BAGS = ("Clothing", "Shirts"), ("Clothing", "Tops"), ("Bags",)
TREE = Taxonomy([SHIRTS, TOPS, BAGS])
RULES = NameRules(TREE, RuleConfig())


def line_of(raw: str, votes: dict[CategoryPath, int] | None = None, labels: dict[CategoryPath, int] | None = None) -> Line:
    counted = Counter(votes or {}) + Counter(labels or {})
    ballot = Ballot(max(10, counted.total()), counted, Counter(labels or {}))
    return proposal(("shop", raw), ballot, RULES(raw), TREE, VoteConfig())


def test_a_name_alone() -> None:
    line = line_of("Men > Shirts")
    assert (line.path, line.how, line.score, line.agreement, line.decision, line.products) == (SHIRTS, "exact", 1.0, None, "", 10)


def test_votes_alone() -> None:
    line = line_of("Áo", {TOPS: 9, SHIRTS: 1})
    assert (line.path, line.how, line.score, line.agreement) == (TOPS, "votes", None, 0.9)
    assert line_of("Áo", {TOPS: 5, SHIRTS: 5}).path == ("Clothing",)


def test_what_is_open_names_what_it_may_be() -> None:
    line = line_of("Áo", {TOPS: 6, BAGS: 4})
    assert (line.path, line.how, line.candidates) == (None, "", "Clothing > Tops (60%) | Bags (40%)")
    assert line_of("Áo", {TOPS: 4, SHIRTS: 3, BAGS: 3}).candidates == "Clothing (70%) | Clothing > Tops (40%) | Clothing > Shirts (30%) | Bags (30%)"


def test_the_deeper_of_two_that_agree_stands() -> None:
    assert line_of("Clothing", labels={SHIRTS: 9}).path == SHIRTS
    assert line_of("Shirts", {("Clothing",): 9}).path == SHIRTS


def test_where_they_part() -> None:
    by_name = line_of("Shirts", {TOPS: 9})
    assert (by_name.path, by_name.how, by_name.agreement, by_name.candidates) == (SHIRTS, "exact", 0.0, "Clothing > Tops")
    by_labels = line_of("Shirts", labels={TOPS: 9})
    assert (by_labels.path, by_labels.how, by_labels.candidates) == (TOPS, "votes", "Clothing > Shirts")


def decided(raw: str, path: CategoryPath | None, decision: str, **rest: object) -> Line:
    return replace(Line("shop", raw, 5, path, decision=decision), **rest)  # type: ignore[arg-type]


FRESH = {("shop", raw): Line("shop", raw, 7, path, "fuzzy", 0.9, 0.8) for raw, path in (("one", SHIRTS), ("two", TOPS), ("three", None))}


def merged(*lines: Line) -> dict[str, Line]:
    return {line.raw_category: line for line in merge(lines, FRESH).lines}


def test_decisions_notes_and_paths_of_a_person_stay_and_counts_are_renewed() -> None:
    found = merged(
        decided("one", BAGS, "accept", how="fuzzy", score=0.88, note="mine"),
        decided("two", TOPS, "reject", how="votes"),
        decided("three", SHIRTS, ""),
    )
    assert found["one"] == Line("shop", "one", 7, BAGS, "hand", candidates="Clothing > Shirts", decision="accept", note="mine")
    assert found["two"] == Line("shop", "two", 7, TOPS, "fuzzy", 0.9, 0.8, decision="reject")
    # Written into an open line, not decided: kept, and shown as a person's.
    assert found["three"] == Line("shop", "three", 7, SHIRTS, "hand")


def test_an_undecided_line_is_proposed_anew_and_keeps_its_note() -> None:
    found = merged(decided("one", BAGS, "", how="votes", agreement=0.9, note="look again"))
    assert found["one"] == replace(FRESH["shop", "one"], note="look again")


def test_votes_that_were_not_asked_again_are_kept_as_evidence() -> None:
    unasked = {("shop", "one"): Line("shop", "one", 7, SHIRTS, "fuzzy", 0.9, None)}
    line = decided("one", BAGS, "accept", how="votes", agreement=0.9)
    assert merge([line], unasked).lines == [replace(line, products=7)]


def test_new_and_gone_and_other_platforms() -> None:
    elsewhere = Line("other", "one", 3, BAGS, "exact", 1.0)
    result = merge([decided("gone", BAGS, "accept"), elsewhere], FRESH)
    assert (result.new, result.gone, result.kept, result.renewed) == (3, 1, 0, 0)
    assert next(line for line in result.lines if line.raw_category == "gone").products == 0
    assert elsewhere in result.lines
    assert (result.open, result.how) == (1, {"": 1, "exact": 1, "fuzzy": 2})


LINES = st.lists(
    st.builds(
        Line,
        platform=st.just("shop"),
        raw_category=st.sampled_from(["Shirts", "Tops", "Áo", "old", "Bag"]),
        products=st.integers(0, 9),
        path=st.sampled_from([SHIRTS, TOPS, BAGS]),
        how=st.sampled_from(["", "exact", "fuzzy", "votes", "hand"]),
        decision=st.sampled_from(["", "accept", "reject"]),
        note=st.sampled_from(["", "x"]),
    ),
    unique_by=lambda line: line.key,
)


@given(LINES)
def test_no_decision_is_lost_and_a_second_time_changes_nothing(lines: list[Line]) -> None:
    ballots = {("shop", raw): Ballot(4, Counter({BAGS: 4}), Counter()) for raw in ("Shirts", "Tops", "Áo", "Bag", "New")}
    fresh = proposals(ballots, RULES, TREE, VoteConfig())
    once = merge(lines, fresh).lines
    assert len(once) == len({line.key for line in lines} | set(fresh))
    after = {line.key: line for line in once}
    for line in lines:
        assert after[line.key].note == line.note
        if line.decision:
            assert (after[line.key].path, after[line.key].decision) == (line.path, line.decision)
    assert merge(once, fresh).lines == once


def test_a_vote_for_what_is_not_in_the_tree_proposes_nothing() -> None:
    assert line_of("Áo", {("Elsewhere",): 9}).path is None


@pytest.mark.parametrize("raw", ["Shirts", "Áo"])
def test_proposals_are_the_same_in_any_order(raw: str) -> None:
    ballots = {("shop", raw): Ballot(4, Counter({BAGS: 4})), ("a", "b"): Ballot(1)}
    backwards = dict(reversed(ballots.items()))
    assert list(proposals(ballots, RULES, TREE, VoteConfig()).items()) == list(proposals(backwards, RULES, TREE, VoteConfig()).items())
