"""Places where jobs run: this thread, a child process."""
