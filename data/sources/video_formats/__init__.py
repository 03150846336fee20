"""What a video file says beside its pictures. Files: docs/code_map.md."""
