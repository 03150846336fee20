"""Whether MediaPipe with models of its own can be used here."""

from data.sources.holistic import missing_library


def why_no_tracking() -> str | None:
    """None if MediaPipe can track without a model file; if not, the reason."""
    try:
        import cv2  # noqa: F401
        import mediapipe
    except ImportError as error:
        return missing_library(error)
    if not hasattr(mediapipe, "solutions"):
        return f"MediaPipe {mediapipe.__version__} has no models of its own"
    return None
