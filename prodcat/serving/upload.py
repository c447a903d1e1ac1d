"""One product as a form (multipart/form-data): its texts as fields, its image as a file, so that no image has to travel in base64.

Read here and not by Starlette's form parser, which writes files to disk, reads texts in whatever encoding the request names, and says little of what
is wrong. Knows no model. Memory: the body's size, which BodyLimit bounds, whatever the body is made of.
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from prodcat.serving.json_routes import JsonRoute, json_response
from prodcat.serving.refusals import Refused, refused, shown, unknown_field
from prodcat.serving.schema import DESCRIPTION_LENGTH, EXAMPLE_PRODUCT, ClassifyRequest, ClassifyResponse

FORM = "multipart/form-data"
IMAGE = "image"
TEXTS = tuple(name for name in ClassifyRequest.model_fields if name != IMAGE)
# The longest text in the longest encoding, with room for white space around it. That it fits its own field is the schema's to say.
MAX_TEXT_BYTES = 4 * DESCRIPTION_LENGTH + 4_096
# Content-Disposition, Content-Type, and what old clients add.
MAX_PART_HEADERS, MAX_HEADER_BYTES = 8, 2_048

_HOW = f"send {FORM} with its boundary, each part named, as curl -F does"

Answer = Callable[[ClassifyRequest, bytes | None], Coroutine[Any, Any, ClassifyResponse]]
"""The texts of a product, and the bytes of its image -> what is sent."""


def is_form(content_type: str) -> bool:
    return content_type[: len(FORM)].lower() == FORM


def also_as_form(answer: Answer) -> type[JsonRoute]:
    """A route class: its route takes a form as well, answered by `answer`. What is JSON pays for reading one header."""

    class FormRoute(JsonRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            plain = super().get_route_handler()

            async def handle(request: Request) -> Response:
                if not is_form(request.headers.get("content-type", "")):
                    return await plain(request)
                try:
                    product, image = await read_form(request.headers["content-type"], request.stream())
                except ClientDisconnect as error:
                    raise _malformed("the client has gone") from error
                return json_response(await answer(product, image))

            return handle

    return FormRoute


async def read_form(content_type: str, body: AsyncIterator[bytes]) -> tuple[ClassifyRequest, bytes | None]:
    """A form -> its texts as a request, and the bytes of its image.

    Raises:
        Refused: when the body has come to its end and not before: a connection closed on unread bytes takes the answer with it.
    """
    form, problem = None, None
    try:
        form = _Form(content_type)
    except Refused as error:
        problem = error
    async for chunk in body:
        if form is not None and problem is None:
            try:
                form.write(chunk)
            except Refused as error:
                # What it held goes now, the rest unread.
                form, problem = None, error
    if form is None or problem is not None:
        assert problem is not None
        raise problem
    return form.read()


class _Form:
    """What has come so far. A name comes once at most and must be known, so the parts need no other count."""

    def __init__(self, content_type: str) -> None:
        self._texts: dict[str, bytearray] = {}
        self._image: bytearray | None = None
        # Of the part that is coming.
        self._headers: dict[str, str] = {}
        self._header, self._value = bytearray(), bytearray()
        self._target: tuple[str, bytearray] | None = None
        self._ended = False
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._name,
                    "on_part_data": self._add,
                    "on_end": self._end,
                },
                max_header_count=MAX_PART_HEADERS,
                max_header_size=MAX_HEADER_BYTES,
            )
        except FormParserError as error:
            raise _malformed(str(error)) from error
        if not boundary:
            raise _malformed("Content-Type names no boundary")

    def write(self, chunk: bytes) -> None:
        """Raises Refused."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def read(self) -> tuple[ClassifyRequest, bytes | None]:
        """Raises Refused."""
        if not self._ended:
            raise _malformed("it breaks off before its last boundary")
        texts: dict[str, str] = {}
        for name, value in self._texts.items():
            try:
                texts[name] = value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise Refused(422, "invalid_request", f"{name}: not UTF-8 at byte {error.start}; send texts as UTF-8") from error
        try:
            request = ClassifyRequest.model_validate(texts)
        except ValidationError as error:
            raise refused(error.errors()) from error
        return request, None if self._image is None else bytes(self._image)

    def _begin(self) -> None:
        self._headers, self._target = {}, None

    def _end_header(self) -> None:
        # Two of one name are read differently by every program on the way.
        name = self._header.decode("latin-1").lower()
        if name in self._headers:
            raise _malformed(f"a part has two headers {shown(name)}")
        self._headers[name] = self._value.decode("latin-1")
        self._header, self._value = bytearray(), bytearray()

    def _name(self) -> None:
        disposition = self._headers.get("content-disposition", "")
        kind, options = parse_options_header(disposition)
        if kind != b"form-data" or b"name" not in options:
            raise _malformed("a part has no Content-Disposition: form-data with a name")
        name, is_file = options[b"name"].decode("utf-8", "replace"), b"filename" in options
        if self._headers.get("content-transfer-encoding", "binary").strip().lower() not in ("binary", "8bit", "7bit"):
            raise _malformed("a part has a Content-Transfer-Encoding; send its bytes as they are")
        if name == IMAGE:
            if self._image is not None:
                raise Refused(422, "image_given_twice", "two parts are called image; send one product a request, with one image")
            if not is_file:
                raise Refused(422, "invalid_request", "image: expected a file, found a text; give the part a filename (curl -F image=@photo.jpg)")
            self._image = bytearray()
            self._target = (name, self._image)
            return
        if name not in TEXTS:
            raise Refused(422, "invalid_request", f"{shown(name)}: {unknown_field()}")
        if is_file:
            raise Refused(422, "invalid_request", f"{name}: expected a text, found a file; leave the part's filename out")
        if name in self._texts:
            raise Refused(422, "invalid_request", f"{name}: given twice; send it once")
        self._target = (name, self._texts.setdefault(name, bytearray()))

    def _add(self, data: bytes, start: int, end: int) -> None:
        assert self._target is not None
        name, held = self._target
        if name != IMAGE and len(held) + end - start > MAX_TEXT_BYTES:
            raise Refused(422, "invalid_request", f"{name}: longer than {MAX_TEXT_BYTES} bytes; shorten it")
        held.extend(data[start:end])

    def _end(self) -> None:
        self._ended = True


def _malformed(found: str) -> Refused:
    return Refused(400, "invalid_form", f"the body is no form: {found}; {_HOW}")


_TEXT_SCHEMAS = {
    name: {"type": "integer" if field.annotation == int | None else "string", "description": field.description}
    for name, field in ClassifyRequest.model_fields.items()
    if name != IMAGE
}
FORM_BODY: dict[str, Any] = {
    "requestBody": {
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "title": "ClassifyForm",
                    "description": "One product as a form: the same fields, the image as a file.",
                    "additionalProperties": False,
                    "properties": {
                        **_TEXT_SCHEMAS,
                        IMAGE: {"type": "string", "format": "binary", "description": "the image file (JPEG, PNG, WebP, GIF, BMP, TIFF), as it is"},
                    },
                },
                "example": EXAMPLE_PRODUCT,
            }
        }
    }
}
"""For the route's `openapi_extra`."""
