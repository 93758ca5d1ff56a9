"""What is measured of generated images."""
