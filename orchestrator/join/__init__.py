"""Pure: tables and descriptors of hosts to connections."""
