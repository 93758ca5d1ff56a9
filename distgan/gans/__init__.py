"""GANs: networks and losses, independent of devices."""
