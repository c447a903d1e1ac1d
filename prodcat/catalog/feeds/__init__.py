"""Feed formats, one file each, the same shape each: a class with `name`, `suffixes`, `defaults`, `recognises`, `columns`, `parts` and
`rows`, as reader.py asks for.

To add a format: write the file, put an instance into registry.READERS; tests/unit/catalog/test_feeds.py runs its contract suite over all of them.
"""
