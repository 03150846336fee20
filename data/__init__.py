"""Landmark corpora: the layout, the on-disk format, features, augmentation, batching. Knows no
model."""
