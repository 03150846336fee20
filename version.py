"""The version of this project: the only place that states it."""

VERSION = "0.2.0"
