"""An array that a pickle has, and that stays in the file until it is asked for."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np


@dataclass(eq=False)
class PickledArray:
    """A numeric array inside of the file. Its values are read on request.

    stored: the shape in the file. axes: of the file, in the order of the array; None if the same.
    """

    stored: tuple[int, ...] = (0,)
    dtype: np.dtype = field(default_factory=lambda: np.dtype(np.uint8))
    order: Literal["C", "F"] = "C"
    content: Any = b""
    axes: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored if self.axes is None else tuple(self.stored[axis] for axis in self.axes)

    def read(self) -> np.ndarray:
        """A copy of the values, in the byte order of this machine."""
        values = np.frombuffer(self.content, self.dtype).reshape(self.stored, order=self.order)
        values = values.transpose(self.axes) if self.axes else values
        return np.array(values, dtype=self.dtype.newbyteorder("="), order="C")
