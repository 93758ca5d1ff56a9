"""Data sets of images, and the choice of the examples for each training step."""
