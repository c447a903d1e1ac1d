"""Two hundred bodies that mean harm: each is refused, or answered by its title, within seconds, and all of them together leave no memory behind."""

import base64
import gc
import gzip
import io
import json
import struct
import time
import tracemalloc
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from prodcat.contracts import Product
from prodcat.prediction.cascade import Cascade
from prodcat.serving.api import create_api
from prodcat.serving.limits import RequestLimits
from prodcat.serving.models import Asked
from prodcat.serving.recent import Result
from prodcat.serving.remote_images import RemoteImageConfig, RemoteImages
from prodcat.serving.schema import ModelInfo

LIMITS = RequestLimits(max_body_bytes=2_000_000, max_products=16)
JSON, FORM = "application/json", "multipart/form-data; boundary=b"
ONE, MANY = "/v1/classify", "/v1/classify/batch"
# One body, on a machine that may be busy; most take a millisecond. Bytes: what all of them together may leave behind, and what one may take.
SECONDS, LEFT, PEAK = 2.0, 3_000_000, 40_000_000


class Body(NamedTuple):
    """Args: saved: answered all the same, 200, by its title; the image's problem is named."""

    name: str
    content: bytes
    path: str = ONE
    kind: str = JSON
    saved: bool = False
    headers: tuple[tuple[str, str], ...] = ()


# ---- JSON ------------------------------------------------------------------------------------------------------------------------


def _json_bodies() -> Iterator[Body]:
    deep = {
        "lists": b"[" * 500_000,
        "closed lists": b"[" * 200_000 + b"]" * 200_000,
        "objects": b'{"title":' * 100_000,
        "closed objects": b'{"title":' * 50_000 + b"1" + b"}" * 50_000,
        "mixed": b'[{"title":' * 50_000,
        "lists as title": b'{"title":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        "lists under the limit": b'{"title":' + b"[" * 400 + b"]" * 400 + b"}",
    }
    values = {
        "NaN": b"NaN",
        "Infinity": b"Infinity",
        "-Infinity": b"-Infinity",
        "1e999": b"1e999",
        "-1e999": b"-1e999",
        "1e-999": b"1e-999",
        "4300 digits": b"9" * 4_300,
        "4301 digits": b"9" * 4_301,
        "million digits": b"9" * 1_000_000,
        "million decimals": b"0." + b"9" * 1_000_000,
        "high surrogate": b'"\\ud83d"',
        "low surrogate": b'"\\ude00"',
        "surrogates swapped": b'"\\ude00\\ud83d"',
        "raw surrogate": b'"\xed\xa0\x80"',
        "overlong": b'"\xc0\xaf"',
        "beyond unicode": b'"\xf4\x90\x80\x80"',
        "NUL": b'"\\u0000"',
        "too long": b'"' + b"x" * 1_900_000 + b'"',
        "emojis": b'"' + "\U0001f600".encode() * 400_000 + b'"',
        "combining marks": b'"a' + "\u0301".encode() * 900_000 + b'"',
        "escapes": b'"' + b"\\u0041" * 300_000 + b'"',
        "bool": b"true",
        "number": b"1",
        "list": b'["boots"]',
        "object": b'{"boots": 1}',
        "control character": b'"a\nb"',
        "bad escape": b'"\\x41"',
        "single quotes": b"'boots'",
        "python": b"None",
        "half": b'"boo',
    }
    for name, content in deep.items():
        yield Body(f"deep {name}", content)
        yield Body(f"deep {name} in a batch", b'{"products":[' + content, MANY)
    for name, value in values.items():
        yield Body(f"title {name}", b'{"title": ' + value + b"}")
        yield Body(f"product's title {name}", b'{"products": [{"title": "boots"}, {"title": ' + value + b"}]}", MANY)
    whole = json.dumps({"title": "boots", "brand": "Acme"}).encode()
    for cut in range(1, len(whole), 7):
        yield Body(f"cut at {cut}", whole[:cut])
    yield Body("two documents", whole * 2)
    yield Body("trailing comma", b'{"title": "boots",}')
    yield Body("comment", b'{"title": "boots"} // yes')
    yield Body("byte order mark", b"\xef\xbb\xbf{" + whole)
    yield Body("UTF-16 half", whole.decode().encode("utf-16")[:-1])
    yield Body("UTF-32 garbage", b"\x00\x00\x00{" * 1_000)
    yield Body("white space", b" " * 1_900_000)
    yield Body("binary", bytes(range(256)) * 1_000)
    yield Body("duplicate key, last wrong", b'{"title": "boots", "title": 1}')
    yield Body("duplicate keys", b'{"title": 1' + b', "title": 1' * 100_000 + b"}")
    yield Body("many keys", json.dumps({f"k{n}": 1 for n in range(100_000)}).encode())
    yield Body("huge key", b'{"' + b"k" * 1_900_000 + b'": 1}')
    yield Body("prototype", b'{"__proto__": {"title": "boots"}}')
    yield Body("class", b'{"__class__": "os.system", "title": "boots"}')
    for name, products in {
        "many": [{}] * 100_000,
        "one too many": [{"title": "boots"}] * 17,
        "null": None,
        "text": "boots",
        "object": {"0": {"title": "boots"}},
        "lists": [[]] * 100_000,
        "nulls": [None] * 100_000,
        "wrong keys": [{f"k{n}": n} for n in range(50_000)],
    }.items():
        yield Body(f"products {name}", json.dumps({"products": products}).encode(), MANY)


# ---- images ----------------------------------------------------------------------------------------------------------------------


def _png(width: int, height: int, *, data: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def _saved(kind: str, side: int = 64, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.radial_gradient("L").resize((side, side)).convert("RGB").save(stream, kind, **options)
    return stream.getvalue()


def _gif(width: int, height: int) -> bytes:
    size = struct.pack("<HH", width, height)
    return b"GIF89a" + size + b"\x80\0\0\0\0\0\xff\xff\xff," + b"\0\0\0\0" + size + b"\0\x02\x02D\x01\0;"


def _bmp(width: int, height: int, compression: int = 0) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, compression, 0, 1, 1, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 12, 0, 0, 54) + info + b"\0" * 12


def _tiff(width: int, height: int, *, strips: int = 1, next_directory: int = 0) -> bytes:
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, strips, 8), (279, 4, strips, 10)]
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + body + struct.pack("<I", next_directory)


def _webp(width: int, height: int) -> bytes:
    head = b"\0\0\0\0" + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"RIFF" + struct.pack("<I", 4 + 8 + len(head)) + b"WEBPVP8X" + struct.pack("<I", len(head)) + head


def _images() -> dict[str, bytes]:
    jpeg, png, webp = _saved("JPEG"), _saved("PNG"), _saved("WEBP")
    return {
        "PNG of 50,000 x 50,000": _png(50_000, 50_000),
        "PNG of 2^31": _png(2**31 - 1, 2**31 - 1),
        "PNG of 2^31 x 1": _png(2**31 - 1, 1),
        "PNG of 0 x 0": _png(0, 0),
        "PNG that unpacks to 1 GB": _png(20_000, 20_000, data=b"\0" * 30_000_000),
        "PNG of 16 bits, 30,000 x 30,000": _png(30_000, 30_000, depth=16, colour=6),
        "PNG of 1 bit, 60,000 x 60,000": _png(60_000, 60_000, depth=1, colour=0),
        "PNG whose text unpacks to much": png[:33] + _text_chunk() + png[33:],
        "GIF of 65,535 x 65,535": _gif(65_535, 65_535),
        "GIF of 0 x 0": _gif(0, 0),
        "BMP of 2^31": _bmp(2**31 - 1, 2**31 - 1),
        "BMP of -2^31": _bmp(-(2**31), -(2**31)),
        "BMP of RLE, 60,000 x 60,000": _bmp(60_000, 60_000, 1),
        "TIFF of 2^31": _tiff(2**31, 2**31),
        "TIFF of many strips": _tiff(100, 100, strips=2**31),
        "TIFF in a circle": _tiff(50_000, 50_000, next_directory=8),
        "WebP of 16,384 x 16,384": _webp(16_384, 16_384),
        "WebP of 2^24": _webp(2**24, 2**24),
        "JPEG cut in its head": jpeg[:60],
        "JPEG of 65,535 x 65,535": jpeg.replace(b"\xff\xc0\0\x11\x08\0\x40\0\x40", b"\xff\xc0\0\x11\x08\xff\xff\xff\xff"),
        "PNG cut in its head": png[:20],
        "WebP cut": webp[: len(webp) // 2],
        "JPEG's head and nonsense": jpeg[:20] + b"\xff" * 5_000,
        "PNG's head and a JPEG": png[:8] + jpeg,
        "GIF's head and HTML": b"GIF89a<script>alert(1)</script>",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "SVG of entities": b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><svg>&c;</svg>',
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n(/etc/passwd) (r) file\n",
        "PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj",
        "ZIP": b"PK\x03\x04" + b"\0" * 100,
        "gzip": gzip.compress(b"\0" * 10_000_000),
        "Photoshop": b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 30_000, 30_000, 8, 3),
        "ICO": b"\0\0\1\0\1\0\0\0\0\0\1\0\x20\0" + struct.pack("<II", 2**31, 22),
        "one byte": b"\xff",
        "zeros": b"\0" * 1_000_000,
        "PNG of 1 x 1": _png(1, 1, data=b"\0\0\0\0"),
        "PNG of 1 x 5,000": _saved_strip(),
    }


def _saved_strip() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (1, 5_000)).save(stream, "PNG")
    return stream.getvalue()


def _text_chunk() -> bytes:
    body = b"Comment\0\0" + zlib.compress(b"x" * 80_000_000, 9)
    return struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))


def _image_bodies() -> Iterator[Body]:
    for name, image in _images().items():
        text = base64.b64encode(image).decode()
        yield Body(f"{name}, alone", json.dumps({"image": text}).encode())
        yield Body(f"{name}, with a title", json.dumps({"title": "boots", "image": text}).encode(), saved=True)
        yield Body(f"{name}, as a form", _part('name="image"; filename="x"', image) + b"--b--\r\n", kind=FORM)
    for name, text in {
        "padding": "=" * 100_000,
        "no base64": "*" * 100_000,
        "URL": "http://169.254.169.254/",
        "data of text": "data:text/html,x",
    }.items():
        yield Body(f"image {name}", json.dumps({"title": "boots", "image": text}).encode())


# ---- URLs, forms, encodings --------------------------------------------------------------------------------------------------------


def _url_bodies() -> Iterator[Body]:
    for url in (
        "http://127.0.0.1/",
        "http://localhost:8000/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "https://shop.example@evil.example/",
        "https://shop.example#@evil.example/",
        "https://shop.example\\@evil.example/",
        "https://evil.example/?shop.example",
        "https://shop.example.evil.example/",
        "file:///etc/passwd",
        "gopher://shop.example/_x",
        "ftp://shop.example/x",
        "data:image/png;base64,AAAA",
        "//shop.example/x",
        "https://shop.example:22/",
        "https://shop.example:99999/",
        "https://shop.example/\r\nHost: evil.example",
        "https://ｓｈｏｐ.evil.example/",
        "https://shop.example%00.evil.example/",
        "javascript:alert(1)",
        "http://metadata.google.internal/",
        "https://" + "a." * 900 + "example/",
    ):
        yield Body(f"URL {url[:60]!r}", json.dumps({"image_url": url}).encode())


def _part(disposition: str, value: bytes, headers: str = "") -> bytes:
    return f"--b\r\nContent-Disposition: form-data; {disposition}\r\n{headers}\r\n".encode() + value + b"\r\n"


def _form_bodies() -> Iterator[Body]:
    title, end = _part('name="title"', b"boots"), b"--b--\r\n"
    contents = {
        "100,000 parts": title * 20_000 + end,
        "empty parts": b"--b\r\n\r\n" * 100_000 + end,
        "boundaries only": b"--b\r\n" * 300_000,
        "almost boundaries": _part('name="nope"', b"\r\n--" * 400_000),
        "line ends": b"\r\n" * 900_000,
        "dashes": b"-" * 1_900_000,
        "headers": _part('name="title"', b"x", "X: y\r\n" * 200_000) + end,
        "a long header": _part('name="title"', b"x", "X: " + "y" * 1_900_000 + "\r\n") + end,
        "a long name of a header": _part('name="title"', b"x", "X" * 1_900_000 + ": y\r\n") + end,
        "a long name": _part(f'name="{"n" * 1_900_000}"', b"x") + end,
        "semicolons": _part('name="title"' + ";" * 2_000, b"x") + title + end,
        "quotes": _part('name="' + '\\"' * 900 + '"', b"x") + end,
        "half": title + b"--b\r\nContent-Disp",
        "a path": _part('name="title"; filename="../../etc/passwd"', b"x") + end,
        "a nested form": _part('name="title"', b"x", "Content-Type: multipart/mixed; boundary=c\r\n") + title + end,
        "two images": _part('name="image"; filename="a"', b"x") * 2 + end,
        "a title of 1.9 MB": _part('name="title"', b"x" * 1_900_000) + end,
        "another encoding": _part('name="title"', "boots".encode("utf-16")) + end,
    }
    for name, content in contents.items():
        yield Body(f"form of {name}", content, kind=FORM)
    for kind in (
        "multipart/form-data",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=" + "b" * 60_000,
        "multipart/form-data; " + ";" * 9_000,
    ):
        yield Body(f"form of kind {kind[:40]!r} {len(kind)}", title + end, kind=kind)
    yield Body("a form for a batch", title + end, MANY, FORM)


def _encoded_bodies() -> Iterator[Body]:
    whole = json.dumps({"title": "boots"}).encode()
    bomb = gzip.compress(b" " * 100_000_000, 9)
    for path in (ONE, MANY):
        yield Body("gzip bomb", bomb, path, headers=(("Content-Encoding", "gzip"),))
        yield Body("gzip of gzip", gzip.compress(bomb), path, headers=(("Content-Encoding", "gzip, gzip"),))
        yield Body("deflate", zlib.compress(whole), path, headers=(("Content-Encoding", "deflate"),))
        for kind in (
            "",
            "text/plain",
            "application/xml",
            "application/x-www-form-urlencoded",
            "image/png",
            "multipart/mixed; boundary=b",
            "application/x-ndjson",
            "json",
        ):
            yield Body(f"Content-Type {kind!r}", whole, path, kind)
        yield Body("too large", b" " * 2_000_001, path)
        yield Body("empty", b"", path)


BODIES = [*_json_bodies(), *_image_bodies(), *_url_bodies(), *_form_bodies(), *_encoded_bodies()]


class Answering:
    def __init__(self, cascade: Cascade, info: ModelInfo) -> None:
        self._cascade, self.info = cascade, info

    async def classify(self, products: Sequence[Product], asked: Asked = ()) -> list[Result]:
        return self._cascade.classify(products)

    def close(self) -> None:
        pass


@pytest.fixture
def client(cascade: Cascade, model_info: ModelInfo) -> Iterator[TestClient]:
    async def ready() -> str | None:
        return None

    async def no_name(name: str) -> list[str]:
        assert name == "shop.example", f"{name} was looked up"
        raise OSError("no such host")

    # Images by URL are on, for a host of which none of these is.
    remote = RemoteImages(RemoteImageConfig(allow=("shop.example",)), resolver=no_name)
    with TestClient(create_api(Answering(cascade, model_info), LIMITS, ready, images=remote)) as client:
        yield client


def _send(client: TestClient, body: Body) -> tuple[int, dict[str, Any]]:
    answer = client.post(body.path, content=body.content, headers={"Content-Type": body.kind, **dict(body.headers)})
    assert len(answer.content) < 4_000, body.name
    return answer.status_code, answer.json()


def test_there_are_two_hundred_of_them_and_no_two_alike() -> None:
    assert len({(body.path, body.kind, body.headers, body.content) for body in BODIES}) == len(BODIES) >= 200


@pytest.mark.parametrize("path", [ONE, MANY])
def test_each_is_refused_or_saved_by_its_title_in_time_and_leaves_nothing(client: TestClient, path: str) -> None:
    bodies = [body for body in BODIES if body.path == path]
    for body in bodies[:20]:
        _send(client, body)
    gc.collect()
    tracemalloc.start()
    before, worst = tracemalloc.get_traced_memory()[0], 0
    wrong: list[str] = []
    for body in bodies:
        tracemalloc.reset_peak()
        held = tracemalloc.get_traced_memory()[0]
        started = time.perf_counter()
        status, document = _send(client, body)
        seconds, peak = time.perf_counter() - started, tracemalloc.get_traced_memory()[1] - held
        worst = max(worst, peak)
        if body.saved:
            right = status == 200 and document["image_problem"] is not None and document["path"][-1] == "Boots"
        else:
            right = 400 <= status < 500 and bool(document["error"]["reason"])
        if not right or seconds > SECONDS or peak > PEAK:
            wrong.append(f"{body.name}: {status} {str(document)[:200]} in {seconds:.1f} s and {peak:,} bytes")
    # What is left in cycles is nobody's.
    gc.collect()
    left = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert not wrong, "\n".join(wrong)
    assert left < LEFT
