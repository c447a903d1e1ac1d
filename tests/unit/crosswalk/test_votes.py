"""Votes of products: how deep they agree, and what counts as a vote."""

from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from prodcat.crosswalk.votes import VoteConfig, answers_of, ballots, labelled_counts, winner

A, B, C = ("X", "A"), ("X", "B"), ("Y", "C")


def table(rows: list[tuple[str, str | None, tuple[str, ...] | None, str | None]]) -> pa.Table:
    return pa.table(
        {
            "key": [f"s/{number}" for number in range(len(rows))],
            "platform": [platform for platform, *_ in rows],
            "raw_category": pa.array([raw for _, raw, *_ in rows], pa.string()),
            "path": pa.array([list(path) if path else None for *_, path, _ in rows], pa.list_(pa.string())),
            "label_source": pa.array([source for *_, source in rows], pa.string()),
        }
    )


def test_votes_go_down_as_far_as_they_agree() -> None:
    config = VoteConfig(agreement=0.8, products=3)
    assert winner(Counter({A: 4, B: 1}), config) == A
    assert winner(Counter({A: 3, B: 2}), config) == ("X",)
    assert winner(Counter({A: 3, C: 2}), config) is None
    # One that stops higher counts against every child.
    assert winner(Counter({A: 3, ("X",): 2}), config) == ("X",)
    assert winner(Counter({A: 2}), config) is None
    assert winner(Counter(), config) is None


def test_an_unsure_answer_votes_only_for_the_levels_it_is_sure_of() -> None:
    predictions = pa.table(
        {
            "key": ["s/0", "s/1", "s/2"],
            "path": [["X", "A"], ["X", "A"], ["Y", "C"]],
            "confidences": [[0.9, 0.8], [0.9, 0.4], [0.3, 0.2]],
        }
    )
    assert answers_of(predictions, 0.5) == {"s/0": A, "s/1": ("X",), "s/2": ()}


def test_labels_stand_for_answers_and_a_crosswalk_s_own_labels_are_none() -> None:
    rows = [("s", "raw", A, "feed"), ("s", "raw", None, None), ("s", "raw", B, "crosswalk"), ("s", None, A, None), ("t", "raw", None, None)]
    found = ballots(table(rows), {"s/0": C, "s/1": C, "s/2": A})
    ballot = found["s", "raw"]
    assert (ballot.products, ballot.votes, ballot.labels) == (3, Counter({A: 2, C: 1}), Counter({A: 1}))
    assert ballot.share(("X",)) == 2 / 3
    assert found["t", "raw"].share(A) is None
    assert set(found) == {("s", "raw"), ("t", "raw")}
    assert labelled_counts([(A, None), (B, "crosswalk"), (None, None)]) == Counter({A: 1})


VOTES = st.dictionaries(st.lists(st.sampled_from("abc"), max_size=3).map(tuple), st.integers(1, 9), max_size=8).map(Counter)


@given(VOTES, st.floats(0.51, 1.0))
def test_every_level_of_the_winner_has_the_agreement_and_no_child_of_it_has(votes: Counter[tuple[str, ...]], agreement: float) -> None:
    path = winner(votes, VoteConfig(agreement=agreement, products=1))
    total = votes.total()

    def share(prefix: tuple[str, ...]) -> float:
        return sum(count for vote, count in votes.items() if vote[: len(prefix)] == prefix)

    for level in range(1, len(path or ()) + 1):
        assert share((path or ())[:level]) >= agreement * total
    assert all(share((*(path or ()), child)) < agreement * total for child in "abc") or not votes
