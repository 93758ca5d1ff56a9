"""What the players of a game want: objectives over networks, that know nothing of devices."""

from distgan.gans import noise_to_image

# By preset: (config, image_shape, sum_in_step) -> GAN.
GANS = {"mnist": noise_to_image.mnist}
