"""From the latencies of one device to those of another: how alike their rankings are, and cost models that are adapted."""
