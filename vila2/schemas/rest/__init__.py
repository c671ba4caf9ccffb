"""The REST models of each service, with an example beside each."""
