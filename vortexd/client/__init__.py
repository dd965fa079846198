"""The client's half of the protocol. What is here so far is pure: the state of one key, and when to come back."""
