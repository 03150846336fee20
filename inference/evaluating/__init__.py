"""The parts of an evaluation: files, warnings, clean-up, closed set. Files: docs/code_map.md."""
