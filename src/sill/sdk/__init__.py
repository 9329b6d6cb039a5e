"""The Python client: speaks HTTP, opens no store."""
