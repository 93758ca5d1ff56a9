"""Where the images come from, and which of them a training step sees."""
