"""Pure decisions about rounds: states, what is next, what is asked of other services."""
