"""From the files of a log to rows of SQL with names, times and offsets."""
