"""The command line: every command parses, calls one function, prints one summary. `prodcat --help` lists them."""

# In the order in which `prodcat --help` lists their commands.
from prodcat.cli import start, catalogs, crosswalk, trees, models, platforms, recategorization, reviewing, serving, planning  # noqa: F401, I001
from prodcat.cli.app import app

__all__ = ["app"]
