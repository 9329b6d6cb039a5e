"""Content-addressed blobs, digest checked on read, on disk or in an object store."""
