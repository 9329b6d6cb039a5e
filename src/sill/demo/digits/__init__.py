"""Handwritten digits: images in folders, a small convolutional net, a camera that grows dim."""
