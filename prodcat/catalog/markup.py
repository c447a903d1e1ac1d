"""HTML in texts -> plain text, with the standard library's parser. Knows neither products nor feeds."""

import re
from html import unescape
from html.parser import HTMLParser

# Only names of HTML are tags: "<M>" in a title is a size, and so is "<S>", whatever HTML calls it. Tags that begin a line, a cell or a picture part
# words; those within a line do not.
_INLINE = frozenset(
    re.findall(
        r"\w+",
        "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd mark samp small span strike strong sub sup time tt u var wbr",
    )
)
_BLOCK = frozenset(
    re.findall(
        r"\w+",
        "address article aside audio blockquote body br button canvas caption center col colgroup dd details dialog div dl dt fieldset figcaption "
        "figure footer form frame h1 h2 h3 h4 h5 h6 head header hr html iframe img input label legend li link main map meta nav noscript object ol "
        "optgroup option p picture pre section select source summary svg table tbody td textarea tfoot th thead title tr ul video",
    )
)
_DROPPED = frozenset(("script", "style"))
_TAGS = _INLINE | _BLOCK | _DROPPED
_LOOKS = re.compile(r"</?(?i:" + "|".join(sorted(_TAGS)) + r")(?=[\s/>])[^<]*>|<!--|&(?:#\d{2,7}|#[xX][0-9a-fA-F]{2,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
_CUT_OFF = re.compile(r"</?(?i:" + "|".join(sorted(_TAGS)) + r")(?=[\s/>])|<!--")
# Feeds escape HTML when they put it into XML or CSV, and some twice.
_PASSES = 3
# Longer text is left as it is: the parser's time grows with the square of what is broken.
_LONGEST = 200_000


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.tags = 0
        self._inside_dropped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags += tag in _TAGS
        if tag in _DROPPED:
            self._inside_dropped += 1
        elif tag in _BLOCK:
            self.pieces.append(" ")
        elif tag not in _INLINE:
            self.pieces.append(self.get_starttag_text() or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _DROPPED:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED:
            self._inside_dropped = max(0, self._inside_dropped - 1)
            self.pieces.append(" ")
        elif tag in _BLOCK:
            self.pieces.append(" ")
        elif tag not in _INLINE:
            self.pieces.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._inside_dropped:
            self.pieces.append(data)

    def rest(self) -> str:
        """What the parser still waits to see the end of: "size < 40" looks like the start of a tag, "<a href='x" is one that was cut off."""
        return "" if self._inside_dropped or _CUT_OFF.match(self.rawdata) else unescape(self.rawdata)


def looks_like_html(text: str) -> bool:
    """Whether a tag or an entity of HTML stands in it."""
    return ("<" in text or "&" in text) and _LOOKS.search(text) is not None


def plain_text(text: str) -> str:
    """Text without tags, entities and runs of white space; what stands in script and style is no text. Text without HTML, or of more
    than 200,000 characters, comes back as it is."""
    for _ in range(_PASSES):
        if len(text) > _LONGEST or not looks_like_html(text):
            return text
        parser = _Text()
        parser.feed(text)
        text = " ".join(("".join(parser.pieces) + parser.rest()).split())
        if parser.tags:
            return text  # what looks like a tag now was written as text beside real ones
    return text
