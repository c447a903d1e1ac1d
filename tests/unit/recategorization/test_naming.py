"""Names of clusters from the words of their own titles."""

import random

from prodcat.recategorization.naming import NamingConfig, general_words, name_clusters, words_of

SHOES = ("Footwear", "Shoes")
TITLES = [
    [f"Acme men black formal lace up shoes {number}" for number in range(20)],
    [f"Acme {colour} running shoes" for colour in ("red", "blue", "white")] * 5 + ["Zeta running shoe"] * 3,
    [f"Zeta women high heels {number}" for number in range(12)],
]
KNOWN = [("Footwear", "Heels"), ("Footwear", "Sport", "Running"), ("Apparel", "Shirts"), ("Footwear", "Formal Shoes")]


def test_the_name_is_what_the_others_do_not_say() -> None:
    found = name_clusters(TITLES, SHOES, KNOWN, NamingConfig(), ignored=["Acme", "Zeta"])
    assert [cluster.name for cluster in found][1:] == ["Running", "High Heels"]
    terms = [dict(cluster.terms) for cluster in found]
    assert "formal" in terms[0]
    assert "heels" in terms[2]
    # Neither the branch's own words, in any form, nor brands.
    assert not {word for cluster in terms for term in cluster for word in term.split()} & {"shoes", "shoe", "acme", "zeta", "footwear"}


def test_known_categories_of_a_like_name_are_told() -> None:
    running = name_clusters(TITLES, SHOES, KNOWN, NamingConfig(), ignored=["Acme", "Zeta"])[1]
    assert running.nearest == ((("Footwear", "Sport", "Running"), 100.0),)
    assert name_clusters(TITLES, SHOES, KNOWN, NamingConfig(nearest=0))[1].nearest == ()


def test_clusters_that_are_called_alike_have_one_name_and_one_without_words_has_none() -> None:
    found = name_clusters([["plain cap"] * 4, ["plain cap"] * 4, [], ["1 2 3", "x"]], ("Hats",), [], NamingConfig())
    names = [cluster.name for cluster in found]
    assert names[0] == names[1] == "Plain Cap"
    assert names[2:] == [None, None]
    assert found[2].terms == ()


def test_words_that_most_categories_have_name_none() -> None:
    titles = {(name,): [f"Acme men black {name}"] * 10 + [f"white {name} sale"] * 10 for name in ("shirt", "shoe", "belt", "bag", "watch")}
    assert general_words(titles, NamingConfig()) == ["acme", "black", "men", "sale", "white"]
    assert general_words(titles, NamingConfig(general_share=0.6)) == []
    # Too few categories, or titles, to say so.
    assert general_words(dict(list(titles.items())[:4]), NamingConfig()) == []
    assert general_words({path: each[5:15] for path, each in titles.items()}, NamingConfig()) == []


def test_the_order_of_titles_is_nothing() -> None:
    shuffled = [random.Random(0).sample(cluster, len(cluster)) for cluster in TITLES]
    assert name_clusters(shuffled, SHOES, KNOWN, NamingConfig()) == name_clusters(TITLES, SHOES, KNOWN, NamingConfig())


def test_words_in_any_script() -> None:
    assert words_of("T-Shirt Größe 42 «Été»") == ["shirt", "grosse", "ete"]
