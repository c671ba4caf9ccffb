"""REST models, one file per service: the one definition that client and server both use."""
