"""Authoring of release bundles. TensorFlow lives here and nowhere else; a device never imports this package."""
