"""A small student taught by a teacher."""
