"""Backbones of this plugin: raw pixels, and the classifier of handwritten digits."""
