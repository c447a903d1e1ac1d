"""The kinds of fusion, one a file, all with forward(features, present) -> FusionOutput; registry.py names and sizes them."""
