"""Small networks on feature maps."""
