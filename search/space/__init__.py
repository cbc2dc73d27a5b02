"""Search spaces: vectors of decisions, architectures with holes, tables of trained networks, and how they are sampled and cut."""
