"""Connection of a command to a platform: options, workspace, embedded or remote."""
