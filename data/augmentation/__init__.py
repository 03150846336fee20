"""Augmentation of train sentences. Files: docs/code_map.md."""
