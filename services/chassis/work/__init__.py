"""Durable work: units, leases, workers, the relay, and the queue port with its adapters."""
