"""The manners that every service's REST interface has, each in one file and hooked in once."""
