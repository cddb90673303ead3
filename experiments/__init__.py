"""One runnable module per result, over the library."""
