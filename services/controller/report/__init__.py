"""A run's report, gathered from the services that hold its figures."""
