"""Checks of landmarks and of files that imports, extraction, `check` and the training share."""
