"""The parts of the site; each file has its handlers and its `routes`."""
