"""Autoencoders and text encoders of latent diffusion models."""
