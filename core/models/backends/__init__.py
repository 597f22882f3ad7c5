"""Where answers come from: one file for each kind of server."""
