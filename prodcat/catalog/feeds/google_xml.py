"""Google Merchant feeds as XML: RSS 2.0 (<item>) and Atom (<entry>), attributes in Google's namespace or without one. Streamed, in bounded memory.

A broken item costs itself: XML ends at its first error, so parsing begins anew at the next item. Nothing outside the file is opened, no entity may be
declared (so none can multiply), HTML's entities are understood, others cost their item.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from html.entities import html5
from typing import Any
from xml.parsers import expat

from prodcat.catalog.feeds.encodings import head_of, open_text, readable
from prodcat.catalog.feeds.google import GOOGLE_DEFAULTS, google_values
from prodcat.catalog.feeds.reader import FeedPart, RawRow, ReadOptions
from prodcat.location import Location

_ITEMS = ("item", "entry")
_NEXT_ITEM = re.compile(rb"<(?:item|entry)(?=[\s/>])")
_SWALLOWED = re.compile(r"</(item|entry)>\s*<\1(?=[\s/>])")
_ITEM_END = re.compile(rb"</(?:item|entry)>")
_DECLARED = re.compile(r"<\?xml[^>]*?encoding\s*=\s*[\"']([\w.:-]+)")
_NAMESPACE = "base.google.com/"
# One attribute each, by Google's rules: a second, different one leaves the item's identity open.
_SINGLE = ("id", "title")
_CHUNK = 65_536
_ITEM_BYTES = 8_000_000
_DEPTH = 100
# Stands for a byte that did not decode: expat takes no lone surrogates. A code point that is no character in any text.
_LOST = "\ufdd0"
_SURROGATE = re.compile("[\udc80-\udcff]")
_SNIPPET = 500


class GoogleXmlReader:
    name = "google_merchant_xml"
    suffixes: tuple[str, ...] = (".xml", ".rss", ".atom")
    defaults: Mapping[str, Any] = GOOGLE_DEFAULTS

    def recognises(self, head: str) -> bool:
        start = head.lstrip()
        return start.startswith("<?xml") or (start.startswith("<") and (_NAMESPACE in head or re.match(r"<(rss|feed)[\s>]", start) is not None))

    def columns(self, feed: Location, options: ReadOptions) -> list[str] | None:
        return None

    def parts(self, feed: Location) -> list[FeedPart]:
        return [FeedPart()]

    def rows(self, feed: Location, part: FeedPart, options: ReadOptions) -> Iterator[RawRow]:
        declared = _DECLARED.match(head_of(feed, options).lstrip())
        if declared and options.encoding == "utf-8":
            try:
                known = codecs.lookup(declared[1]).name
            except LookupError:
                detail = f"the XML declaration names the encoding {declared[1]!r}, which is none; map `encoding`, or save the feed as utf-8"
                yield RawRow(1, problem=("file_unreadable", detail))
                return
            # A declaration that was read byte by byte does not stand in UTF-16, whatever it says.
            options = options.model_copy(update={"encoding": "utf-8" if known.startswith(("utf-16", "utf-32")) else known})
        scanner = _Scanner()
        with open_text(feed, options) as stream:
            while not scanner.stopped:
                text = stream.read(_CHUNK)
                yield from scanner.feed(text)
                if not text:
                    return


class _Refused(Exception):
    """Inside this file: the document is not to be read any further."""


class _Swallowed(Exception):
    """Inside this file: a text holds the start of the next item."""


class _Scanner:
    """Text in pieces -> rows. Keeps the bytes since the last whole item, to go on behind an error."""

    def __init__(self) -> None:
        self.stopped = False
        self._rows: list[RawRow] = []
        self._row = 0
        self._root: str | None = None
        self._google = {"g"}  # prefixes of Google's namespace
        self._around: list[str] = []  # elements that were open around the last item
        self._searching = False
        self._explained = False  # an unclosed item was reported: that the end tags behind it do not fit is its echo
        self._buffer = b""
        self._begin(b"")

    def feed(self, text: str) -> list[RawRow]:
        """The rows that this piece completes. "" is the end of the file."""
        self._rows = []
        pending = _SURROGATE.sub(_LOST, text).encode("utf-8", "replace")
        self._buffer += pending
        if self._searching:
            pending = self._search(0)
        try:
            while not self._searching:
                try:
                    self._parser.Parse(pending, not text)
                    if not self._item_open and self._handled > self._base:
                        self._drop(self._handled - self._base)
                    elif self._base + len(self._buffer) - self._parser.CurrentByteIndex > _ITEM_BYTES:
                        raise _Refused(f"a tag or comment of more than {_ITEM_BYTES:,} bytes")
                    elif len(self._buffer) > 2 * _ITEM_BYTES:
                        self._drop(len(self._buffer) - _ITEM_BYTES)
                    break
                except expat.ExpatError as error:
                    pending = self._recover(error, ended=not text)
                except _Swallowed:
                    self._reject("xml_broken", f"{self._where()}: an open CDATA section; the next item stands inside it")
                    pending = self._search(max(self._item_start - self._base + 1, 1))
        except _Refused as refused:
            self._emit(problem=("file_unreadable", f"{refused}; the items before were taken"))
            self.stopped = True
        if not text and not self._rows and self._row == 0 and self._root not in ("rss", "feed", "RDF"):
            self._emit(problem=("file_unreadable", f"no <item> (RSS) and no <entry> (Atom) in it; its root is <{self._root}>"))
        return self._rows

    def _begin(self, prolog: bytes) -> None:
        """A parser for what stands in the buffer, as if `prolog` stood before."""
        self._parser = expat.ParserCreate(encoding="utf-8")
        self._parser.UseForeignDTD(True)  # what makes an undefined entity a call and not an error; the handler below opens nothing
        self._parser.ExternalEntityRefHandler = lambda *_: 1
        self._parser.SkippedEntityHandler = self._entity
        self._parser.EntityDeclHandler = self._declared
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._stack: list[str] = []
        self._item_open = False
        self._base = self._handled = len(prolog)
        if prolog:
            self._parser.Parse(prolog, False)

    def _recover(self, error: expat.ExpatError, ended: bool) -> bytes:
        """After an error: tells of it, and gives what the next parser is to read. Sets `_searching` if no item follows in what is there."""
        at = max(0, self._parser.ErrorByteIndex - self._base)
        what = expat.ErrorString(error.code)
        # 3: nothing was open any more or yet, 5: a tag that ends nowhere; both are how a file that is cut off ends.
        if ended and error.code in (3, 5):
            if self._item_open:
                self._reject("file_unreadable", f"the file ends inside {self._where()}; the items before were taken")
            elif not self._explained:
                self._emit(problem=("file_unreadable", f"the file ends before its end tag ({what}); the items before were taken"))
            self._searching = True
            self._buffer = b""
            return b""
        if self._item_open:
            # 20: a CDATA section that is never closed; what it has swallowed is read from the next item on.
            at = max(at if error.code != 20 else 0, self._item_start - self._base + 1)
            hint = "; is '&' or '<' written as it is, and not as &amp; or &lt;?" if error.code == 4 else ""
            self._reject("xml_broken", f"{self._where()}: {what}{hint}")
        elif not self._explained:
            self._emit(problem=("xml_broken", f"between the items, behind item {self._row}: {what}; what may have stood there is lost"))
        # Never where this parser began, or an error in that very tag would be met again and again.
        return self._search(max(at, 1))

    def _search(self, start: int) -> bytes:
        found = _NEXT_ITEM.search(self._buffer, start)
        self._searching = found is None
        if found is None:
            self._buffer = self._buffer[-len(b"<entry ") :]
            return b""
        self._buffer = self._buffer[found.start() :]
        around = self._around or (["feed"] if self._buffer.startswith(b"<entry") else ["rss", "channel"])
        self._begin("".join(f"<{name}>" for name in around).encode())
        return self._buffer

    def _drop(self, count: int) -> None:
        self._buffer = self._buffer[count:]
        self._base += count

    # What expat calls.

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._root is None:
            self._root = tag.rpartition(":")[2]
            self._google |= {name[6:] for name, uri in attributes.items() if name.startswith("xmlns:") and _NAMESPACE in uri}
        if len(self._stack) >= _DEPTH:
            raise _Refused(f"elements stand more than {_DEPTH} deep inside each other")
        if tag in _ITEMS:
            if self._item_open:
                self._reject("xml_broken", f"{self._where()}: the next <{tag}> begins before this one is closed")
                self._explained = True
            else:
                self._around = list(self._stack)
            self._item_open, self._item_depth, self._item_start = True, len(self._stack) + 1, self._parser.CurrentByteIndex
            self._values: dict[str, tuple[int, Any]] = {}
            self._problem: tuple[str, str] | None = None
            self._field: str | None = None
            self._size = 0
        elif self._item_open:
            if len(self._stack) == self._item_depth:
                self._field, self._text = tag, [attributes["href"]] if tag == "link" and "href" in attributes else []
                self._has_elements = False
            else:
                self._has_elements = True
                self._characters(" ")
        self._stack.append(tag)

    def _end(self, tag: str) -> None:
        depth = len(self._stack)
        self._stack.pop()
        if not self._item_open:
            return
        if depth == self._item_depth:
            values = {name: value for name, (_, value) in self._values.items()}
            if self._problem is not None:
                self._reject(*self._problem)
            else:
                self._emit(google_values({"id": None, "title": None} | values))
            self._item_open = False
            self._handled = self._parser.CurrentByteIndex
        elif depth == self._item_depth + 1 and self._field is not None:
            value = "".join(self._text).replace(_LOST, "\udcff").strip()
            if "<" in value and _SWALLOWED.search(value):
                raise _Swallowed
            self._keep(self._field, " ".join(value.split()) if self._has_elements else value)
            self._field = None
        elif self._field is not None:
            self._characters(" ")

    def _characters(self, data: str) -> None:
        if self._item_open and self._field is not None:
            self._size += len(data)
            if self._size > _ITEM_BYTES:
                self._problem = ("item_too_large", f"{self._where()}: the item has more than {_ITEM_BYTES:,} characters")
            else:
                self._text.append(data)

    def _entity(self, name: str, is_parameter: bool) -> None:
        if self._item_open and self._field is not None:
            if f"{name};" in html5:
                self._text.append(html5[f"{name};"])
            else:
                self._problem = ("xml_undefined_entity", f"{self._where()}: &{name}; is not defined; write the character itself")

    def _declared(self, name: str, *_: Any) -> None:
        raise _Refused(f"the document declares the entity {name!r}; entities may multiply or reach outside, so none is read: write the text itself")

    def _keep(self, tag: str, value: str) -> None:
        prefix, _, name = tag.rpartition(":")
        rank = 2 if prefix in self._google else 1 if not prefix else 0
        key = name if rank else tag
        before = self._values.get(key)
        if not value or (before is not None and before[0] > rank):
            return
        if before is not None and before[0] == rank:
            if key in _SINGLE and value != before[1]:
                # As a list it is refused by whoever needs it as text, with the element's name.
                self._values[key] = (rank, [*(before[1] if isinstance(before[1], list) else [before[1]]), value])
            return
        self._values[key] = (rank, value)

    # Rows.

    def _where(self) -> str:
        return f"element <{self._field}>" if self._field is not None else f"element <{self._stack[self._item_depth - 1]}>"

    def _reject(self, reason: str, detail: str) -> None:
        start = max(0, self._item_start - self._base)
        snippet = _ITEM_END.split(self._buffer[start : start + _SNIPPET], maxsplit=1)[0]
        self._emit(problem=(reason, detail), text=readable(snippet.decode("utf-8", "replace")))
        self._item_open = False
        self._explained = False

    def _emit(self, values: dict[str, Any] | None = None, problem: tuple[str, str] | None = None, text: str | None = None) -> None:
        self._row += 1
        self._rows.append(RawRow(self._row, values, problem, text))
