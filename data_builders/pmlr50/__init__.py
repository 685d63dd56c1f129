"""PmLR50: laparoscopic liver resections with the Pringle manoeuvre, five phases."""
