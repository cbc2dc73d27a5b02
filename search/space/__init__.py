"""Search spaces: vectors of decisions, architecture spaces, tabular spaces, their sampling and their restriction to hardware."""
