"""The Open Inference Protocol, version 2, over HTTP: paths, messages, tensors as JSON or bytes, errors. It asks no model."""
