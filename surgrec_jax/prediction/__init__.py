"""From a video to an answer: files and live pictures through a classifier, with pages of them."""
