"""Checks of landmarks that imports, extraction, `check` and the training share."""
