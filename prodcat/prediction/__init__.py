"""From product to category: the bundle on disk, the two stages, and the cascade that is the only way through them, in batch and online.

`text_stage`, `cascade`, `gate`, `calibration` and `bundle` import no torch: a text replica loads onnxruntime and tokenizers and nothing heavier.
"""
