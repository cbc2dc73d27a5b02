"""`mhmodels search reduce`: cuts a space to the blocks and depths that suit hardware."""
