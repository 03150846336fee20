"""Checks of landmarks and of files that imports, extraction, `check` and the training share.
Files: docs/code_map.md.
"""
