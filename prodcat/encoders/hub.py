"""Whether a model hub is reached, asked once and quickly. Knows no model.

The hub's client retries for half a minute and more before it gives up, once for every file; so one short question goes first, and without an answer
only the files it has already kept are looked at.
"""

import contextlib
from collections.abc import Iterator

import httpx
from huggingface_hub import constants

from prodcat.errors import EncoderError

_PATIENCE_S = 5.0


def reachable() -> bool:
    """Whether the hub (HF_ENDPOINT) answers; False at once if HF_HUB_OFFLINE is set."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        httpx.head(constants.ENDPOINT, timeout=_PATIENCE_S)
    except httpx.TransportError:
        return False
    return True


@contextlib.contextmanager
def reaching(name: str) -> Iterator[None]:
    """Around the fetching of `name`.

    Raises:
        EncoderError: it can be had neither from a hub nor from the files kept of one.
    """
    there = reachable()
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not there
    try:
        yield
    except EncoderError:
        raise
    except Exception as error:  # what transformers, timm and open_clip raise for one missing file has no common class
        why = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        problem = f"the hub has no such model, or not in this form ({why})" if there else "no model hub reached"
        raise EncoderError(f"hub:{name}: {problem}; give a folder in the hub's own format or use the offline profile") from error
    finally:
        constants.HF_HUB_OFFLINE = before
