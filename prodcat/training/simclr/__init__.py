"""SimCLR (Chen et al. 2020) on a branch's own products: of images (images.py), or of stored vectors of several modalities (features.py)."""
