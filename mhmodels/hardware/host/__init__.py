"""This machine's CPU as hardware: sessions in a child process, background load, pace, and statistics of timings."""
