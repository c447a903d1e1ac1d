"""A run stops when more rows are rejected than it may reject, and says which."""

import pytest

from prodcat.errors import TooManyRejected
from prodcat.poison import PoisonConfig, Tally


def test_it_stops_above_the_share_and_says_why() -> None:
    tally = Tally(PoisonConfig(share=0.1, least_rows=100), "classify")
    tally.add(50, {"failed": 40}, {"failed": "shop.csv, row 3: it is broken"})
    tally.add(350, {"failed": 0}, {})
    with pytest.raises(
        TooManyRejected, match=r"classify: stopped, for 41 of 401 rows .* classify.poison.share=0.1 allows: failed 41 \(such as shop.csv, row 3"
    ):
        tally.add(1, {"failed": 1}, {"failed": "another"})


def test_few_rows_are_not_judged_and_the_share_itself_is_allowed() -> None:
    tally = Tally(PoisonConfig(share=0.5, least_rows=10), "ingest")
    tally.add(9, {"bad": 9}, {})
    tally.add(9, {}, {})
    assert (tally.rows, tally.rejected, tally.most()) == (18, 9, [("bad", 9)])


def test_the_commonest_reasons_come_first() -> None:
    tally = Tally(PoisonConfig(share=0), "ingest")
    tally.add(10, {"a": 1, "b": 3}, {})
    assert tally.most() == [("b", 3), ("a", 1)]
