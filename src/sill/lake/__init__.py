"""Iceberg tables with snapshots, data quality rules, and SQL."""
