"""Values that are assumed where a recording does not state them, such as 25 frames/s."""

from typing import NamedTuple

FPS = 25.0  # frames per second
PHONE_FPS = 30.0  # of isharah: the signers recorded with their phones
VIDEO_FPS = 30.0  # of boston104
REPETITIONS_PER_SESSION, RECORDERS = 30, 1  # of mp_data


class Image(NamedTuple):
    """The shape of an image, and the camera that has it."""

    width: int
    height: int
    camera: str

    @property
    def aspect_ratio(self) -> float:
        return self.width / self.height


IMAGES = {  # by format
    "mp_data": Image(4, 3, "a 640x480 webcam"),
    "npy": Image(210, 260, "210x260, as RWTH-PHOENIX-Weather"),
    "parquet": Image(3, 4, "a phone held upright"),
}
