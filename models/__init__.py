"""Recognition models: landmark features in, CTC log-probabilities out. They know no corpus. The
teacher's file reads from top to bottom like the figure of a paper. Files: docs/code_map.md.
"""
