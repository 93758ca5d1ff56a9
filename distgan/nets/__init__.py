"""Keras networks, without losses."""
