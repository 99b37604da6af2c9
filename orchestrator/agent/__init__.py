"""What runs inside a host and makes system calls when told. Standard library only."""
