"""A running node: threads, the driver of the consensus core, requests and their answers."""
