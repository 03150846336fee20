"""What a run keeps in its folder, and reads again when it is continued. Files: docs/code_map.md."""
