"""CholecT50: 50 cholecystectomies, a picture a second, with action triplets and phases."""
