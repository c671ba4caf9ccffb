"""Where a command works: options, workspace, and the platform in this process or elsewhere."""
