"""The four dashboards."""
