"""Which hand leads a sentence. Sentences in which the left hand leads are mirrored.
Files: docs/code_map.md.
"""
