"""prodcat: products from many shops in one category tree, on Ray. Importing any of its modules starts nothing."""

__version__ = "0.1.0"
