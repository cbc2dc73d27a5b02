"""The runtimes of this machine that run an exported file on pictures, each in a child process."""
