"""From the bytes of a text feed to text: byte order marks, codec names, and what to do with bytes that are no text. Knows no format."""

import codecs
import io

import pyarrow as pa

from prodcat.catalog.feeds.reader import ReadOptions
from prodcat.errors import FeedError
from prodcat.location import Location

# utf-32 first: its mark begins with that of utf-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEAD_BYTES = 65_536


def codec(feed: Location, start: bytes, named: str) -> str:
    """The codec of a feed: that of its byte order mark, else the named one.

    Args:
        feed: for the message.
        start: the feed's first four bytes, or more.
        named: ReadOptions.encoding.

    Raises:
        FeedError: nobody knows the name.
    """
    try:
        codecs.lookup(named)
    except LookupError as error:
        raise FeedError(f"{feed.source}: unknown encoding {named!r}; expected a codec name such as utf-8, cp1252, utf-16") from error
    return next((name for mark, name in _MARKS if start.startswith(mark)), named)


def open_text(feed: Location, options: ReadOptions) -> io.TextIOWrapper:
    """The feed as text, line ends as they stand. Bytes that do not decode become lone surrogates, so that they cost their row and not the file."""
    binary = io.BufferedReader(feed.open_stream())
    return io.TextIOWrapper(binary, encoding=codec(feed, binary.peek(4)[:4], options.encoding), errors="surrogateescape", newline="")


def read_text(feed: Location, options: ReadOptions) -> tuple[str, Exception | None]:
    """All of a feed, and the error that ended reading early, for a file that is cut off has rows before its end. Surrogates as in `open_text`."""
    text: list[str] = []
    with open_text(feed, options) as stream:
        try:
            while piece := stream.read(_HEAD_BYTES):
                text.append(piece)
        except (OSError, EOFError, UnicodeError, pa.ArrowException) as error:
            return "".join(text), error
    return "".join(text), None


def head_of(feed: Location, options: ReadOptions) -> str:
    """How a feed begins, at most 64 KiB, without its byte order mark; "" if it cannot be opened. Bytes that do not decode are replaced."""
    try:
        with feed.open_stream() as stream:
            data = bytes(stream.read(_HEAD_BYTES))
    except (OSError, EOFError, pa.ArrowException):
        return ""  # whoever reads its rows is told why
    return data.decode(codec(feed, data, options.encoding), "replace").lstrip("\ufeff")


def is_undecodable(text: str) -> bool:
    """Whether lone surrogates stand in it, as `open_text` makes of bytes that do not decode."""
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def readable(text: str) -> str:
    """For tables and messages: surrogates and NUL as U+FFFD."""
    return text.rstrip("\r\n").encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "\ufffd")
