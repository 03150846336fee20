"""Train a small student with the help of a teacher. Files: docs/code_map.md."""
