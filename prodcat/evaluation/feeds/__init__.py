"""How good feeds are, platform by platform.

columns.py   products as columns with their platforms, and the examples that are found
content.py   what is there, and what is there twice
labels.py    labels: how deep, how contradictory, how new
compose.py   all of it, and the rows that were rejected
tables.py    the same as a catalog manager reads it: sentences, a table, CSV
"""
