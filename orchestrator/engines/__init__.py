"""What makes hosts and networks on one machine."""
