"""What the kernel itself says of TCP sockets: programs of BPF on its tracepoints, without a compiler.

Which tracepoints, and what of them: programs.py. How it is read: tracer.py. Why in this way: decision 0017.
Standard library only, for it runs in the daemon (docker) and in a client that is root (namespaces).
"""
