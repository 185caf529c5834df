"""Object stores of every provider behind one protocol, and the artifacts that lie in them."""
