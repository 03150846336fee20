"""Annotation files: sentences with their glosses. Files: docs/code_map.md."""
