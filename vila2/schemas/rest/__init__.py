"""REST models of the services, each with an example."""
