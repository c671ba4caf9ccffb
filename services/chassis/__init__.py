"""What every service stands on: app factory, errors, auth, database, objects, queue, work units."""
