"""The super-network: which weights it holds, and two ways to compute a sampled network with them."""
