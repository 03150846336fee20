"""Losses, the training loop, checkpoints and what a run leaves behind."""
