"""The registry: versions, aliases, signatures, gates, bundles. A model here is a trained one."""
