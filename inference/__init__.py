"""What uses a checkpoint without training it: evaluation, transcription, export."""
