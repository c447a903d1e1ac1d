"""Images that a request names by URL, fetched from hosts the operator has allowed, and from nowhere else. Knows no models and no routes.

Whoever can name a URL can make this process speak to the network it stands in (SSRF). So: off until hosts are allowed; the host is looked at again at
every redirect; the name is resolved here, all its addresses must be public, and the connection goes to an address that was looked at, never to the
name, which may mean another address a moment later (DNS rebinding). TLS and the Host header still carry the name. httpcore speaks HTTP by itself:
httpx would bring cookies, proxies of the environment, redirects and decompression, each of which would have to be switched off again.
"""

import asyncio
import functools
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import httpcore
import httpx
from pydantic import AfterValidator, Field

from prodcat.config import Config
from prodcat.contracts import Product
from prodcat.errors import RemoteImageError
from prodcat.serving.public_addresses import is_public
from prodcat.serving.schema import Problem, problem

REASONS = (
    "image_url_off",
    "image_url_invalid",
    "image_url_not_allowed",
    "image_url_private_address",
    "image_url_too_many_redirects",
    "image_url_too_many_bytes",
    "image_url_timeout",
    "image_url_failed",
    "image_url_not_an_image",
)

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""A host's name -> its addresses, as text. Raises OSError if it has none."""
Connect = Callable[[str, int, float | None], Awaitable[httpcore.AsyncNetworkStream]]
"""An address, a port and seconds -> an open TCP connection. Raises httpcore.ConnectError or ConnectTimeout."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
# Stricter than RFC 3986, on purpose: readers of URLs disagree about user names, brackets, backslashes and white space, and attacks live on that.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[^\s\x00-\x1f\x7f/?#@:\[\]\\]+)(:(?P<port>[0-9]{1,5}))?(?P<rest>[/?#][^\s\x00-\x1f\x7f\\]*)?", re.IGNORECASE
)
# At least two labels, and the last one a word: 2130706433, 0x7f.1 and 127.1 are addresses in disguise.
_NAME = re.compile(r"([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_NAME = 253
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = [(b"Accept", b"image/*"), (b"Accept-Encoding", b"identity"), (b"User-Agent", b"prodcat")]
# Own threads, for getaddrinfo cannot be cancelled: a slow name server must not take those that answer products.
_RESOLVER_THREADS = 32


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Whose signature is believed: SSL_CERT_FILE or SSL_CERT_DIR where they are set, else what certifi brings. Takes a tenth of a second to read."""
    return httpx.create_ssl_context()


def _name(host: str) -> str | None:
    """A host as it is looked up: lower case, ASCII (IDNA), without the root's dot; None for an address and for what is no full name."""
    try:
        name = httpx.URL(f"https://{host}/").raw_host.decode("ascii").removesuffix(".")
    except (httpx.InvalidURL, ValueError):
        return None
    return name if len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) else None


def _pattern(text: str) -> str:
    host = text.removeprefix("*.")
    name = _name(host) if re.fullmatch(r"[^\s/?#@:\[\]\\]+", host) else None
    if name is None:
        raise ValueError(
            'expected the name of a host of at least two parts, "images.shop.example", or one with "*." before it; no URL, port or IP address'
        )
    return text[: len(text) - len(host)] + name


_HostPattern = Annotated[str, AfterValidator(_pattern)]
_Port = Annotated[int, Field(ge=1, le=65_535)]


class RemoteImageConfig(Config):
    """Images by URL. A replica's worst case in memory is max_request_bytes times its requests at once."""

    allow: tuple[_HostPattern, ...] = Field(
        (), description='hosts that may be asked: "images.shop.example", "*.cdn.example" for every name under it (not itself); empty: off'
    )
    schemes: tuple[Literal["http", "https"], ...] = Field(("https", "http"), min_length=1, description="schemes that may be asked")
    ports: tuple[_Port, ...] = Field((80, 443), min_length=1, description="ports that may be asked")
    max_bytes: int = Field(20_000_000, gt=0, description="largest image")
    max_request_bytes: int = Field(64_000_000, gt=0, description="images of all products of one request together")
    timeout_s: float = Field(5, gt=0, description="one image with its redirects, from name to last byte, seconds")
    connect_timeout_s: float = Field(2, gt=0, description="TCP and TLS of one address, each, seconds")
    request_timeout_s: float = Field(30, gt=0, description="images of all products of one request, seconds; what is not there then counts as failed")
    max_redirects: int = Field(3, ge=0, description="redirects of one image")
    max_at_once: int = Field(8, ge=1, description="images of one request that are fetched at once")

    def allows(self, name: str) -> bool:
        return any(name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern for pattern in self.allow)


@dataclass
class _Room:
    """Bytes that the images of one request may still take."""

    left: int


class RemoteImages:
    """Fetches images by URL. Nothing of one fetch is left for the next: no cookie, no connection, no resolved name.

    Args:
        resolver: default: the system's.
        connect: default: a plain TCP connection. Is only ever given addresses that were looked at.
    """

    def __init__(self, config: RemoteImageConfig, resolver: Resolve | None = None, connect: Connect | None = None) -> None:
        self.config = config
        self._resolver = resolver or _system_resolver()
        self._connect = connect or httpcore.AnyIOBackend().connect_tcp
        # Now and not at the first image, which has seconds only; a replica that fetches nothing is spared it.
        self._tls = _certificates() if config.allow else None

    async def added(self, products: Sequence[Product | Problem], urls: Sequence[str | None]) -> list[Product | Problem]:
        """n products and the URLs of their images (None: without) -> the products with what was fetched, in order.

        An image that cannot be had is no reason to refuse a product that has a text: it gets an `image_problem`, as one whose image is corrupt.
        One without a text becomes a Problem; so does every product with a URL where images by URL are off, for that no other image will do.
        """
        slots, room = asyncio.Semaphore(self.config.max_at_once), _Room(self.config.max_request_bytes)
        deadline = asyncio.get_running_loop().time() + self.config.request_timeout_s

        async def with_image(product: Product, url: str) -> Product | Problem:
            try:
                try:
                    async with asyncio.timeout_at(deadline), slots:
                        return replace(product, image=await self.fetch(url, room))
                except TimeoutError as error:
                    raise RemoteImageError(
                        "image_url_timeout",
                        f"the images of this request took more than {self.config.request_timeout_s:g} s; send fewer products a request",
                    ) from error
            except RemoteImageError as error:
                if (product.title or product.description) and error.reason != "image_url_off":
                    return replace(product, image_problem=error.reason)
                return problem(error.reason, error.detail)

        async with asyncio.TaskGroup() as group:
            tasks = [
                None if url is None or isinstance(product, Problem) else group.create_task(with_image(product, url))
                for product, url in zip(products, urls, strict=True)
            ]
        return [product if task is None else task.result() for product, task in zip(products, tasks, strict=True)]

    async def fetch(self, url: str, room: _Room | None = None) -> bytes:
        """The bytes behind a URL. That they are an image is only what the server says: images.decode looks.

        Raises:
            RemoteImageError: with one of REASONS.
        """
        if not self.config.allow:
            raise RemoteImageError(
                "image_url_off",
                "images by URL are off; send the file in base64 as `image`, or have your images' hosts named in the server's images_by_url.allow",
            )
        try:
            async with asyncio.timeout(self.config.timeout_s):
                return await self._follow(url, room or _Room(self.config.max_bytes))
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise RemoteImageError(
                "image_url_timeout", f"the image did not come within {self.config.timeout_s:g} s; send the file as `image`, or try again"
            ) from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            # What exactly failed, and at which address, would tell a caller about this network.
            raise RemoteImageError(
                "image_url_failed", "the host could not be reached, has no certificate for its name, or broke off; send the file as `image`"
            ) from error

    async def _follow(self, url: str, room: _Room) -> bytes:
        for _ in range(self.config.max_redirects + 1):
            target = self._checked(url)
            backend = _CheckedAddresses(self._resolver, self._connect)
            async with (
                httpcore.AsyncConnectionPool(ssl_context=self._tls, network_backend=backend) as pool,
                pool.stream("GET", target, headers=_HEADERS, extensions={"timeout": {"connect": self.config.connect_timeout_s}}) as response,
            ):
                headers = {name.lower(): value for name, value in response.headers}
                if response.status not in _REDIRECTS or b"location" not in headers:
                    return await self._image(response, headers, room)
                url = _joined(url, headers[b"location"])
        raise RemoteImageError(
            "image_url_too_many_redirects", f"more than {self.config.max_redirects} redirects; give the URL that the last one leads to"
        )

    def _checked(self, url: str) -> httpcore.URL:
        """The only way from a text to something that is asked."""
        match = _URL.fullmatch(url)
        if match is None:
            raise _invalid()
        scheme = match["scheme"].lower()
        port = int(match["port"] or _DEFAULT_PORTS[scheme])
        name = _name(match["host"])
        if name is None or not self.config.allows(name):
            found = "the host is an address or no full name" if name is None else f"the host {name} is not among those that are asked"
            raise RemoteImageError("image_url_not_allowed", f"{found}; only hosts named in images_by_url.allow are, at every redirect")
        if scheme not in self.config.schemes or port not in self.config.ports:
            raise RemoteImageError(
                "image_url_not_allowed",
                f"{scheme} on port {port} is not asked; allowed are {', '.join(self.config.schemes)} on {', '.join(map(str, self.config.ports))}",
            )
        try:
            target = httpx.URL(f"https://{name}{match['rest'] or ''}").raw_path
        except (httpx.InvalidURL, ValueError) as error:
            raise _invalid() from error
        return httpcore.URL(scheme=scheme, host=name, port=None if port == _DEFAULT_PORTS[scheme] else port, target=target)

    async def _image(self, response: httpcore.Response, headers: dict[bytes, bytes], room: _Room) -> bytes:
        if response.status != 200:
            raise RemoteImageError("image_url_failed", f"the host answered with status {response.status}, expected is 200")
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if kind and not kind.startswith(b"image/") and kind != b"application/octet-stream":
            raise RemoteImageError("image_url_not_an_image", "the host says that this is no image (Content-Type); give the URL of the image itself")
        if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"", b"identity"):
            # A few bytes can unpack to gigabytes, and image files are packed already.
            raise RemoteImageError("image_url_failed", "the host packed the image though it was asked not to (Content-Encoding)")
        if int(headers.get(b"content-length", b"0")) > self.config.max_bytes:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        try:
            # Whatever length was announced: counted is what comes.
            async for part in response.aiter_stream():
                size, room.left = size + len(part), room.left - len(part)
                if size > self.config.max_bytes or room.left < 0:
                    raise self._too_large()
                parts.append(part)
        except BaseException:
            room.left += size
            raise
        return b"".join(parts)

    def _too_large(self) -> RemoteImageError:
        return RemoteImageError(
            "image_url_too_many_bytes",
            f"allowed are {self.config.max_bytes} bytes an image and {self.config.max_request_bytes} a request; use smaller versions of the images",
        )


def _invalid() -> RemoteImageError:
    return RemoteImageError(
        "image_url_invalid", "not a URL that is fetched; expected https://host/path, percent-encoded, without user name and backslashes"
    )


def _joined(url: str, location: bytes) -> str:
    """Where a redirect leads. Checked by the caller, as every URL is."""
    text = location.decode("latin-1").strip()
    # Joining would percent-encode what the check refuses.
    if not re.search(r"[\s\x00-\x1f\x7f\\]", text):
        try:
            return str(httpx.URL(url).join(text))
        except (httpx.InvalidURL, ValueError):
            pass
    raise RemoteImageError("image_url_invalid", "the host redirects to something that is no URL; give the URL of the image itself")


class _CheckedAddresses(httpcore.AsyncNetworkBackend):
    """Where httpcore would resolve a name and connect: one resolution, all addresses looked at, and the connection goes to one of them."""

    def __init__(self, resolver: Resolve, connect: Connect) -> None:
        self._resolver, self._to = resolver, connect

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._resolver(host)
        except OSError as error:
            raise httpcore.ConnectError("no such host") from error
        # One private address among public ones is refused as well: which of them would be asked is chance. None is shown, for names of an inner
        # network would become readable from outside.
        if not all(is_public(address) for address in addresses):
            raise RemoteImageError("image_url_private_address", f"the host {host} does not stand on the public Internet; send the file as `image`")
        failure: Exception = httpcore.ConnectError("no address")
        for address in addresses:
            try:
                return await self._to(address, port, timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


def _system_resolver() -> Resolve:
    pool = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="image-host")

    def addresses(name: str) -> list[str]:
        # The dot at the end: this name, not one of the machine's own search domains under it.
        found = socket.getaddrinfo(f"{name}.", None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    async def resolve(name: str) -> Sequence[str]:
        return await asyncio.get_running_loop().run_in_executor(pool, addresses, name)

    return resolve
