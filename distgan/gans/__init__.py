"""GANs: networks and losses, which know nothing of devices."""
