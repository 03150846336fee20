"""Use checkpoints without training: evaluation, transcription, export. Files: docs/code_map.md."""
