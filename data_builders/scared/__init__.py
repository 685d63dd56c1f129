"""SCARED: stereo endoscopy of porcine abdomens, the depth of every pixel from structured light."""
