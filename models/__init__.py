"""Recognition models: features in, CTC log-probabilities out. Knows no corpus."""
