"""The review over HTTP: the page, and the JSON behind it. Decides nothing: what may be decided is recategorization.decisions'.

GET  /                                   the page
GET  /api/review                         what is reviewed, counts, warnings, accepted proposals that cannot be made together
GET  /api/proposals                      a page of them: status, kind, branch, text, offset, limit
GET  /api/proposals/{id}                 one, with evidence, groups of products and what was decided
GET  /api/proposals/{id}/products        a page of a group's products: group, text, offset, limit
GET  /api/proposals/{id}/keys            all keys of a group: group, text
POST /api/proposals/{id}/decisions       a decision; 409 if somebody else has decided on it meanwhile
GET  /api/image/{key}                    a thumbnail: size
GET  /api/map/{number}                   the map of a branch
GET  /api/preview                        the tree after the accepted changes
GET  /api/trail, /api/trail.csv          the audit trail
"""

import base64
import csv
import hashlib
import io
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response

from prodcat.catalog.store import Catalog
from prodcat.config import Config
from prodcat.errors import Outdated, ProdcatError, ReviewError
from prodcat.recategorization.changes import say
from prodcat.recategorization.decisions import Action, Decision, State
from prodcat.reviewing.guard import Guard, refusal
from prodcat.reviewing.pictures import SIZES
from prodcat.reviewing.review import MAP, OUT, Review, counted, entry_line
from prodcat.serving.limits import BodyLimit
from prodcat.spreadsheet import harmless
from prodcat.taxonomy import format_path

# Enough to move a hundred thousand products at once.
MAX_BODY = 8_000_000
_IMAGE_SECONDS = 3600
_NO_IMAGE = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 160"><rect width="160" height="160" fill="#e9ebee"/>'
    b'<path d="M52 104l20-26 15 18 11-13 22 21z" fill="#b9bfc8"/><circle cx="97" cy="62" r="9" fill="#b9bfc8"/></svg>'
)
Offset = Annotated[int, Query(ge=0)]
Limit = Annotated[int, Query(ge=1, le=500)]
Text = Annotated[str, Query(max_length=200)]


class Sent(Config):
    """The body of a decision: Decision without its proposal, and what the sender has seen."""

    by: str = Field(min_length=1, max_length=200)
    action: Action
    part: int | None = Field(None, ge=0)
    name: str | None = None
    products: tuple[str, ...] = ()
    to: int | None = Field(None, ge=0)
    note: str | None = Field(None, max_length=10_000)
    seen: int = Field(ge=0, description="number of the trail's last entry when the sender looked")


def review_app(folder: Path, catalog: Catalog, reviewer: str | None = None, token: str | None = None, later: Sequence[Catalog] = ()) -> FastAPI:
    """
    Args:
        folder: as `recategorize` writes it.
        catalog: whose products the proposals speak of.
        reviewer: name that decisions are signed with where the browser has none yet; None: the page asks.
        token: what everybody has to know; None: this machine alone is answered.
        later: catalogs of new products that were assigned since.

    Raises:
        ReviewError, FeedError: as Review.
    """
    review = Review(folder, catalog, later)
    page = resources.files("prodcat.reviewing").joinpath("page.html").read_text(encoding="utf-8")
    app = FastAPI(title="prodcat review", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY)
    app.add_middleware(Guard, token=token, policy=_policy(page))
    app.add_exception_handler(ProdcatError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _failed)

    @app.get("/")
    def start() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/api/review")
    def overview() -> dict[str, Any]:
        states, seen = review.states()
        return {
            "folder": review.folder.absolute().name,
            "base": review.base,
            "categories": len(review.tree),
            "reviewer": reviewer,
            "proposals": len(states),
            "statuses": counted(state.status for state in states.values()),
            "kinds": counted(state.proposal.change.kind for state in states.values()),
            "branches": [format_path(place.path) for place in review.places],
            "warnings": review.warnings,
            "conflicts": review.preview()["conflicts"],
            "seen": seen,
        }

    @app.get("/api/proposals")
    def proposals(status: Text = "", kind: Text = "", branch: Text = "", text: Text = "", offset: Offset = 0, limit: Limit = 100) -> dict[str, Any]:
        states, seen = review.states()
        chosen = [state for state in states.values() if status in ("", state.status) and kind in ("", state.proposal.change.kind)]
        if branch:
            chosen = [state for state in chosen if (place := review.place(state.proposal.change)) and format_path(place.path) == branch]
        if text:
            chosen = [state for state in chosen if text.casefold() in _searched(state)]
        return {"total": len(chosen), "seen": seen, "proposals": [review.line(state) for state in chosen[offset : offset + limit]]}

    @app.get("/api/proposals/{identifier}")
    def proposal(identifier: str) -> dict[str, Any]:
        return _whole(review, *review.state(identifier))

    @app.get("/api/proposals/{identifier}/products")
    def products(identifier: str, group: Text = "0", text: Text = "", offset: Offset = 0, limit: Limit = 60) -> dict[str, Any]:
        state, seen = review.state(identifier)
        keys = review.matching(review.keys(state, group), text)
        return {"total": len(keys), "seen": seen, "products": review.products(keys[offset : offset + limit])}

    @app.get("/api/proposals/{identifier}/keys")
    def keys(identifier: str, group: Text = "0", text: Text = "") -> dict[str, Any]:
        state, seen = review.state(identifier)
        return {"seen": seen, "keys": list(review.matching(review.keys(state, group), text))}

    @app.post("/api/proposals/{identifier}/decisions")
    def decisions(identifier: str, sent: Sent) -> dict[str, Any]:
        decision = Decision(proposal=identifier, **sent.model_dump(exclude={"seen"}))
        entry = review.decide(decision, sent.seen)
        return {"entry": entry.n, **_whole(review, *review.state(identifier))}

    @app.get("/api/image/{key:path}")
    def image(request: Request, key: str, size: Annotated[int, Query(ge=SIZES[0], le=SIZES[1])] = 160) -> Response:
        if key not in review.pictures:
            return refusal(404, "unknown_product", f"the product {key!r} is not in the catalog")
        picture = review.pictures.thumbnail(key, size)
        headers = {"Cache-Control": f"private, max-age={_IMAGE_SECONDS}", "ETag": picture.tag if picture else '"none"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(picture.data, media_type="image/jpeg", headers=headers) if picture else Response(_NO_IMAGE, 200, headers, "image/svg+xml")

    @app.get("/api/map/{number}")
    def branch_map(number: int) -> Response:
        file = review.places[number].folder / MAP if 0 <= number < len(review.places) else None
        return FileResponse(file) if file is not None and file.is_file() else refusal(404, "no_map", "this branch has no map")

    @app.get("/api/preview")
    def preview() -> dict[str, Any]:
        return review.preview()

    @app.get("/api/trail")
    def trail(offset: Offset = 0, limit: Limit = 200) -> dict[str, Any]:
        entries = review.trail.read()
        newest = entries[::-1][offset : offset + limit]
        return {"total": len(entries), "entries": [entry_line(entry) for entry in newest]}

    @app.get("/api/trail.csv")
    def trail_csv() -> Response:
        stream = io.StringIO()
        writer = csv.writer(stream)
        columns = ("n", "at", "by", "proposal", "action", "part", "name", "products", "to", "note", "previous")
        writer.writerow(columns)
        for entry in review.trail.read():
            values = {**entry.model_dump(), "products": " ".join(entry.products)}
            writer.writerow(["" if values[name] is None else harmless(str(values[name])) for name in columns])
        headers = {"Content-Disposition": 'attachment; filename="trail.csv"'}
        # A byte order mark: else a spreadsheet takes the file for another encoding.
        return Response(stream.getvalue().encode("utf-8-sig"), media_type="text/csv; charset=utf-8", headers=headers)

    return app


def _whole(review: Review, state: State, seen: int) -> dict[str, Any]:
    """A proposal with all but its products."""
    change, evidence = state.proposal.change, state.proposal.evidence
    place = review.place(change)
    number = review.places.index(place) if place is not None and (place.folder / MAP).is_file() else None
    groups = [
        {
            "group": group,
            "name": name,
            "proposed": change.parts[int(group)].name if state.products else None,  # type: ignore[union-attr]
            "products": len(state.products[int(group)]) if state.products else len(review.keys(state, group)),
        }
        for group, name in review.groups(state)
    ]
    return {
        **review.line(state),
        "seen": seen,
        "proposed": say(change),
        "name": state.names[0] if state.names and not state.products else None,
        "movable": bool(state.products),
        "groups": groups,
        "out": {"group": OUT, "products": len(state.out)},
        "evidence": list(evidence),
        "entries": [entry_line(entry, state.names) for entry in state.entries],
        "map": number,
    }


def _searched(state: State) -> str:
    texts = [state.proposal.id, say(state.proposal.change), say(state.change or state.proposal.change), state.proposal.reason]
    return "\n".join([*texts, *(entry.note or "" for entry in state.entries)]).casefold()


def _policy(page: str) -> str:
    """Content-Security-Policy under which the page's own script and style run, and nothing else does."""

    def digests(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in found)

    parts = ("default-src 'none'", "img-src 'self' data:", "connect-src 'self'", f"script-src {digests('script')}", f"style-src {digests('style')}")
    return "; ".join((*parts, "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"))


def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, Outdated):
        return refusal(409, "outdated", str(error))
    return refusal(422, "refused", str(error)) if isinstance(error, ReviewError) else refusal(500, "failed", str(error))


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    told = "; ".join(f"{'.'.join(str(part) for part in each['loc'][1:])}: {each['msg']}" for each in error.errors())
    return refusal(422, "invalid", told)


def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, "http_error", error.detail, dict(error.headers or {}))
