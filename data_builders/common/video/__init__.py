"""Video files and folders of pictures: frames, clocks, filters, segments."""
