"""The load generators. They run in processes of their own, so that a server's CPU time is the server's alone."""
