"""Logs, metrics, gauges and traces."""
