"""Opening models: from a request to a network with weights, which can be exported and compared with files."""
