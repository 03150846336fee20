"""Readers of single published corpora that have a layout of their own. Files: docs/code_map.md."""
