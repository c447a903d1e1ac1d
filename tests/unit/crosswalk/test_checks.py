"""Coverage and conflicts."""

from collections import Counter

from prodcat.crosswalk.checks import coverage, findings
from prodcat.crosswalk.mapping_file import Line
from prodcat.crosswalk.votes import Ballot, VoteConfig
from prodcat.taxonomy import Taxonomy

TREE = Taxonomy([("A", "B"), ("A", "C"), ("D",)])
VOTES = Counter({("A", "C"): 9, ("A", "B"): 1})


def found(*lines: Line, **ballots: Ballot) -> list[tuple[int, str, str]]:
    known = {("s", raw): ballot for raw, ballot in ballots.items()}
    return [(finding.line, finding.kind, finding.text) for finding in findings(lines, known, TREE, VoteConfig())]


def test_a_file_that_agrees_with_all_has_nothing_to_say() -> None:
    lines = [Line("s", "x", 1, ("A",), "exact", decision="accept", number=2), Line("s", "y", 1, number=3)]
    assert found(*lines, x=Ballot(10, VOTES, VOTES), y=Ballot(1)) == []


def test_labels_that_say_otherwise_are_an_error_where_the_line_is_accepted() -> None:
    line = Line("s", "x", 1, ("A", "B"), "exact", decision="accept", number=4)
    ((number, kind, text),) = found(line, x=Ballot(10, VOTES, VOTES))
    assert (number, kind) == (4, "error")
    assert text == "'x' of s is mapped to 'A > B', but 9 of its 10 labelled products are 'A > C'; change the path, or the labels"
    undecided = Line("s", "x", 1, ("A", "B"), "exact", number=4)
    assert [kind for _, kind, _ in found(undecided, x=Ballot(10, VOTES, VOTES))] == ["warning"]


def test_votes_that_say_otherwise_are_a_warning() -> None:
    line = Line("s", "x", 1, ("D",), "hand", decision="accept", number=4)
    ((_, kind, text),) = found(line, x=Ballot(10, VOTES))
    assert kind == "warning"
    assert "9 of 10 votes" in text
    rejected = Line("s", "x", 1, ("D",), "hand", decision="reject", number=4)
    assert found(rejected, x=Ballot(10, VOTES)) == []


def test_twice_not_in_the_tree_gone_and_undecided() -> None:
    lines = [
        Line("s", "x", 1, ("A",), "exact", number=2),
        Line("s", "x", 1, ("D",), "exact", number=3),
        Line("s", "y", 1, ("A", "Z"), "votes", decision="accept", number=4),
        Line("s", "z", 0, ("D",), "exact", decision="accept", number=5),
        Line("s", "y2", 1, ("D",), number=6),
        Line("t", "z", 0, ("D",), "exact", decision="accept", number=7),
    ]
    said = found(*lines, x=Ballot(1), y=Ballot(1), y2=Ballot(1))
    assert [(number, kind) for number, kind, _ in said] == [(3, "error"), (4, "error"), (5, "warning"), (6, "warning")]
    for (_, _, text), words in zip(
        said, ("stands in line 2 too", "'A > Z' is not in the tree", "no product", "by hand and no decision"), strict=True
    ):
        assert words in text


def test_coverage_counts_accepted_lines_by_level() -> None:
    lines = [
        Line("s", "leaf", 0, ("A", "B"), "exact", decision="accept"),
        Line("s", "top", 0, ("D",), "exact", decision="accept"),
        Line("s", "proposed", 0, ("D",), "exact"),
        Line("s", "rejected", 0, ("D",), "exact", decision="reject"),
        Line("s", "open", 0),
    ]
    ballots = {("s", raw): Ballot(count) for raw, count in (("leaf", 5), ("top", 3), ("proposed", 2), ("rejected", 1), ("open", 1), ("missing", 8))}
    ((platform, covered),) = coverage(lines, ballots, {"s": 4}).items()
    assert platform == "s"
    assert (covered.products, covered.raw_categories, covered.mapped, covered.mapped_products) == (20, 6, 2, 8)
    assert covered.by_level == {1: 8, 2: 5}
    assert (covered.proposed, covered.rejected, covered.open, covered.without_raw_category) == (1, 1, 2, 4)


def test_a_platform_without_any_raw_category_is_counted_too() -> None:
    assert coverage([], {}, {"s": 4})["s"].without_raw_category == 4
