"""The controller: carries runs through their rounds, and decides when to stop."""
