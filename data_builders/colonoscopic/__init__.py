"""Colonoscopic (UCI 408): lesions of the colon in two lights."""
