"""What is learned, in pure torch: fusion of modalities, heads on the tree, losses. Knows no encoder, no table, no Ray."""
