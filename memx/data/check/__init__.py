"""Is a data set right? Its layout found, every problem in it, a summary, a sheet of thumbnails, and split lists."""
