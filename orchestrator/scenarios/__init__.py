"""Scenarios: what is expected of a running lab, judged (pure), and the running of steps."""
