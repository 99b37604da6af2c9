"""Regular expressions of what stands in several places of a lab file: labels of names, and addresses, whose
numbers are looked at afterwards."""

LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # RFC 1123, 2.1
IPV4 = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
IPV6 = r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*(?::[0-9.]+)?"
