"""The backbones: U-Nets of pixels, U-Nets and transformers of latents."""
