"""Which of nginx's directives ended a connection: its configuration (parsing, configuration, directives,
times), what its logs say (logs), what went over the wire (traffic), and what follows (hypotheses by role,
judging). Pure, but for crossplane, which reads files."""
