"""The Open Inference Protocol, version 2, over HTTP JSON: paths, messages, tensors, errors. It answers nothing itself."""
