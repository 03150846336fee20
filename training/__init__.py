"""Losses, the training loop, checkpoints and what a run leaves behind. Files: docs/code_map.md."""
