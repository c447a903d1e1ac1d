"""Crosswalks: which category of the tree a shop's own category is. Names are compared, products vote, a person decides.

Tables and names in, lines of a file out; no catalog folder and no model is read.
"""
