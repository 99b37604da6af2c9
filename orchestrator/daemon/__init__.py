"""The one process of ours per lab and machine. Standard library and pyroute2 only."""
