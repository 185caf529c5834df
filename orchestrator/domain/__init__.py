"""What Neutrino is about, without any I/O: the only imports here are the standard library and pydantic."""
