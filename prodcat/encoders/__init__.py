"""Encoders: titles and photos to vectors. One protocol (encoder.py), one file a family, one place of normalisation (inputs.py).

To add a family, touch: a file here with `scratch`, `fetch`, `open_folder` and `write` (see vit.py), FAMILIES and EncoderConfig.family in encoder.py,
and the contract suite in tests/unit/encoders.
"""
