"""HTML to text: what goes, what stays, and that text which is no HTML is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.catalog.markup import looks_like_html, plain_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>One</p><p>Two &amp; three</p>", "One Two & three"),
        ("a <b>bold</b>er word<br/>next", "a bolder word next"),
        ("&lt;p&gt;Escaped&lt;/p&gt;", "Escaped"),
        ("&amp;lt;p&amp;gt;Escaped twice", "Escaped twice"),
        ("<script>var a = '<p>';</script><style>p {}</style>Seen", "Seen"),
        ("<P CLASS='x'>Loud</P>", "Loud"),
        ("R&amp;D 5&nbsp;&deg;C &#8482;", "R&D 5 °C ™"),
        ("<p>size < 40 cm, I <3 it", "size < 40 cm, I <3 it"),
        ("<p>the tag &lt;b&gt; as text</p>", "the tag <b> as text"),
        ("<p>cut off <a href='x", "cut off"),
        ("<!-- note -->Seen", "Seen"),
        ("<p>Size <M></p>", "Size <M>"),
    ],
)
def test_html_becomes_text(text: str, expected: str) -> None:
    assert plain_text(text) == expected


@pytest.mark.parametrize("text", ["Sizes <S> <M> <L>", "a < b and c > d", "M&S", "AT&T &co", "two  spaces\nand a line", "<3", "x<y>z"])
def test_text_that_is_no_html_is_left_as_it_is(text: str) -> None:
    assert plain_text(text) == text


@given(st.text(st.sampled_from("<>/&;pb a=\"'!-#x1"), max_size=40))
def test_whatever_stands_there_gives_text(text: str) -> None:
    assert plain_text(text) == text or looks_like_html(text)


def test_text_too_long_to_parse_is_left_as_it_is() -> None:
    text = "<!" * 200_000 + "<p>"
    assert plain_text(text) == text
