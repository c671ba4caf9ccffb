"""A run's report, collected from the services that store its figures."""
