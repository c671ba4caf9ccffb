"""The caption gate's checks: each a pure function of one candidate, true where it fails."""
