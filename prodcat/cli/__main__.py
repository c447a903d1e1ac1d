"""`python -m prodcat.cli`."""

from prodcat.cli import app

if __name__ == "__main__":
    app()
