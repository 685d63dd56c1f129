"""The clips, labels and splits of the published SurgRec benchmark."""
