"""The page that describes a service's operations, without scripts."""
