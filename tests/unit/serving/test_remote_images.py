"""Images by URL against a web made of dictionaries: what is never asked, what is, what comes of hostile servers. HTTP itself is httpcore's own."""

import asyncio
import gzip
import io
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import httpcore
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from prodcat.config import validate
from prodcat.contracts import Product
from prodcat.errors import ConfigError, RemoteImageError
from prodcat.prediction.cascade import Cascade, StageTwoOutput
from prodcat.serving.api import create_api
from prodcat.serving.limits import RequestLimits
from prodcat.serving.models import Model, Models
from prodcat.serving.remote_images import REASONS, RemoteImageConfig, RemoteImages
from prodcat.serving.schema import ModelInfo, Problem, problem

PUBLIC, PRIVATE = "93.184.215.14", "10.0.0.7"
HOST = "images.shop.example"


def answer(body: bytes = b"picture", *headers: str, status: str = "200 OK", length: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(to: str, status: str = "302 Found") -> bytes:
    return answer(b"", f"Location: {to}", status=status)


class Stream(httpcore.AsyncNetworkStream):
    """One connection: says its part once a request has come."""

    def __init__(self, web: "Web", address: str, port: int) -> None:
        self._web, self._rest = web, b""
        self._asked = b""
        self.address, self.port, self.name = address, port, None
        self.closed = False
        self.sent = 0

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._asked += buffer
        if buffer and self._asked.endswith(b"\r\n\r\n"):
            head, *lines = self._asked.decode().split("\r\n")
            self.headers = dict(line.split(": ", 1) for line in lines if line)
            target = head.split(" ")[1]
            self._web.asked.append(f"{self.headers['Host']}{target}")
            self._rest = self._web.pages[f"{self.headers['Host']}{target}"]

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._rest == SILENCE or (self._rest == b"" and self._web.stalls):
            await asyncio.Event().wait()
        part, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        self.sent += len(part)
        return part

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        assert (ssl_context.verify_mode, ssl_context.check_hostname) == (ssl.CERT_REQUIRED, True)
        self._web.certified.append(server_hostname)
        return self

    async def aclose(self) -> None:
        self.closed = True


SILENCE = b"(nothing ever comes)"


class Web:
    """Names with their addresses (one list a resolution, the last for good), and the raw answer to each host and target."""

    def __init__(self) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self.pages: dict[str, bytes] = {}
        self.resolved: list[str] = []
        self.certified: list[str | None] = []
        self.asked: list[str] = []
        self.streams: list[Stream] = []
        self.unreachable: set[str] = set()
        self.stalls = False
        self.at_once = self.most_at_once = 0

    def page(self, url: str, content: bytes, addresses: Sequence[str] = (PUBLIC,)) -> None:
        self.pages[url] = content
        self.names.setdefault(url.partition("/")[0].partition(":")[0], [list(addresses)])

    async def resolve(self, name: str) -> list[str]:
        self.resolved.append(name)
        # A turn of the loop, as a real name server takes at least: whatever wants to go on at once does.
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if name not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        answers = self.names[name]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def connect(self, address: str, port: int, timeout: float | None) -> httpcore.AsyncNetworkStream:
        if address in self.unreachable:
            raise httpcore.ConnectError("refused")
        self.streams.append(Stream(self, address, port))
        return self.streams[-1]

    def images(self, **settings: Any) -> RemoteImages:
        config = RemoteImageConfig(**({"allow": (HOST, "*.cdn.example"), "max_bytes": 1000} | settings))
        return RemoteImages(config, resolver=self.resolve, connect=self.connect)

    def fetch(self, url: str, **settings: Any) -> bytes:
        return asyncio.run(self.images(**settings).fetch(url))

    def refusal(self, url: str, **settings: Any) -> RemoteImageError:
        with pytest.raises(RemoteImageError) as caught:
            self.fetch(url, **settings)
        assert caught.value.reason in REASONS
        assert all(stream.closed for stream in self.streams)
        return caught.value

    def reason(self, url: str, **settings: Any) -> str:
        return self.refusal(url, **settings).reason


@pytest.fixture
def web() -> Web:
    web = Web()
    web.page(f"{HOST}/1.jpg", answer())
    return web


# ---- what is asked --------------------------------------------------------------------------------------------------------------


def test_the_bytes_come_over_a_connection_to_the_address_with_the_name_in_tls_and_host(web: Web) -> None:
    assert web.fetch(f"https://{HOST}/1.jpg") == b"picture"
    (stream,) = web.streams
    assert (stream.address, stream.port, stream.closed) == (PUBLIC, 443, True)
    assert web.certified == [HOST]
    assert stream.headers == {"Host": HOST, "Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "prodcat"}
    web.fetch(f"http://{HOST}/1.jpg")
    assert (web.streams[1].port, web.certified) == (80, [HOST])


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("HTTPS://IMAGES.Shop.Example/1.jpg?w=2&h=%20#top", f"{HOST}/1.jpg?w=2&h=%20"),
        (f"https://{HOST}./1.jpg", f"{HOST}/1.jpg"),
        (f"https://{HOST}:443/1.jpg", f"{HOST}/1.jpg"),
        (f"https://{HOST}:80/1.jpg", f"{HOST}:80/1.jpg"),
        (f"https://{HOST}", f"{HOST}/"),
        (f"https://{HOST}?id=1", f"{HOST}/?id=1"),
        (f"https://{HOST}/a/../1.jpg", f"{HOST}/1.jpg"),
        (f"https://{HOST}/é.jpg", f"{HOST}/%C3%A9.jpg"),
        (f"https://{HOST}/%0d%0aX:1", f"{HOST}/%0d%0aX:1"),
        (f"https://{HOST}/a@b", f"{HOST}/a@b"),
        ("https://images。shop。example/1.jpg", f"{HOST}/1.jpg"),
        ("https://bücher.cdn.example/1.jpg", "xn--bcher-kva.cdn.example/1.jpg"),
        ("https://XN--bcher-kva.cdn.example/1.jpg", "xn--bcher-kva.cdn.example/1.jpg"),
    ],
)
def test_a_url_is_asked_in_its_one_normal_form(web: Web, url: str, asked: str) -> None:
    web.page(asked, answer())
    assert web.fetch(url) == b"picture"
    assert web.asked == [asked]


def test_a_name_is_resolved_once_and_every_address_is_tried(web: Web) -> None:
    web.names[HOST] = [[PUBLIC, "2606:4700::1111"]]
    web.unreachable = {PUBLIC}
    web.fetch(f"https://{HOST}/1.jpg")
    assert (web.resolved, [stream.address for stream in web.streams]) == ([HOST], ["2606:4700::1111"])
    web.unreachable.add("2606:4700::1111")
    assert web.reason(f"https://{HOST}/1.jpg") == "image_url_failed"


def test_the_systems_resolver_asks_for_the_full_name_only(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def getaddrinfo(name: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        names.append(name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in (PUBLIC, PUBLIC)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    web.unreachable = {PUBLIC}
    images = RemoteImages(RemoteImageConfig(allow=(HOST,)), connect=web.connect)
    with pytest.raises(RemoteImageError, match="image_url_failed"):
        asyncio.run(images.fetch(f"https://{HOST}/1.jpg"))
    # Without the dot a search domain of the machine could answer for the name.
    assert names == [f"{HOST}."]


# ---- what is never asked --------------------------------------------------------------------------------------------------------


def test_off_by_default(web: Web) -> None:
    refusal = web.refusal(f"https://{HOST}/1.jpg", allow=())
    assert refusal.reason == "image_url_off"
    assert "images_by_url.allow" in refusal.detail
    assert RemoteImageConfig().allow == ()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        # addresses, in all their spellings
        ("http://127.0.0.1/", "image_url_not_allowed"),
        ("http://2130706433/", "image_url_not_allowed"),
        ("http://0x7f.1/", "image_url_not_allowed"),
        ("http://0x7f000001/", "image_url_not_allowed"),
        ("http://0177.0.0.1/", "image_url_not_allowed"),
        ("http://127.1/", "image_url_not_allowed"),
        ("http://127.0.0.1./", "image_url_not_allowed"),
        ("http://0/", "image_url_not_allowed"),
        ("http://１２７.0.0.1/", "image_url_not_allowed"),
        ("http://127。0。0。1/", "image_url_not_allowed"),
        ("http://169.254.169.254/latest/meta-data/", "image_url_not_allowed"),
        (f"http://{PUBLIC}/", "image_url_not_allowed"),
        ("http://[::1]/", "image_url_invalid"),
        ("http://[::ffff:127.0.0.1]/", "image_url_invalid"),
        ("http://[fe80::1%25eth0]/", "image_url_invalid"),
        # other names
        ("http://localhost/", "image_url_not_allowed"),
        ("https://evil.example/", "image_url_not_allowed"),
        (f"https://{HOST}.evil.example/", "image_url_not_allowed"),
        (f"https://evil-{HOST}/", "image_url_not_allowed"),
        ("https://shop.example/", "image_url_not_allowed"),
        ("https://images%2eshop%2eexample/", "image_url_not_allowed"),
        (f"https://{HOST}../", "image_url_not_allowed"),
        (f"https://.{HOST}/", "image_url_not_allowed"),
        (f"https://{HOST}%00.evil.example/", "image_url_not_allowed"),
        ("https://imаges.shop.example/", "image_url_not_allowed"),  # a Cyrillic а
        (f"https://{'a' * 64}.cdn.example/", "image_url_not_allowed"),
        (f"https://{'a.' * 150}cdn.example/", "image_url_not_allowed"),
        # what readers of URLs disagree about
        (f"http://{HOST}@127.0.0.1/", "image_url_invalid"),
        (f"http://user:secret@{HOST}/", "image_url_invalid"),
        (f"http://@{HOST}/", "image_url_invalid"),
        (f"http://127.0.0.1\\@{HOST}/", "image_url_invalid"),
        (f"http://{HOST}\\.evil.example/", "image_url_invalid"),
        (f"http:\\\\{HOST}/", "image_url_invalid"),
        (f"http://{HOST}/a\\b", "image_url_invalid"),
        (f"http://{HOST}:80:90/", "image_url_invalid"),
        (f"http://{HOST}:/", "image_url_invalid"),
        (f"http://{HOST}:８０/", "image_url_invalid"),
        (f"http://{HOST}/ HTTP/1.1\r\nHost: evil.example\r\n", "image_url_invalid"),
        (f"http://{HOST}\r\nX: 1/", "image_url_invalid"),
        (f"http://{HOST}/\tx", "image_url_invalid"),
        (f"http://{HOST}/\n", "image_url_invalid"),
        (f" http://{HOST}/", "image_url_invalid"),
        (f"http://{HOST}/\0", "image_url_invalid"),
        (f"http://{HOST}/\ud800", "image_url_invalid"),
        (f"http:/{HOST}/", "image_url_invalid"),
        (f"http:///{HOST}/", "image_url_invalid"),
        (f"//{HOST}/1.jpg", "image_url_invalid"),
        (f"{HOST}/1.jpg", "image_url_invalid"),
        ("", "image_url_invalid"),
        # other schemes and ports
        ("file:///etc/passwd", "image_url_invalid"),
        (f"ftp://{HOST}/1.jpg", "image_url_invalid"),
        (f"gopher://{HOST}/1.jpg", "image_url_invalid"),
        ("data:image/png;base64,AAAA", "image_url_invalid"),
        (f"http://{HOST}:22/", "image_url_not_allowed"),
        (f"http://{HOST}:0/", "image_url_not_allowed"),
        (f"http://{HOST}:99999/", "image_url_not_allowed"),
        (f"http://{HOST}:123456/", "image_url_invalid"),
    ],
)
def test_a_url_that_leads_elsewhere_is_refused_before_any_name_is_resolved(web: Web, url: str, reason: str) -> None:
    refusal = web.refusal(url)
    assert refusal.reason == reason
    assert (web.resolved, web.streams) == ([], [])
    assert "secret" not in refusal.detail


def test_schemes_and_ports_are_the_operators(web: Web) -> None:
    assert web.reason(f"http://{HOST}/1.jpg", schemes=("https",)) == "image_url_not_allowed"
    assert web.reason(f"http://{HOST}/1.jpg", ports=(443,)) == "image_url_not_allowed"
    web.page(f"{HOST}:8443/1.jpg", answer())
    assert web.fetch(f"https://{HOST}:8443/1.jpg", ports=(8443,)) == b"picture"


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["0.0.0.0"],
        ["169.254.169.254"],
        ["100.64.0.1"],
        ["::1"],
        ["::ffff:10.0.0.1"],
        ["2002:7f00:1::1"],
        ["64:ff9b::a9fe:a9fe"],
        ["fe80::1%eth0"],
        ["224.0.0.1"],
        [PUBLIC, PRIVATE],
    ],
)
def test_an_allowed_name_with_a_private_address_is_not_connected_to(web: Web, addresses: list[str]) -> None:
    web.names[HOST] = [addresses]
    refusal = web.refusal(f"https://{HOST}/1.jpg")
    assert refusal.reason == "image_url_private_address"
    assert web.streams == []
    assert not any(address in refusal.detail for address in addresses), "names of an inner network could be read from outside"


def test_a_name_that_changes_its_address_is_connected_to_at_the_one_that_was_looked_at(web: Web) -> None:
    web.names[HOST] = [[PUBLIC], [PRIVATE]]
    assert web.fetch(f"https://{HOST}/1.jpg") == b"picture"
    assert (web.resolved, [stream.address for stream in web.streams]) == ([HOST], [PUBLIC])
    # A redirect to itself is a new look.
    web.names[HOST] = [[PUBLIC], [PRIVATE]]
    web.page(f"{HOST}/again.jpg", redirect("/1.jpg"))
    assert web.reason(f"https://{HOST}/again.jpg") == "image_url_private_address"
    assert [stream.address for stream in web.streams] == [PUBLIC, PUBLIC]


def test_a_name_that_nobody_knows_is_a_failure(web: Web) -> None:
    assert web.reason("https://none.cdn.example/1.jpg") == "image_url_failed"
    web.names["none.cdn.example"] = [[]]
    assert web.reason("https://none.cdn.example/1.jpg") == "image_url_failed"


# ---- the list of hosts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "host", "allowed"),
    [
        ("*.cdn.example", "a.cdn.example", True),
        ("*.cdn.example", "a.b.cdn.example", True),
        ("*.cdn.example", "cdn.example", False),
        ("*.cdn.example", "evilcdn.example", False),
        ("*.cdn.example", "a.cdn.example.evil.example", False),
        ("cdn.example", "cdn.example", True),
        ("cdn.example", "a.cdn.example", False),
        ("CDN.Example.", "cdn.example", True),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("*.bücher.example", "a.xn--bcher-kva.example", True),
    ],
)
def test_what_a_pattern_allows(pattern: str, host: str, allowed: bool) -> None:
    assert RemoteImageConfig(allow=(pattern,)).allows(host) is allowed


@pytest.mark.parametrize(
    "pattern",
    [
        *("*", "*.", "", "*.com", "com", "*cdn.example", "a.*.example", "*.*.example", "https://cdn.example", "cdn.example/x", "cdn.example:443"),
        *("127.0.0.1", "[::1]", "::1", "u@cdn.example", "cdn .example", "2130706433", "*.0.0.1"),
    ],
)
def test_a_pattern_that_is_no_name_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"allow\.0.*expected the name of a host"):
        validate(RemoteImageConfig, {"allow": [pattern]}, "serve.yaml")


def test_the_settings_travel_to_a_replica_as_a_dict() -> None:
    config = validate(RemoteImageConfig, {"allow": ["*.Bücher.example", HOST], "schemes": ["https"], "ports": [8443]}, "serve.yaml")
    assert RemoteImageConfig.model_validate(config.model_dump()) == config


# ---- redirects ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_redirects_are_followed_among_allowed_hosts(web: Web, status: str) -> None:
    web.page("a.cdn.example/x", redirect("../2.jpg?s=1", status))
    web.page("a.cdn.example/2.jpg?s=1", redirect(f"//{HOST}/1.jpg", status))
    assert web.fetch("https://a.cdn.example/x") == b"picture"
    assert web.asked == ["a.cdn.example/x", "a.cdn.example/2.jpg?s=1", f"{HOST}/1.jpg"]
    assert all(stream.closed for stream in web.streams)


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("http://127.0.0.1/", "image_url_not_allowed"),
        ("http://169.254.169.254/latest/meta-data/", "image_url_not_allowed"),
        ("http://[::1]/", "image_url_invalid"),
        ("https://evil.example/1.jpg", "image_url_not_allowed"),
        ("//evil.example/1.jpg", "image_url_not_allowed"),
        (f"https://{HOST}@evil.example/", "image_url_invalid"),
        ("\\\\evil.example\\1.jpg", "image_url_invalid"),
        (f"http://{HOST}:22/", "image_url_not_allowed"),
        ("file:///etc/passwd", "image_url_invalid"),
        ("http://[/", "image_url_not_allowed"),
        ("http://x:y/", "image_url_invalid"),
        ("https://inner.cdn.example/1.jpg", "image_url_private_address"),
    ],
)
def test_a_redirect_is_held_to_the_same_rules(web: Web, to: str, reason: str) -> None:
    web.page(f"{HOST}/go", redirect(to))
    web.names["inner.cdn.example"] = [[PRIVATE]]
    assert web.reason(f"https://{HOST}/go") == reason
    assert web.asked == [f"{HOST}/go"]


def test_redirects_end(web: Web) -> None:
    web.page(f"{HOST}/loop", redirect("/loop"))
    assert web.reason(f"https://{HOST}/loop") == "image_url_too_many_redirects"
    assert len(web.asked) == 4
    web.page(f"{HOST}/once", redirect("/1.jpg"))
    assert web.fetch(f"https://{HOST}/once", max_redirects=1) == b"picture"
    assert web.reason(f"https://{HOST}/once", max_redirects=0) == "image_url_too_many_redirects"


# ---- hostile servers ------------------------------------------------------------------------------------------------------------

CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (answer(b"x" * 1001), "image_url_too_many_bytes"),
        (answer(b"", "Content-Length: 50000000", length=False), "image_url_too_many_bytes"),
        (answer(b"x" * 500_000, length=False), "image_url_too_many_bytes"),
        (answer(b"190\r\n" + b"x" * 400 + b"\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n", CHUNKED, length=False), "image_url_too_many_bytes"),
        (answer(b"FFFFFFFFFFF\r\n" + b"x" * 500_000, CHUNKED, length=False), "image_url_too_many_bytes"),
        (answer(b"short", "Content-Length: 900", length=False), "image_url_failed"),
        (answer(b"x", "Content-Length: 1", "Content-Length: 2", length=False), "image_url_failed"),
        (answer(b"x", "Content-Length: -1", length=False), "image_url_failed"),
        (answer(gzip.compress(b"\0" * 10_000_000)[:900], "Content-Encoding: gzip"), "image_url_failed"),
        (answer(b"x", "Content-Encoding: br, gzip"), "image_url_failed"),
        (answer(b"<html>", "Content-Type: text/html; charset=utf-8"), "image_url_not_an_image"),
        (answer(b"{}", "Content-Type: application/json"), "image_url_not_an_image"),
        (answer(b"gone", status="404 Not Found"), "image_url_failed"),
        (answer(b"x", status="206 Partial Content"), "image_url_failed"),
        (answer(b"", status="302 Found"), "image_url_failed"),
        (answer(b"", status="304 Not Modified"), "image_url_failed"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "image_url_failed"),
        (b"", "image_url_failed"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "image_url_failed"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 200_000, "image_url_failed"),
    ],
)
def test_hostile_answers(web: Web, content: bytes, reason: str) -> None:
    web.page(f"{HOST}/1.jpg", content)
    assert web.reason(f"https://{HOST}/1.jpg") == reason
    assert web.streams[0].sent <= 200_000, "it is not read to its end"


@pytest.mark.parametrize(
    "content",
    [
        answer(b"picture" + b"y" * 5000, "Content-Length: 7", length=False),
        answer(b"7\r\npicture\r\n0\r\n\r\n", CHUNKED, length=False),
        answer(b"picture", length=False),
        answer(b"picture", "Content-Type: image/jpeg", "Content-Encoding: identity"),
        answer(b"picture", "Content-Type: IMAGE/WebP; x=1"),
        answer(b"picture", "Content-Type: application/octet-stream"),
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(b"picture"),
        answer(b"picture", "Set-Cookie: id=1"),
    ],
)
def test_honest_answers(web: Web, content: bytes) -> None:
    web.page(f"{HOST}/1.jpg", content)
    assert web.fetch(f"https://{HOST}/1.jpg") == b"picture"


@pytest.mark.parametrize("content", [SILENCE, b"HTTP/1.1 200 OK\r\n", answer(b"x", "Content-Length: 900", length=False)])
def test_a_server_that_stalls_is_left(web: Web, content: bytes) -> None:
    web.stalls = True
    web.page(f"{HOST}/1.jpg", content)
    assert web.reason(f"https://{HOST}/1.jpg", timeout_s=0.1) == "image_url_timeout"
    assert web.asked == [f"{HOST}/1.jpg"]


def test_a_name_server_and_a_host_that_stall_are_left(web: Web) -> None:
    async def never(*_: object) -> Any:
        await asyncio.Event().wait()

    async def late(*_: object) -> Any:
        raise httpcore.ConnectTimeout("late")

    config = RemoteImageConfig(allow=(HOST,), timeout_s=0.01)
    for images in (RemoteImages(config, never, web.connect), RemoteImages(config, web.resolve, never), RemoteImages(config, web.resolve, late)):
        with pytest.raises(RemoteImageError, match="image_url_timeout"):
            asyncio.run(images.fetch(f"https://{HOST}/1.jpg"))


def test_no_proxy_of_the_environment_is_asked(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:3128")
    web.fetch(f"http://{HOST}/1.jpg")
    assert (web.resolved, web.streams[0].address) == ([HOST], PUBLIC)


# ---- the images of a request ----------------------------------------------------------------------------------------------------


def _added(images: RemoteImages, products: Sequence[Product | Problem], urls: Sequence[str | None]) -> list[Product | Problem]:
    return asyncio.run(images.added(products, urls))


def _products(count: int) -> list[Product]:
    return [Product("shop", str(number), title="boots") for number in range(count)]


def test_images_are_fetched_side_by_side_but_so_many_at_once(web: Web) -> None:
    urls = [f"https://{HOST}/1.jpg"] * 20
    assert all(isinstance(each, Product) and each.image == b"picture" for each in _added(web.images(max_at_once=3), _products(20), urls))
    assert web.most_at_once == 3


def test_the_images_of_a_request_share_their_bytes(web: Web) -> None:
    web.page(f"{HOST}/large", answer(b"x" * 2000, length=False))
    urls = [f"https://{HOST}/large", *[f"https://{HOST}/1.jpg"] * 3]
    # One that is dropped gives back what it took.
    added = _added(web.images(max_request_bytes=1001, max_at_once=1), _products(4), urls)
    assert [each.image_problem for each in added if isinstance(each, Product)] == ["image_url_too_many_bytes", None, None, None]
    added = _added(web.images(max_request_bytes=15, max_at_once=1), _products(4), urls)
    assert [each.image_problem for each in added if isinstance(each, Product)] == ["image_url_too_many_bytes", None, None, "image_url_too_many_bytes"]


def test_the_images_of_a_request_have_a_time(web: Web) -> None:
    web.page(f"{HOST}/slow", SILENCE)
    urls = [f"http://{HOST}/1.jpg", *[f"http://{HOST}/slow"] * 3]
    added = _added(web.images(request_timeout_s=0.2, max_at_once=1), _products(4), urls)
    assert [each.image_problem for each in added if isinstance(each, Product)] == [None, *["image_url_timeout"] * 3]


def test_what_is_a_problem_already_stays_one(web: Web) -> None:
    given = [problem("image_given_twice", "x"), Product("shop", "1", title="boots")]
    assert _added(web.images(), given, [f"https://{HOST}/1.jpg", None]) == given
    assert web.asked == []


# ---- over HTTP ------------------------------------------------------------------------------------------------------------------

UNSURE, SURE = {"title": "boots"}, {"title": "Footwear: Shoes, Boots"}


@pytest.fixture
def client(cascade: Cascade, web: Web) -> Callable[..., TestClient]:
    async def ask(products: list[Product], vectors: np.ndarray | None) -> StageTwoOutput:
        assert cascade.stage_two is not None
        return cascade.stage_two.read(products, vectors)

    async def ready() -> None:
        return None

    def made(images: RemoteImages | None) -> TestClient:
        info = ModelInfo.model_construct()
        return TestClient(create_api(Models(Model(cascade, ask, info, RequestLimits())), RequestLimits(), ready, images=images))

    return made


def _png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(stream, "PNG")
    return stream.getvalue()


def test_an_image_by_url_is_read_as_one_in_the_body(web: Web, client: Callable[..., TestClient]) -> None:
    web.page("a.cdn.example/bag.png", answer(_png(), "Content-Type: image/png"))
    body = client(web.images()).post("/v1/classify", json={"image_url": " https://a.cdn.example/bag.png\n"}).json()
    assert (body["path"], body["stage"], body["image_problem"]) == (["Bags"], 2, None)


@pytest.mark.parametrize("text", [UNSURE, SURE, {"description": "boots"}])
def test_a_text_answers_where_the_image_does_not_come(web: Web, client: Callable[..., TestClient], text: dict[str, str]) -> None:
    response = client(web.images()).post("/v1/classify", json=text | {"image_url": "http://169.254.169.254/"})
    assert response.status_code == 200
    assert (response.json()["path"][-1], response.json()["image_problem"]) == ("Boots", "image_url_not_allowed")


def test_an_image_that_does_not_come_and_nothing_else_is_422(web: Web, client: Callable[..., TestClient]) -> None:
    web.page(f"{HOST}/gone", answer(b"", status="404 Not Found"))
    response = client(web.images()).post("/v1/classify", json={"image_url": f"https://{HOST}/gone", "brand": "Acme"})
    assert response.status_code == 422
    assert response.json()["error"]["reason"] == "image_url_failed"
    assert "404" in response.json()["error"]["message"]


def test_a_file_that_is_no_image_is_told_as_ever(web: Web, client: Callable[..., TestClient]) -> None:
    response = client(web.images()).post("/v1/classify", json={"image_url": f"https://{HOST}/1.jpg"})
    assert (response.status_code, response.json()["error"]["reason"]) == (422, "image_not_an_image")


def test_where_they_are_off_a_url_is_422_that_names_the_setting(client: Callable[..., TestClient]) -> None:
    for body in ({"image_url": f"https://{HOST}/1.jpg"}, SURE | {"image_url": f"https://{HOST}/1.jpg"}):
        response = client(None).post("/v1/classify", json=body)
        assert (response.status_code, response.json()["error"]["reason"]) == (422, "image_url_off")
        assert "images_by_url.allow" in response.json()["error"]["message"]
    assert client(None).post("/v1/classify", json=SURE | {"image_url": ""}).status_code == 200


def test_an_image_twice_or_a_url_too_long_is_422(web: Web, client: Callable[..., TestClient]) -> None:
    twice = client(web.images()).post("/v1/classify", json=SURE | {"image": "", "image_url": f"https://{HOST}/1.jpg"})
    assert (twice.status_code, twice.json()["error"]["reason"]) == (422, "image_given_twice")
    long = client(web.images()).post("/v1/classify", json={"image_url": f"https://{HOST}/{'x' * 2000}"})
    assert (long.status_code, long.json()["error"]["reason"]) == (422, "invalid_request")
    assert "image_url" in long.json()["error"]["message"]
    assert web.asked == []


def test_a_batch_keeps_its_order_whatever_comes(web: Web, client: Callable[..., TestClient]) -> None:
    web.page(f"{HOST}/bag.png", answer(_png()))
    products = [
        {"image_url": f"https://{HOST}/bag.png"},
        {"image_url": "https://evil.example/1.jpg"},
        SURE,
        UNSURE | {"image_url": "https://evil.example/1.jpg"},
        {"image": "!!", "image_url": f"https://{HOST}/bag.png"},
        {"image": "!!"},
        {"image_url": f"https://{HOST}/bag.png", "title": "thing"},
    ]
    results = client(web.images()).post("/v1/classify/batch", json={"products": products}).json()["results"]
    told = [each["error"]["reason"] if "error" in each else each["path"][-1] for each in results]
    assert told == ["Bags", "image_url_not_allowed", "Boots", "Boots", "image_given_twice", "image_not_base64", "Bags"]
    assert results[3]["image_problem"] == "image_url_not_allowed"
