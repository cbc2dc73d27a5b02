"""Opening models: from what a user asks for to a network with weights, which is ready to be exported and compared with."""
