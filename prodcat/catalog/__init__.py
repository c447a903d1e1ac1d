"""From feeds to PRODUCTS: files in many formats -> checked products, named rejections, near-duplicate groups and a stable split.

The order of the work: feeds/ (a file -> raw rows), mapping.py (which column is what), records.py (raw row -> Product or rejection), duplicates.py
(groups), splits.py (train, validation, test), store.py (the folder on disk), ingest.py (all of it in one process), distributed.py (the same on Ray).
sniffing.py (dialects.py, column_names.py, column_facts.py, column_roles.py) proposes a mapping for a feed nobody has described. demo.py writes feeds
to try it on. This package knows no encoder and no model.
"""
