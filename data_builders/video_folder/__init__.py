"""video_folder: anyone's videos, from a tree of folders."""
