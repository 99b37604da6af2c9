"""From the text of lab.yaml to the model, with positions and diagnostics."""
