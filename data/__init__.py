"""Landmark corpora and everything between a corpus on disk and the features on the device. This
folder knows no model. Files: docs/code_map.md.
"""
