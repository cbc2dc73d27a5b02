"""This machine's CPU as hardware: sessions in a child process, load, pace and statistics of timings."""
