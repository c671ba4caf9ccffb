"""The real docker-compose.yml, on a real Docker engine, where no image registry can be reached."""
