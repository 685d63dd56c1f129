"""PolypDiag: videos of endoscopy that show a lesion or none, as prepared for Endo-FM."""
