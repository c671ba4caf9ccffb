"""The app factory and the conventions of every service's REST interface."""
