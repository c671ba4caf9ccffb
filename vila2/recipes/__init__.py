"""Run recipes: the shipped YAML files, loading, explaining, and errors that name the field."""
