"""Pure decisions about rounds: states, next steps, and requests to other services."""
